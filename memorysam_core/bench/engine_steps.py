"""One model at one size and in one precision: its engines, one after the other."""

from __future__ import annotations

import gc
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from memorysam_core.architecture import Architecture
from memorysam_core.bench.breakdown import breakdown
from memorysam_core.bench.device_profile import device_profile
from memorysam_core.bench.frame_by_frame import FrameByFrame
from memorysam_core.bench.row import Row
from memorysam_core.bench.stages import random_frames, random_model
from memorysam_core.bench.timing import in_turn, timed
from memorysam_core.checkpoint import SHIPPED, build_model, load_checkpoint, save_checkpoint
from memorysam_core.contract import default_contract
from memorysam_core.engines.compiled import CACHE_VARIABLE
from memorysam_core.engines.export import export
from memorysam_core.engines.graphs import Graph
from memorysam_core.engines.memory_use import give_back
from memorysam_core.segmenter import Segmenter

Frames = dict[str, np.ndarray]


@dataclass(frozen=True)
class Step:
    """What is measured together."""

    size: str
    shape: tuple[int, int]
    """Height and width of the input."""
    precision: str
    engines: tuple[str, ...]
    """Besides eager."""
    frames: int = 4
    repeats: int = 10
    yardstick: bool = False
    """Whether engines are also timed against the frame-by-frame fp32 schedule."""
    held: bool = False
    """Whether held frames are timed."""
    starts: tuple[str, ...] = ()
    """Engines whose start is timed; ``aoti`` is one of ``engines`` then."""

    @classmethod
    def from_json(cls, text: str) -> Step:
        """The inverse of ``json.dumps(dataclasses.asdict(step))``."""
        values = json.loads(text)
        lists = {name: tuple(values[name]) for name in ("shape", "engines", "starts")}
        return cls(**{**values, **lists})

    def __str__(self) -> str:
        return f"{self.size}, {self.frames} x {self.shape[1]} x {self.shape[0]}, {self.precision}"


def measure(step: Step, folder: Path, device: str) -> Iterator[Row]:
    """All rows of a step. Of a GPU's memory each engine is measured alone."""
    path = _checkpoint(folder, step)
    for kind in step.engines:
        if kind == "onnx" and not importlib.util.find_spec("onnxscript"):
            yield Row("onnx: left out", 0, "", "pip install '.[onnx]'")
            continue
        yield from _engine(kind, path, step, device)
        gc.collect()
    eager = Segmenter(path, device, step.precision)  # type: ignore[arg-type]
    alone = not step.engines  # or what they left behind would count as its memory
    yield from _times("eager", eager, _frames(eager, step.frames), step, device, alone)
    if step.held:
        yield from _held_frames(eager, step, device)
    for kind in step.starts:
        yield from _starts(kind, path, step, device)


def _checkpoint(folder: Path, step: Step) -> Path:
    path = folder / f"{step.size}-{step.shape[1]}x{step.shape[0]}.safetensors"
    if not path.exists():
        torch.manual_seed(0)
        if step.size == "nano":
            shipped = load_checkpoint(SHIPPED)
            model, contract = shipped.build(), shipped.contract
        else:
            model, contract = build_model(Architecture(step.size)), default_contract()
        save_checkpoint(path, model, contract.replace(size=step.shape))
    return path


def _frames(segmenter: Segmenter, count: int, seed: int = 0) -> Frames:
    rng = np.random.default_rng(seed)
    shape = (*segmenter.size, 3)
    names = segmenter.contract.names[:count]
    return {name: rng.integers(0, 256, shape, dtype=np.uint8) for name in names}


def _engine(kind: str, path: Path, step: Step, device: str) -> Iterator[Row]:
    begin = time.perf_counter()
    other = _made(kind, path, step, device)
    frames = _frames(other, step.frames)
    other.segment(frames)
    yield Row(f"{kind}: made in", time.perf_counter() - begin, "s", str(step))
    for cost in other.prepared:
        yield Row(f"{kind}: memory of {cost.graph}", cost.memory_mb, "MB", str(step))
    yield from _times(kind, other, frames, step, device, alone=True)

    eager = Segmenter(path, device, step.precision)  # type: ignore[arg-type]
    yield _agreement(kind, eager, other, frames, step)
    anew, ours = partial(_anew, eager, frames), partial(_anew, other, frames)
    ratio, spread = in_turn(anew, ours, device, step.repeats)
    yield Row(f"eager over {kind}", ratio, "x", f"{step}; {spread}")
    if step.yardstick:
        yield _against_the_yardstick(kind, ours, step, device)
    other.close()


def _made(kind: str, path: Path, step: Step, device: str) -> Segmenter:
    made = _of_kind(kind, path, step, device)
    # Now, as the clock waits for the whole device, which breaks a recording in the background.
    made.reduce.prepare(made.size)
    return made


def _of_kind(kind: str, path: Path, step: Step, device: str) -> Segmenter:
    if kind == "compiled":
        made = Segmenter(path, device, step.precision, engine="compiled")  # type: ignore[arg-type]
        # of the sequence of one, breakdown() learns what the decoder takes
        stages = ("encode", step.frames), ("sequence", step.frames), ("sequence", 1)
        made.engine.prepare_graphs(Graph(*stage) for stage in dict.fromkeys(stages))  # type: ignore[arg-type]
        return made
    suffix = {"aoti": ".pt2", "onnx": ".onnx"}[kind]
    out = path.with_name(f"{path.stem}-{step.precision}").with_suffix(suffix)
    export(
        load_checkpoint(path), out, lengths=[step.frames], device=device,
        precision=step.precision, least_agreement=0,  # told in a row
    )  # fmt: skip
    return Segmenter(out, device)


