"""The larger models compiled, at 1024 x 576, where a robot would run them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from memorysam_core.bench.engine_steps import Step, measure
from memorysam_core.bench.engines import CUDA_S, for_processor, within
from memorysam_core.bench.row import Row
from memorysam_core.bench.stages import WIDE

LARGER = [
    Step("tiny", WIDE, "bf16", ("compiled",), repeats=3),
    Step("tiny", WIDE, "fp32", ("compiled", "onnx"), repeats=3),
    Step("small", WIDE, "bf16", ("compiled",), repeats=3),
    Step("base_plus", WIDE, "bf16", ("compiled",), repeats=3),
    Step("large", WIDE, "bf16", ("compiled",), repeats=1),
]


def rows(device: str, quick: bool) -> Iterator[Row]:
    """All rows of the area; an hour on two cores, for the compiler."""
    steps = [Step("nano", (32, 64), "fp32", (), 2, 2)] if quick else LARGER
    with tempfile.TemporaryDirectory() as folder:
        if device != "cpu":
            yield from within(steps, Path(folder), device, CUDA_S)
            return
        for step in for_processor(steps):
            yield from measure(step, Path(folder), device)
