"""Runs recorded as CUDA graphs: one launch instead of a thousand, in memory that stays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

WARM_UPS = 2
"""Runs before recording, in which libraries choose kernels and make their workspaces."""


class Replay:
    """A computation of fixed shapes, recorded at its first call and replayed from then on.

    It has its own input and output buffers. Recordings that share a memory pool overwrite each
    other's: use up the results of one before the next one runs.
    """

    def __init__(self, run: Callable[..., tuple[Tensor, ...]], pool: Any) -> None:
        """Args: pool: from ``torch.cuda.graph_pool_handle()``."""
        self._run = run
        self._pool = pool
        self._recording: torch.cuda.CUDAGraph | None = None
        self._inputs: tuple[Tensor, ...] = ()
        self._outputs: tuple[Tensor, ...] = ()

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The results, in buffers that the next call overwrites."""
        if self._recording is None:
            self._record(inputs)
        assert self._recording is not None
        for own, given in zip(self._inputs, inputs, strict=True):
            own.copy_(given, non_blocking=True)
        self._recording.replay()
        return self._outputs

    def _record(self, inputs: tuple[Tensor, ...]) -> None:
        self._inputs = tuple(given.clone() for given in inputs)
        for _ in range(WARM_UPS):
            self._run(*self._inputs)
        recording = torch.cuda.CUDAGraph()
        # On a stream of its own, as nothing can be recorded on the default one. Other threads may
        # allocate meanwhile (they draw frames, they prepare other graphs).
        with torch.cuda.graph(recording, pool=self._pool, capture_error_mode="thread_local"):
            self._outputs = self._run(*self._inputs)
        self._recording = recording
