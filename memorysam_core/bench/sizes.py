"""The model's time by stage, size, precision and number of sensors."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from memorysam_core.bench.row import Row
from memorysam_core.bench.stages import (
    SQUARE,
    WHOLE,
    WIDE,
    TimedModel,
    label_set,
    random_frames,
    random_model,
)
from memorysam_core.bench.timing import Timing, timed
from memorysam_core.segmenter import DTYPES


@torch.inference_mode()
def rows(device: str, quick: bool) -> Iterator[Row]:
    """All rows of the area; ten minutes on two cores, 10 GB of memory."""
    for size, shape, precision, lengths, repeats in _table(device, quick):
        model = random_model(size, device).fused(precision)
        label_set(model, random_frames(1, shape, device).to(DTYPES[precision]), shape)
        for length in lengths:
            frames = random_frames(length, shape, device).to(DTYPES[precision])
            detail = f"{size}, {length} x {shape[1]} x {shape[0]}, {precision}"
            if device != "cpu":
                yield from _undisturbed(model, frames, shape, device, repeats, detail)
            stages = model.stages(frames, shape, repeats)
            whole = stages.pop(WHOLE)
            if device == "cpu":  # where looking at the clock between stages costs nothing
                yield _row(WHOLE, whole, detail)
            for stage, timing in stages.items():
                yield _row(f"  {stage}", timing, detail)


def _undisturbed(
    model: TimedModel, frames: Tensor, shape: tuple[int, int], device: str, repeats: int,
    detail: str,
) -> Iterator[Row]:  # fmt: skip
    """A set on a GPU, without waiting for it after each stage."""
    torch.cuda.reset_peak_memory_stats(device)
    whole = timed(partial(label_set, model, frames, shape), device, repeats)
    yield _row(WHOLE, whole, detail)
    yield Row("  peak memory", torch.cuda.max_memory_allocated(device) / 2**20, "MiB", detail)


def _table(device: str, quick: bool) -> Iterator[tuple[str, tuple[int, int], str, tuple, int]]:
    every, ends = (1, 2, 3, 4), (1, 4)
    if quick:
        yield "nano", (64, 96), "fp32", ends, 2
    elif device == "cpu":
        for precision in ("fp32", "bf16"):
            yield "nano", (256, 448), precision, every, 10
            yield "nano", WIDE, precision, every, 3
            yield "nano", SQUARE, precision, ends, 3
            for size in ("tiny", "small", "base_plus", "large"):
                yield size, WIDE, precision, ends, 1
            yield "tiny", SQUARE, precision, ends, 1
            yield "small", SQUARE, precision, ends, 1
            yield "base_plus", SQUARE, precision, every, 1
            yield "large", SQUARE, precision, (4,), 1
        # Few processors compute in fp16, for which it takes no more than to know that.
        yield "nano", (256, 448), "fp16", ends, 3
        yield "nano", WIDE, "fp16", ends, 1
    else:
        for size in ("nano", "tiny", "small", "base_plus", "large"):
            for precision in DTYPES:
                for shape in (SQUARE, WIDE):
                    yield size, shape, precision, every, 30


def _row(name: str, timing: Timing, detail: str) -> Row:
    return Row(f"{name}, p50", timing.p50_ms, "ms", f"{timing.spread}; {detail}")
