"""What a set costs in arithmetic, and from that an estimate for devices that are not at hand.

Counted on tensors without memory, so that it takes seconds on any machine. An estimate is

    time = work / (peak of the device * UTILISATION)

and is to be replaced by a measurement: `memorysam bench --device cuda --only engines` there.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.utils.flop_counter import FlopCounterMode

from memorysam_core.architecture import Architecture
from memorysam_core.bench.row import Row
from memorysam_core.model import MemorySAM

UTILISATION = 0.3
"""Share of the peak that is reached. SAM 2.1 base_plus as published (A100, compiled, 64.1 frames a
second) is 0.13 of the peak by its encoder alone, and about 0.3 with its seven memories."""

PEAK_TFLOPS = {
    "Jetson Orin Nano 8 GB (25 W)": 16.7,
    "Jetson Orin NX 16 GB": 15.0,
    "Jetson AGX Orin 64 GB": 42.6,
    "Jetson AGX Thor": 258.0,
    "RTX 4090": 165.0,
    "H200": 989.0,
}
"""Dense 16-bit matrix products with sums in 32 bits, from the makers' data sheets. For Orin: 1024
multiply-adds a clock and streaming multiprocessor, times their number and clock."""


def rows(device: str, quick: bool) -> Iterator[Row]:
    """Work of a set of four, whatever the device; seconds."""
    sizes = ("nano",) if quick else ("nano", "tiny", "small", "base_plus", "large")
    for size in sizes:
        for shape in ((64, 64),) if quick else ((256, 448), (576, 1024), (1024, 1024)):
            detail = f"{size}, 4 x {shape[1]} x {shape[0]}"
            yield Row("work of one set", work_gflop(size, shape, 4), "GFLOP", detail)


def work_gflop(size: str, shape: tuple[int, int], frames: int) -> float:
    """Floating point operations (two for a multiply-add) of a set, in 10^9."""
    model = MemorySAM(Architecture(size)).eval().requires_grad_(False).to("meta")
    given = torch.empty(frames, 1, 3, *shape, device="meta")
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model(given)
    return counter.get_total_flops() / 1e9


def estimate_ms(work: float, peak_tflops: float) -> float:
    """Milliseconds for so many GFLOP at :data:`UTILISATION` of a peak."""
    return work / (peak_tflops * UTILISATION)
