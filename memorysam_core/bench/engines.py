"""Engines: each against eager, held frames, what it costs to start, and where the time goes.

``nano`` has the weights that ship, the other sizes random ones, which compute as much but hold
their classes so near each other that fewer labels agree. Pairs are timed in turn in one run.

On a GPU all of it fits into ten minutes, whatever a compiler takes: each step is a process of its
own, the goals come first, and a step that is not done in time is broken off and said to be so.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from memorysam_core.bench.engine_steps import Step, measure
from memorysam_core.bench.row import Row
from memorysam_core.bench.stages import SQUARE, WIDE
from memorysam_core.engines.compiled import CACHE_VARIABLE
from memorysam_core.engines.placement import choose_precision

CUDA_S = 570
"""Seconds that all steps together may take on a GPU."""
LEAST_S = 20
"""Less is not enough for any of them."""


def rows(device: str, quick: bool) -> Iterator[Row]:
    """All rows of the area; three quarters of an hour on two cores, ten minutes on a GPU."""
    with tempfile.TemporaryDirectory() as folder:
        if device == "cpu":
            for step in [QUICK] if quick else for_processor(ON_CPU):
                yield from measure(step, Path(folder), device)
        else:
            yield from within([QUICK] if quick else ON_GPU, Path(folder), device, CUDA_S)


EVERY = ("compiled", "aoti", "onnx")
STARTS = ("eager", "compiled", "aoti")
QUICK = Step("nano", (32, 32), "fp32", EVERY, 1, 2, held=True, starts=STARTS)
SMALL = (256, 448)
ON_CPU = [
    Step("nano", SMALL, "bf16", ("compiled", "aoti"), held=True),
    Step("nano", SMALL, "fp32", EVERY, held=True, starts=STARTS),
    Step("nano", WIDE, "bf16", ("compiled", "aoti"), repeats=5),
    Step("nano", WIDE, "fp32", EVERY, repeats=5),
]
ON_GPU = [
    Step("base_plus", SQUARE, "bf16", ("compiled",), repeats=50, yardstick=True),
    Step("tiny", SQUARE, "bf16", ("compiled",), repeats=50),
    Step("base_plus", WIDE, "bf16", ("compiled",), repeats=50),
    Step("tiny", WIDE, "bf16", ("compiled",), repeats=50),
    Step("base_plus", SQUARE, "bf16", (), repeats=20, held=True, starts=("eager", "compiled")),
    Step("base_plus", SQUARE, "bf16", ("aoti",), repeats=50, starts=("aoti",)),
]


def for_processor(steps: list[Step]) -> list[Step]:
    """With fp32 in place of bf16 where the processor only emulates that, and nothing twice."""
    if choose_precision("auto", torch.device("cpu")) == "bf16":
        return steps
    asked = {(step.size, step.shape) for step in steps if step.precision == "fp32"}
    return [
        dataclasses.replace(step, precision="fp32") if step.precision == "bf16" else step
        for step in steps
        if step.precision != "bf16" or (step.size, step.shape) not in asked
    ]


def within(steps: list[Step], folder: Path, device: str, seconds: float) -> Iterator[Row]:
    """The rows of steps, each in a process of its own, as far as there is time."""
    end = time.monotonic() + seconds
    for step in steps:
        left = end - time.monotonic()
        if left < LEAST_S:
            yield Row("left out: no time left", 0, "", str(step))
            continue
        yield from _in_process(step, folder, device, left)


def _in_process(step: Step, folder: Path, device: str, seconds: float) -> Iterator[Row]:
    code = "import sys; from memorysam_core.bench.engines import run_step; run_step(*sys.argv[1:])"
    command = [
        sys.executable,
        "-c",
        code,
        json.dumps(dataclasses.asdict(step)),
        str(folder),
        device,
    ]
    # Code that one step compiles is found by the next, and by no other run.
    environment = {**os.environ, CACHE_VARIABLE: str(folder / "cache")}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    trouble = ""
    try:
        said, complaint = process.communicate(timeout=seconds)
        if process.returncode:
            trouble = f"failed: {(complaint.strip().splitlines() or ['no word'])[-1]}"
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # and the compilers that it has started
        said, _ = process.communicate()
        trouble = f"broken off after {seconds:.0f} s: no time left"
    for line in said.splitlines():
        if line.startswith("{"):
            yield Row(**json.loads(line))
    if trouble:
        yield Row(trouble, 0, "", str(step))


def run_step(step: str, folder: str, device: str) -> None:
    """One step in this process: a line of JSON for each row, as soon as it is there."""
    for row in measure(Step.from_json(step), Path(folder), device):
        print(json.dumps(dataclasses.asdict(row)), flush=True)
