"""Logits to labels at the sizes asked for; on a GPU by one launch, once that is recorded."""

from __future__ import annotations

import logging
import threading
import time

import torch
from torch import Tensor

from memorysam_core.engines.memory_use import memory_mb
from memorysam_core.engines.prepared import Prepared
from memorysam_core.engines.replay import PREPARING, Run, recorded
from memorysam_core.engines.streams import for_preparing
from memorysam_core.reduce import labels_and_confidence

log = logging.getLogger(__name__)

Size = tuple[int, int]
MOST_SIZES = 4
"""Sizes whose recordings are kept: the latest that were asked for."""


class Reducers:
    """As :func:`labels_and_confidence`, which it is until a size is recorded.

    A size that is asked for the first time is recorded on a thread of its own, and no set waits for
    that. Calls are for one thread.
    """

    def __init__(self, shape: tuple[int, int, int], device: torch.device, records: bool) -> None:
        """Args:
        shape: of the logits, ``(C, H/4, W/4)``.
        records: whether recordings are wanted; the device is a GPU then.
        """
        self.prepared: list[Prepared] = []
        self._shape = shape
        self._device = device
        self._records = records
        self._ready: dict[Size, Run] = {}
        self._asked: set[Size] = set()
        self._changed = threading.Lock()

    def __call__(self, logits: Tensor, size: Size) -> tuple[Tensor, ...]:
        """Labels and confidence ``(H, W)``, perhaps in buffers that the next call overwrites."""
        with self._changed:
            run = self._ready.pop(size, None)
            if run is not None:
                self._ready[size] = run  # the latest last
        if run is not None:
            return run(logits)
        if self._records and size not in self._asked:
            self._asked.add(size)
            threading.Thread(
                target=self._prepare, args=(size,), name="record labels", daemon=True
            ).start()
        return labels_and_confidence(logits, size)

    def prepare(self, size: Size) -> None:
        """Records a size now."""
        if self._records and size not in self._asked:
            self._asked.add(size)
            self._prepare(size)

    def forget(self) -> None:
        """Drops all recordings."""
        with self._changed:
            self._ready.clear()
            self._records = False

    def _prepare(self, size: Size) -> None:
        what, device = f"labels at {size[1]} x {size[0]}", self._device
        with PREPARING, torch.inference_mode(), for_preparing(device):
            start, memory = time.perf_counter(), memory_mb(device)
            # A memory pool of its own: results of the sequence's recording are still wanted.
            run = recorded(
                lambda given: labels_and_confidence(given, size),
                (torch.zeros(self._shape, device=device),), torch.cuda.graph_pool_handle(), what,
            )  # fmt: skip
            seconds = time.perf_counter() - start
            cost = Prepared(what, seconds, memory_mb(device) - memory)
        with self._changed:
            if not self._records:
                return
            while len(self._ready) >= MOST_SIZES:
                self._asked.discard(oldest := next(iter(self._ready)))
                del self._ready[oldest]
            self._ready[size] = run
        self.prepared.append(cost)
        log.info("%s", cost)
