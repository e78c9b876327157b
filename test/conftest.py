"""What all tests share: the ROS graph kept to this machine, and the way to the real recordings."""

import os
from pathlib import Path

import hypothesis
import pytest

# A slow machine, or one that does other things, is no failure.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")

REPOSITORY = Path(__file__).resolve().parents[1]

# Read by rclpy when it is first imported, hence set here. Every run has a graph of its own.
os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
_DOMAIN = os.environ.setdefault("ROS_DOMAIN_ID", str(2 + 2 * (os.getpid() % 40)))
if _WORKER := os.environ.get("PYTEST_XDIST_WORKER"):  # gw0, gw1, ..., with the first one's domain
    os.environ["ROS_DOMAIN_ID"] = str(int(_DOMAIN) + 2 * int(_WORKER.removeprefix("gw")))
os.environ.setdefault("ROS_PYTHON_CHECK_FIELDS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the source tree."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real recordings, kept beside the source tree and not in it."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real recordings are not beside the source tree")
    return folder
