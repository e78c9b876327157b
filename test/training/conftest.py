"""What the tests of the trainer share."""

from __future__ import annotations

import miniatures
import pytest
from accelerate.state import AcceleratorState, GradientState


@pytest.fixture
def fresh_engine():
    """Accelerate keeps one state in a process; a run wants its own."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A data set in DELIVER's layout."""
    return miniatures.deliver(tmp_path_factory.mktemp("data") / "DELIVER", size=(64, 64))
