"""The latest features of every sensor, in buffers that are allocated once."""

from __future__ import annotations

import torch
from torch import Tensor

from memorysam_core.engines.graphs import Shapes
from memorysam_core.model import Features


class FeatureSlots:
    """One slot for each modality of the contract, filled as frames are encoded.

    A sensor whose frame has not changed is not encoded again: its slot still holds its features.
    """

    def __init__(self, shapes: Shapes, modalities: int) -> None:
        self._shapes = shapes
        self._modalities = modalities
        self._slots: Features | None = None
        self._gathered: dict[int, Features] = {}

    def store(self, which: Tensor, features: Features) -> None:
        """Keeps features ``(K, ...)`` of the modalities ``which`` ``(K,)``."""
        if self._slots is None:
            self._slots = self._shapes.features(self._modalities)
        for slot, level in zip(self._slots.levels, features.levels, strict=True):
            slot.index_copy_(0, which, level)

    def forget(self) -> None:
        """Frees all buffers. What was stored must be encoded anew."""
        self._slots = None
        self._gathered.clear()

    def gather(self, which: Tensor) -> Features:
        """Features ``(M, ...)`` of the modalities ``which`` ``(M,)``, in ascending order, in
        buffers that the next call may overwrite.
        """
        assert self._slots is not None
        count = which.shape[0]
        if count == self._modalities:
            return self._slots
        if count not in self._gathered:
            self._gathered[count] = self._shapes.features(count)
        gathered = self._gathered[count]
        for slot, level in zip(self._slots.levels, gathered.levels, strict=True):
            torch.index_select(slot, 0, which, out=level)
        return gathered
