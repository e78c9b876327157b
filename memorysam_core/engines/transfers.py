"""Frames to the device, results back to the host: what is news, and no copy waits for another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeGuard

import numpy as np
import torch
from torch import Tensor

FrameLike = np.ndarray | Tensor


@dataclass
class _Seen:
    """The frame of one modality that was taken last."""

    pixels: Tensor
    """On the device, at the frame's own size."""
    host: Tensor | None
    """A copy of a frame that came on the host, pinned where the device is a GPU."""
    given: Tensor | None
    """The very tensor, of a frame that came on the device."""
    version: int
    """How often that tensor had been written to."""


class Intake:
    """Takes frames to the device, and tells which of them are news.

    A frame on the host is compared with the copy of the last one, which is exact and costs about as
    much as copying it. To compare two on a GPU would mean to wait for the answer: there, the same
    tensor object counts as unchanged while PyTorch has counted no write to it.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._seen: dict[str, _Seen] = {}

    def is_news(self, name: str, frame: FrameLike) -> bool:
        """Whether a frame, uint8 ``(H, W, 3)``, differs from the last one taken of its name."""
        seen = self._seen.get(name)
        if seen is None:
            return True
        if _is_remote(frame):
            return frame is not seen.given or frame.is_inference() or frame._version != seen.version
        return seen.host is None or not torch.equal(_on_host(frame), seen.host)

    def take(self, name: str, frame: FrameLike) -> Tensor:
        """The frame on the device, in a buffer that the next frame of its name overwrites."""
        if _is_remote(frame):
            pixels = frame.to(self._device)
            version = 0 if frame.is_inference() else frame._version
            self._seen[name] = _Seen(pixels, None, frame, version)
            return pixels
        seen = self._seen.get(name)
        if seen is None or seen.host is None or seen.host.shape != frame.shape:
            seen = self._seen[name] = self._buffers(tuple(frame.shape))
        assert seen.host is not None
        seen.host.copy_(_on_host(frame))
        if seen.pixels is not seen.host:
            seen.pixels.copy_(seen.host, non_blocking=True)
        return seen.pixels

    def forget(self) -> None:
        """Takes every next frame for news."""
        self._seen.clear()

    def _buffers(self, shape: tuple[int, ...]) -> _Seen:
        on_gpu = self._device.type == "cuda"
        host = torch.empty(shape, dtype=torch.uint8, pin_memory=on_gpu)
        pixels = torch.empty(shape, dtype=torch.uint8, device=self._device) if on_gpu else host
        return _Seen(pixels, host, None, 0)


class Fetcher:
    """Brings results to the host together, with one wait for all of them."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pinned: dict[int, Tensor] = {}

    def fetch(self, *results: Tensor) -> list[np.ndarray]:
        """Each tensor as an array of its own, once all of them are complete."""
        if self._device.type != "cuda":
            return [result.numpy() for result in results]
        staged = []
        for place, result in enumerate(results):
            pinned = self._pinned.get(place)
            if pinned is None or (pinned.shape, pinned.dtype) != (result.shape, result.dtype):
                pinned = torch.empty(result.shape, dtype=result.dtype, pin_memory=True)
                self._pinned[place] = pinned
            staged.append(pinned.copy_(result, non_blocking=True))
        torch.cuda.current_stream(self._device).synchronize()
        return [pinned.numpy().copy() for pinned in staged]

    def forget(self) -> None:
        """Frees its buffers."""
        self._pinned.clear()


def _is_remote(frame: FrameLike) -> TypeGuard[Tensor]:
    return isinstance(frame, Tensor) and frame.device.type != "cpu"


def _on_host(frame: FrameLike) -> Tensor:
    if isinstance(frame, Tensor):
        return frame
    if not frame.flags.writeable or not frame.flags.c_contiguous:
        frame = frame.copy()  # torch warns of the one and refuses negative strides
    return torch.from_numpy(frame)
