"""CUDA streams of this process: one for sets, and two on which graphs are prepared meanwhile.

Sets wait for none of the others. All segmenters of a device share them, and so does whoever draws
frames for them, so that no copy of a set is in the way of another.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import cache
from typing import Literal

import torch


@cache
def stream_of(
    purpose: Literal["sets", "preparing", "recording"], device: torch.device
) -> torch.cuda.Stream:
    """The one stream for that on a GPU."""
    return torch.cuda.Stream(device)


@contextlib.contextmanager
def for_sets(device: str | torch.device) -> Iterator[None]:
    """On a GPU, what is done within goes to the stream of sets, after what the caller has asked of
    the device so far.
    """
    device = torch.device(device)
    if device.type != "cuda":
        yield
        return
    stream, before = stream_of("sets", device), torch.cuda.current_stream(device)
    if stream != before:
        stream.wait_stream(before)
    with torch.cuda.stream(stream):
        yield


@contextlib.contextmanager
def for_preparing(device: torch.device) -> Iterator[None]:
    """On a GPU, what is done within goes to a stream of its own, and is done in the end."""
    if device.type != "cuda":
        yield
        return
    stream = stream_of("preparing", device)
    stream.wait_stream(torch.cuda.default_stream(device))  # where weights came to the device
    with torch.cuda.stream(stream):
        yield
    stream.synchronize()
