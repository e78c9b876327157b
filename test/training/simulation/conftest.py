"""Small drives that several tests share; what they see is a function of the seed alone."""

import pytest
import torch

from memorysam_training.simulation.drive import Drive
from memorysam_training.simulation.rig import Rig

SMALL = Rig(image_size=(96, 64), depth_size=(96, 64), event_size=(96, 64), rings=32, columns=256)


@pytest.fixture(scope="package", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def rig():
    return SMALL


@pytest.fixture(scope="session")
def drive():
    """Two seconds under clouds."""
    return Drive(5, 2.0, ("cloud",), (), SMALL)
