"""Runs recorded as CUDA graphs: one launch instead of a thousand, in memory that stays."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from memorysam_core.engines.memory_use import RECORDING
from memorysam_core.engines.streams import stream_of

log = logging.getLogger(__name__)

PREPARING = threading.Lock()
"""Held while code is made or a run recorded, by one thread of the process at a time: compilers wait
for the whole device, which is an error while anything is recorded there."""
WARM_UPS = 2
"""Runs before recording, in which libraries choose kernels and make their workspaces."""

Run = Callable[..., tuple[Tensor, ...]]


def recorded(run: Run, inputs: tuple[Tensor, ...], pool: Any, what: object) -> Run:
    """The run as a recording, or as it is where it cannot be recorded, which is logged.

    The caller holds :data:`PREPARING`. ``inputs`` are given up to the recording, as the buffers
    that it reads; ``pool`` is of ``torch.cuda.graph_pool_handle()``.
    """
    try:
        return Replay(run, inputs, pool)
    except RuntimeError as error:  # of memory too
        log.warning(
            "%s cannot be recorded as a CUDA graph and is launched step by step, which is slower: "
            "%s", what, " ".join(str(error).split()),
        )  # fmt: skip
        return run


class Replay:
    """A computation of fixed shapes, recorded when it is made and replayed from then on.

    It has its own input and output buffers. Recordings that share a memory pool overwrite each
    other's: use up the results of one before the next one runs.
    """

    def __init__(self, run: Run, inputs: tuple[Tensor, ...], pool: Any) -> None:
        """Records. Raises RuntimeError where that fails."""
        self._run = run
        self._pool = pool
        self._inputs = inputs
        for _ in range(WARM_UPS):
            run(*inputs)
        self._recording, self._outputs = self._record()

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The results, in buffers that the next call overwrites."""
        for own, given in zip(self._inputs, inputs, strict=True):
            own.copy_(given, non_blocking=True)
        self._recording.replay()
        return self._outputs

    def _record(self) -> tuple[torch.cuda.CUDAGraph, tuple[Tensor, ...]]:
        recording = torch.cuda.CUDAGraph()
        # On a stream on which nothing ever runs: libraries have a workspace for each stream, and
        # what is replayed must not share one with what is prepared at the same time. Other threads
        # may allocate meanwhile: they draw frames and label sets.
        graph = torch.cuda.graph(
            recording,
            pool=self._pool,
            stream=stream_of("recording", self._inputs[0].device),
            capture_error_mode="thread_local",
        )
        with RECORDING, graph:
            outputs = self._run(*self._inputs)
        return recording, outputs
