"""A training step: ours against the frame-by-frame schedule of the released code."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor
from torch.nn import functional as F

from memorysam_core.adapters import set_trainable
from memorysam_core.architecture import Architecture
from memorysam_core.bench.frame_by_frame import FrameByFrame
from memorysam_core.bench.row import Row
from memorysam_core.checkpoint import build_model
from memorysam_core.model import MemorySAM
from memorysam_training.attention import attention_for
from memorysam_training.bench.live_memory import step_bytes
from memorysam_training.losses import ohem_cross_entropy
from memorysam_training.model import recompute_activations

MODALITIES = 4
LARGE_STEP, QUICK_STEP = ("base_plus", 1024, 4), ("nano", 64, 1)
"""Size of the model, edge of the images and batch of the step whose memory is told."""


def rows(device: str, quick: bool) -> Iterator[Row]:
    """Images per second, the ratio to frame by frame, and peak memory (CUDA)."""
    place = torch.device(device)
    cuda = place.type == "cuda"
    size, side, batch = ("base_plus", 1024, 1) if cuda and not quick else ("nano", 256, 2)
    if quick:
        side = 64
    model = _model(size).to(place)
    frames, labels = _batch(side, batch, place)
    released = FrameByFrame(model)
    for precision in ("fp32", "bf16"):
        detail = f"{size}, {MODALITIES} x {side} x {side}, batch {batch}, {precision}, one step"
        steps = _steps(model, released, frames, labels, precision)
        ours_s, *others_s = _seconds(list(steps.values()), 1 if quick else 3, place)
        yield Row("training", batch / ours_s, "images/s", detail)
        for name, seconds in zip(list(steps)[1:], others_s, strict=True):
            yield Row(f"training, {name}", batch / seconds, "images/s", detail)
            yield Row(f"training against {name}", seconds / ours_s, "x", detail)
    if cuda:
        yield _memory(place, quick)
    yield _memory_by_shapes(quick)


def _steps(
    model: MemorySAM, released: FrameByFrame, frames: Tensor, labels: Tensor, precision: str
) -> dict[str, Callable[[], None]]:
    """Forward and backward of ours, then of the yardstick, with our attention and, where that is
    another, with torch's.
    """
    place = frames.device
    low = torch.autocast(place.type, torch.bfloat16, enabled=precision == "bf16")

    def ours() -> Tensor:
        with low:
            logits = model(frames).logits
        return F.interpolate(logits, labels.shape[1:], mode="bilinear", align_corners=False)

    def frame_by_frame() -> Tensor:
        with low:
            return released(frames)

    def step(schedule: Callable[[], Tensor], attention: AbstractContextManager) -> None:
        with attention:
            ohem_cross_entropy(schedule(), labels).backward()

    steps = {
        "ours": lambda: step(ours, attention_for(place, precision == "bf16")),
        "frame by frame": lambda: step(frame_by_frame, attention_for(place, precision == "bf16")),
    }
    if place.type == "cpu" and precision == "bf16":
        steps["frame by frame, torch's attention"] = lambda: step(frame_by_frame, nullcontext())
    return steps


def _memory(place: torch.device, quick: bool) -> Row:
    """Peak memory of a step of the recipe for DELIVER."""
    size, side, batch = QUICK_STEP if quick else LARGE_STEP
    model = _model(size).to(place)
    recompute_activations(model)
    frames, labels = _batch(side, batch, place)
    torch.cuda.reset_peak_memory_stats(place)
    with torch.autocast("cuda", torch.bfloat16):
        logits = model(frames).logits
    full = F.interpolate(logits, (side, side), mode="bilinear", align_corners=False)
    ohem_cross_entropy(full, labels).backward()
    peak = torch.cuda.max_memory_allocated(place) / 2**30
    return Row("training, peak memory", peak, "GiB", _step_detail(size, side, batch))


def _memory_by_shapes(quick: bool) -> Row:
    """The same without a GPU, and with what AdamW keeps."""
    size, side, batch = QUICK_STEP if quick else LARGE_STEP
    model = _model(size)
    moments = 2 * sum(weight.nbytes for weight in model.parameters())
    recompute_activations(model)
    peak = (step_bytes(model, MODALITIES, batch, side, real=False) + moments) / 2**30
    detail = _step_detail(size, side, batch) + ", from the shapes of all tensors, with AdamW"
    return Row("training, memory that a step needs", peak, "GiB", detail)


def _step_detail(size: str, side: int, batch: int) -> str:
    return (
        f"{size}, {MODALITIES} x {side} x {side}, batch {batch}, bfloat16, gradient checkpointing"
    )


def _model(size: str) -> MemorySAM:
    """Everything learns; the yardstick knows no memory mask but ``best_iou``."""
    model = build_model(Architecture(size=size, memory_mask="best_iou")).train()
    set_trainable(model, "full")
    return model.to(memory_format=torch.channels_last)


def _batch(side: int, batch: int, place: torch.device) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    frames = torch.rand(MODALITIES, batch, 3, side, side, generator=generator)
    labels = torch.randint(0, 25, (batch, side, side), generator=generator)
    return frames.to(place), labels.to(place)


def _seconds(steps: list[Callable[[], None]], repeats: int, place: torch.device) -> list[float]:
    """Least time of each step; taken in turns, so that a busy machine is unjust to none."""
    best = [float("inf")] * len(steps)
    for turn in range(repeats + 1):  # the first one warms up
        for i, step in enumerate(steps):
            started = time.perf_counter()
            step()
            if place.type == "cuda":
                torch.cuda.synchronize(place)
            if turn:
                best[i] = min(best[i], time.perf_counter() - started)
    return best