def _anew(segmenter: Segmenter, frames: Frames) -> None:
    segmenter.forget()
    segmenter.segment(frames)


def _agreement(kind: str, eager: Segmenter, other: Segmenter, frames: Frames, step: Step) -> Row:
    equal = [
        (eager.segment(given).labels == other.segment(given).labels).mean()
        for given in ({n: np.roll(f, shift, 1) for n, f in frames.items()} for shift in range(4))
    ]
    name = f"{kind}: labels equal to eager's"
    return Row(name, 100 * float(np.mean(equal)), "%", str(step))


@torch.inference_mode()
def _against_the_yardstick(kind: str, ours: partial, step: Step, device: str) -> Row:
    """From frames on the device to labels there, against ours from host to host."""
    reference = FrameByFrame(random_model(step.size, device))
    frames = random_frames(step.frames, step.shape, device)
    ratio, spread = in_turn(lambda: reference(frames).argmax(1), ours, device, step.repeats // 5)
    return Row(f"frame by frame in fp32, over {kind}", ratio, "x", f"{step}; {spread}")


def _times(
    kind: str, segmenter: Segmenter, frames: Frames, step: Step, device: str, alone: bool
) -> Iterator[Row]:
    """Time of a set from frames on the host to labels on the host, and its parts; of an engine that
    is alone on a GPU, also memory.
    """
    work = partial(_anew, segmenter, frames)
    work()
    if device != "cpu":
        give_back()
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_stats(device).get("num_device_alloc", 0)
    timing = timed(work, device, step.repeats)
    told = f"{timing.spread}; {step}"
    yield Row(f"{kind}: one set, host to host, p50", timing.p50_ms, "ms", told)
    if device != "cpu" and alone:
        allocations = torch.cuda.memory_stats(device).get("num_device_alloc", 0) - before
        yield Row(f"{kind}: device allocations in {step.repeats} sets", allocations, "", str(step))
        # A recording keeps what it needs, but nothing of it is allocated while it is played.
        memory = torch.cuda.max_memory_reserved
        if kind == "eager":
            memory = torch.cuda.max_memory_allocated
        yield Row(f"{kind}: peak memory", memory(device) / 2**20, "MB", str(step))
    for stage, share in breakdown(segmenter, frames, timing.p50_ms, device, step.repeats).items():
        yield Row(f"{kind}: {stage}", 100 * share, "%", f"of the time of a set; {step}")
    if device != "cpu":
        for name, share in device_profile(work).items():
            yield Row(f"{kind}: kernels: {name}", 100 * share, "%", f"of the time of a set; {step}")


def _held_frames(segmenter: Segmenter, step: Step, device: str) -> Iterator[Row]:
    """Sets at the camera's rate with slower sensors held, against encoding every frame anew."""
    first, second = (_frames(segmenter, step.frames, seed) for seed in (0, 1))
    every = tuple(first)
    rates = {"LiDAR 10 Hz": every[:3], "LiDAR, depth and events 10 Hz": every[:1]}

    def drive(fast: tuple[str, ...], hold: bool) -> None:
        for tick in range(6):
            news = every if tick % 3 == 0 else fast
            source = first if tick % 2 else second
            frames.update({name: source[name] for name in news})
            if not hold:
                segmenter.forget()
            segmenter.segment(frames)

    for told, fast in rates.items():
        frames: Frames = dict(first)
        anew, held = partial(drive, fast, hold=False), partial(drive, fast, hold=True)
        ratio, spread = in_turn(anew, held, device, min(8, step.repeats))
        yield Row(f"saved by held features: camera 30 Hz, {told}", ratio, "x", f"{step}; {spread}")


_START = """
import sys, numpy as np
from memorysam_core import Segmenter
from memorysam_core.engines.graphs import Graph
file, device, precision, engine, frames = sys.argv[1:]
segmenter = Segmenter(file, device, precision, engine=engine)
names = segmenter.contract.names[: int(frames)]
segmenter.engine.prepare_graphs(Graph(stage, len(names)) for stage in ("encode", "sequence"))
segmenter.segment(dict.fromkeys(names, np.zeros((*segmenter.size, 3), np.uint8)))
"""


def _starts(kind: str, path: Path, step: Step, device: str) -> Iterator[Row]:
    """Fresh processes, from their start to the first label. On the CPU the first start that
    compiles is timed as well; on a GPU an earlier step has compiled.
    """
    file, engine = path, kind
    times: dict[str, str | None] = {"": None}
    with tempfile.TemporaryDirectory() as empty:
        if kind == "aoti":
            file, engine = path.with_name(f"{path.stem}-{step.precision}.pt2"), "auto"
        elif kind == "compiled":
            times = {", cold": empty, ", warm": empty} if device == "cpu" else {", warm": None}
        for told, cache in times.items():
            environment = {**os.environ, **({CACHE_VARIABLE: cache} if cache else {})}
            words = [str(file), device, step.precision, engine, str(step.frames)]
            begin = time.perf_counter()
            command = [sys.executable, "-c", _START, *words]
            subprocess.run(command, check=True, env=environment, capture_output=True)
            seconds = time.perf_counter() - begin
            name = f"process start to first label: {kind}{told}"
            yield Row(name, seconds, "s", f"{step}, {device}")
