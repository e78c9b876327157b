"""The model: what each saving saves, and what it needs to start.

Ratios compare two ways of computing the same thing, timed in turn in one run. The yardstick is the
frame-by-frame schedule in float32 (:mod:`memorysam_core.bench.frame_by_frame`).
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from memorysam_core.architecture import Architecture
from memorysam_core.bench.frame_by_frame import FrameByFrame
from memorysam_core.bench.row import Row
from memorysam_core.bench.stages import SQUARE, WIDE, label_set, random_frames, random_model
from memorysam_core.bench.timing import all_in_turn, in_turn, timed
from memorysam_core.checkpoint import build_model, save_checkpoint
from memorysam_core.contract import default_contract
from memorysam_core.reduce import labels_and_confidence
from memorysam_core.segmenter import DTYPES


def rows(device: str, quick: bool) -> Iterator[Row]:
    """All rows of the area; three minutes on two cores."""
    yield from _savings(device, quick)
    yield from _against_the_yardstick(device, quick)
    yield from _wide_input(device, quick)
    yield _start_up()


def _plan(device: str, quick: bool) -> tuple[str, tuple[int, int], int]:
    """Size, input size and repeats of the comparisons."""
    if quick:
        return "nano", (64, 64), 2
    if device == "cpu":
        return "tiny", (512, 512), 3
    return "base_plus", SQUARE, 20


@torch.inference_mode()
def _savings(device: str, quick: bool) -> Iterator[Row]:
    size, shape, repeats = _plan(device, quick)
    if device == "cpu" and not quick:  # where frames are encoded as a batch
        size, shape, repeats = "nano", (256, 448), 10
    model, frames = random_model(size, device), random_frames(4, shape, device)
    where = f"{size}, 4 x {shape[1]} x {shape[0]}, fp32"

    def row(name: str, slow: Callable[[], object], fast: Callable[[], object]) -> Row:
        ratio, spread = in_turn(slow, fast, device, repeats)
        return Row(name, ratio, "x", f"{where}; {spread}")

    yield row(
        "saved by encoding all frames as one batch",
        lambda: [model.encode(frame) for frame in frames],
        lambda: model.encode(frames),
    )

    features = model.encode(frames)
    sequence = [features[i] for i in range(4)]
    masks = torch.zeros(1, 1, *shape, device=device)
    memories = [model.memory_of(frame, masks) for frame in sequence[:3]]

    def read_all(anew: bool) -> None:
        bank = model._empty_bank(sequence)
        for i, memory in enumerate(memories):
            if anew:
                bank = model._empty_bank(sequence)
                for earlier in memories[:i]:
                    bank.add(earlier)
            bank.add(memory)
            bank.read(sequence[i + 1].stride16)

    yield row(
        "saved by keeping each memory's keys and values",
        lambda: read_all(anew=True),
        lambda: read_all(anew=False),
    )

    quarter = (shape[0] // 4, shape[1] // 4)
    logits = random_frames(4, quarter, device)[:, 0].repeat(1, 9, 1, 1)[:, :25]

    def full_size() -> tuple[Tensor, Tensor]:
        up = [F.interpolate(x[None], size=shape, mode="bilinear") for x in logits]
        probability, label = torch.cat(up).mean(0).softmax(0).max(0)
        return label.to(torch.uint8), (probability * 255).to(torch.uint8)

    yield row(
        "saved by averaging first, upsampling once, in strips",
        full_size,
        lambda: labels_and_confidence(logits.mean(0), shape),
    )


@torch.inference_mode()
def _against_the_yardstick(device: str, quick: bool) -> Iterator[Row]:
    plans = [_plan(device, quick)]
    if device == "cpu" and not quick:
        plans.append(("base_plus", SQUARE, 1))
    for size, shape, repeats in plans:
        frames = random_frames(4, shape, device)
        reference = FrameByFrame(random_model(size, device))
        ours = {
            precision: partial(
                label_set,
                random_model(size, device).fused(precision),
                frames.to(DTYPES[precision]),
                shape,
            )
            for precision in ("fp32", "bf16")
        }
        ratios = all_in_turn(
            lambda: reference(frames).argmax(1),  # noqa: B023
            list(ours.values()),
            device,
            repeats,
            warm_up=repeats > 1,
        )
        for precision, (ratio, spread) in zip(ours, ratios, strict=True):
            detail = f"{size}, 4 x {shape[1]} x {shape[0]}; {spread}"
            yield Row(f"frame by frame in fp32, over ours in {precision}", ratio, "x", detail)


@torch.inference_mode()
def _wide_input(device: str, quick: bool) -> Iterator[Row]:
    size, repeats = ("nano", 2) if quick else ("base_plus", 1 if device == "cpu" else 10)
    square, wide = ((128, 128), (64, 128)) if quick else (SQUARE, WIDE)
    model = random_model(size, device).fused("fp32")
    on_square, on_wide = random_frames(4, square, device), random_frames(4, wide, device)
    model(on_wide)
    ratio, spread = in_turn(
        lambda: model(on_wide), lambda: model(on_square), device, repeats, warm_up=repeats > 1
    )
    yield Row(
        f"time of {wide[1]} x {wide[0]} over {square[1]} x {square[0]}", ratio, "x",
        f"{size}, 4 frames, fp32; {spread}",
    )  # fmt: skip


def _start_up() -> Row:
    """A fresh process from its start to the first label, nano at 448 x 256, on the CPU."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "nano.safetensors"
        contract = default_contract().replace(size=(256, 448))
        save_checkpoint(path, build_model(Architecture("nano")), contract)
        code = (
            "import numpy as np\nfrom memorysam_core import Segmenter\n"
            "black = np.zeros((256, 448, 3), np.uint8)\n"
            f"segmenter = Segmenter({str(path)!r}, 'cpu')\n"
            "segmenter.segment(dict.fromkeys(segmenter.contract.names, black))"
        )
        command = [sys.executable, "-c", code]
        start = timed(lambda: subprocess.run(command, check=True), "cpu", 3, warm_up=0)
    return Row(
        "process start to first label", start.p50_ms / 1000, "s",
        "nano, 4 x 448 x 256, CPU, median of 3",
    )  # fmt: skip
