"""A model that tells what its time is made of."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from memorysam_core.architecture import Architecture
from memorysam_core.bench.timing import Timing
from memorysam_core.decoder import ClassMasks, Prompt
from memorysam_core.memory import Memory, MemoryBank
from memorysam_core.model import Features, MemorySAM
from memorysam_core.reduce import labels_and_confidence
from memorysam_core.segmenter import DTYPES

T = TypeVar("T")
WHOLE = "one set"
SQUARE, WIDE = (1024, 1024), (576, 1024)


class TimedModel(MemorySAM):
    """Times its stages, each to its end on the device, while :meth:`stages` runs."""

    _clock: dict[str, float] | None = None

    def stages(self, frames: Tensor, shape: tuple[int, int], repeats: int) -> dict[str, Timing]:
        """Milliseconds of one set, and what each stage takes of it for all frames together."""
        runs = []
        for _ in range(repeats):
            self._clock = defaultdict(float)
            self._time(WHOLE, lambda: self._labels(frames, shape))
            runs.append(dict(self._clock))
        self._clock = None
        return {stage: Timing(tuple(run[stage] for run in runs)) for stage in runs[0]}

    def fused(self, precision: str) -> TimedModel:
        """Fused for inference, in that precision. Returns itself."""
        self.fuse().to(DTYPES[precision])
        return self

    def _labels(self, frames: Tensor, shape: tuple[int, int]) -> None:
        logits = self(frames).logits[0]
        self._time("labels", lambda: labels_and_confidence(logits, shape))

    def memory_of(self, frame: Features, mask: Tensor) -> Memory:
        """A memory of a frame with the given mask, and its mean feature as pointer."""
        encoded = self._encode_memory(frame.stride16, mask)
        pointer = frame.stride16.mean(dim=(2, 3)).unflatten(1, (-1, encoded.shape[1]))
        return Memory(encoded.flatten(2).transpose(1, 2), pointer)

    def encode(self, frames: Tensor) -> Features:
        """As the model's, timed."""
        return self._time("encoder", lambda: super(TimedModel, self).encode(frames))

    def _decode(self, prompt: Prompt, image: Tensor, frame: Features) -> ClassMasks:
        return self._time("decoder", lambda: super(TimedModel, self)._decode(prompt, image, frame))

    def _remember(self, frame: Features, masks: ClassMasks, iou: Tensor | None) -> Memory:
        work = lambda: super(TimedModel, self)._remember(frame, masks, iou)  # noqa: E731
        return self._time("memory encoder", work)

    def _empty_bank(self, sequence: list[Features]) -> MemoryBank:  # type: ignore[override]
        bank = super()._empty_bank(sequence)
        if self._clock is not None:
            add, read = bank.add, bank.read
            setattr(bank, "add", lambda m: self._time("memory attention", lambda: add(m)))  # noqa: B010
            setattr(bank, "read", lambda f: self._time("memory attention", lambda: read(f)))  # noqa: B010
        return bank

    def _time(self, stage: str, work: Callable[[], T]) -> T:
        if self._clock is None:
            return work()
        self._synchronise()
        start = time.perf_counter()
        result = work()
        self._synchronise()
        self._clock[stage] += (time.perf_counter() - start) * 1e3
        return result

    def _synchronise(self) -> None:
        if self.no_mem_embed.is_cuda:
            torch.cuda.synchronize()


def random_model(size: str, device: str) -> TimedModel:
    """A model with random weights, which computes as much as a trained one."""
    torch.manual_seed(0)
    return TimedModel(Architecture(size)).eval().requires_grad_(False).to(device)  # type: ignore[return-value]


def random_frames(count: int, size: tuple[int, int], device: str) -> Tensor:
    """Normalised frames of noise, ``(M, 1, 3, H, W)``."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, 1, 3, *size, generator=generator).to(device)


def label_set(model: TimedModel, frames: Tensor, shape: tuple[int, int]) -> object:
    """From normalised frames to labels and confidence."""
    return labels_and_confidence(model(frames).logits[0], shape)
