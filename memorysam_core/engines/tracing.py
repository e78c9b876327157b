"""Model code beside a thread that traces, in which torch.fx takes over every module's call."""

from __future__ import annotations

import time

from torch import Tensor

from memorysam_core.engines.graphs import Run

_NOT_TRACED = "module is not installed as a submodule"
"""What torch.fx says of a module that is none of those it traces."""
_PATIENCE_S = 10.0
_PAUSE_S = 0.005


class Undisturbed:
    """A graph run by its modules, begun anew while another thread's trace gets hold of them.

    The compiler traces in the background for some milliseconds at a time.
    """

    def __init__(self, run: Run) -> None:
        self._run = run

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Its results."""
        end = time.monotonic() + _PATIENCE_S
        while True:
            try:
                return self._run(*inputs)
            except NameError as error:
                if _NOT_TRACED not in str(error) or time.monotonic() > end:
                    raise
            time.sleep(_PAUSE_S)
