"""Engines: each against eager, held frames, what it costs to start; on a GPU, where time goes.

``nano`` has the weights that ship, the other sizes random ones, which compute as much but hold
their classes so near each other that fewer labels agree. Pairs are timed in turn in one run.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch

from memorysam_core.architecture import Architecture
from memorysam_core.bench.device_profile import device_profile
from memorysam_core.bench.row import Row
from memorysam_core.bench.stages import SQUARE, WIDE
from memorysam_core.bench.timing import in_turn, timed
from memorysam_core.checkpoint import SHIPPED, build_model, load_checkpoint, save_checkpoint
from memorysam_core.contract import default_contract
from memorysam_core.engines.compiled import CACHE_VARIABLE
from memorysam_core.engines.export import export
from memorysam_core.segmenter import Segmenter

CUDA_BUDGET_S = 420
"""After so long no other engine is made, so that one call ends within ten minutes."""
Frames = dict[str, np.ndarray]


def rows(device: str, quick: bool) -> Iterator[Row]:
    """All rows of the area."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        yield from _held_frames(Path(folder), device, quick)
        for size, shape, precision, kinds, repeats in _plan(device, quick):
            if device != "cpu" and time.perf_counter() - started > CUDA_BUDGET_S:
                yield Row("left out: no time left", 0, "", f"{size}, {shape[1]} x {shape[0]}")
                continue
            path = _checkpoint(Path(folder), size, shape)
            yield from _engines(path, device, precision, kinds, repeats, quick)
        yield from _starts(Path(folder), quick)


def _plan(device: str, quick: bool) -> Iterator[tuple[str, tuple[int, int], str, tuple, int]]:
    every = ("compiled", "aoti", "onnx")
    if quick:
        yield "nano", (32, 32), "fp32", every, 2
    elif device == "cpu":
        yield "nano", (256, 448), "bf16", ("compiled", "aoti"), 10
        yield "nano", (256, 448), "fp32", every, 10
    else:
        yield "base_plus", SQUARE, "bf16", ("compiled", "aoti"), 50
        yield "tiny", SQUARE, "bf16", ("compiled",), 50
        yield "base_plus", WIDE, "bf16", ("compiled",), 50
        yield "tiny", WIDE, "bf16", ("compiled",), 50


def _checkpoint(folder: Path, size: str, shape: tuple[int, int]) -> Path:
    path = folder / f"{size}-{shape[1]}x{shape[0]}.safetensors"
    if not path.exists():
        torch.manual_seed(0)
        if size == "nano":
            shipped = load_checkpoint(SHIPPED)
            model, contract = shipped.build(), shipped.contract
        else:
            model, contract = build_model(Architecture(size)), default_contract()
        save_checkpoint(path, model, contract.replace(size=shape))
    return path


def _frames(segmenter: Segmenter, seed: int = 0) -> Frames:
    rng = np.random.default_rng(seed)
    shape = (*segmenter.size, 3)
    return {n: rng.integers(0, 256, shape, dtype=np.uint8) for n in segmenter.contract.names}


def _held_frames(folder: Path, device: str, quick: bool) -> Iterator[Row]:
    """Sets at the camera's rate with slower sensors held, against encoding every frame anew."""
    size, shape = ("nano", (64, 64)) if quick else ("nano", (256, 448))
    if device != "cpu":
        size, shape = "base_plus", SQUARE
    segmenter = Segmenter(_checkpoint(folder, size, shape), device)
    first, second = _frames(segmenter, 0), _frames(segmenter, 1)
    every = segmenter.contract.names
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
        ratio, spread = in_turn(anew, held, device, 2 if quick else 8)
        where = f"{size}, 4 x {shape[1]} x {shape[0]}, {segmenter.precision}"
        yield Row(f"saved by held features: camera 30 Hz, {told}", ratio, "x", f"{where}; {spread}")


def _engines(
    path: Path, device: str, precision: str, kinds: tuple[str, ...], repeats: int, quick: bool
) -> Iterator[Row]:
    eager = Segmenter(path, device, precision)  # type: ignore[arg-type]
    length = 1 if quick else len(eager.contract.names)
    frames = {name: _frames(eager)[name] for name in eager.contract.names[:length]}
    where = f"{path.stem}, {length} frames, {precision}"
    yield from _alone("eager", eager, frames, where, device, repeats)
    for kind in kinds:
        if kind == "onnx" and not importlib.util.find_spec("onnxscript"):
            yield Row("onnx: left out", 0, "", "pip install '.[onnx]'")
            continue
        begin = time.perf_counter()
        other = _made(kind, path, device, precision, length)
        other.warm_up([frames], [length], others=False)
        yield Row(f"{kind}: made in", time.perf_counter() - begin, "s", where)
        for cost in other.prepared:
            yield Row(f"{kind}: memory of {cost.graph}", cost.memory_mb, "MB", where)
        yield _agreement(kind, eager, other, frames, where)
        ratio, spread = in_turn(
            partial(_anew, eager, frames), partial(_anew, other, frames), device, repeats
        )
        yield Row(f"eager over {kind}", ratio, "x", f"{where}; {spread}")
        yield from _alone(kind, other, frames, where, device, repeats)


def _made(kind: str, path: Path, device: str, precision: str, length: int) -> Segmenter:
    if kind == "compiled":
        return Segmenter(path, device, precision, engine="compiled")  # type: ignore[arg-type]
    out = path.with_name(f"{path.stem}-{precision}").with_suffix(
        {"aoti": ".pt2", "onnx": ".onnx"}[kind]
    )
    export(load_checkpoint(path), out, lengths=[length], device=device, precision=precision)
    return Segmenter(out, device)


def _anew(segmenter: Segmenter, frames: Frames) -> None:
    segmenter.forget()
    segmenter.segment(frames)


def _agreement(kind: str, eager: Segmenter, other: Segmenter, frames: Frames, where: str) -> Row:
    equal = [
        (eager.segment(given).labels == other.segment(given).labels).mean()
        for given in ({n: np.roll(f, shift, 1) for n, f in frames.items()} for shift in range(4))
    ]
    return Row(f"{kind}: labels equal to eager's", 100 * float(np.mean(equal)), "%", where)


def _alone(
    kind: str, segmenter: Segmenter, frames: Frames, where: str, device: str, repeats: int
) -> Iterator[Row]:
    """Time of a set from frames on the host to labels on the host; on a GPU, memory and shares."""
    on_gpu = device != "cpu"
    _anew(segmenter, frames)
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_stats().get("num_device_alloc", 0)
    timing = timed(lambda: _anew(segmenter, frames), device, repeats)
    told = f"{timing.spread}; {where}"
    yield Row(f"{kind}: one set, host to host, p50", timing.p50_ms, "ms", told)
    if on_gpu:
        allocations = torch.cuda.memory_stats().get("num_device_alloc", 0) - before
        yield Row(f"{kind}: device allocations in {repeats} sets", allocations, "", where)
        peak = torch.cuda.max_memory_allocated() / 2**20
        yield Row(f"{kind}: peak memory", peak, "MB", where)
        for name, share in device_profile(lambda: _anew(segmenter, frames)).items():
            yield Row(f"{kind}: {name}", 100 * share, "%", f"of the time of a set; {where}")


_START = """
import sys, numpy as np
from memorysam_core import Segmenter
segmenter = Segmenter(sys.argv[1], "cpu", "fp32" if sys.argv[2] != "auto" else "auto",
                      engine=sys.argv[2])
names = segmenter.contract.names[: int(sys.argv[3])]
if sys.argv[2] != "eager":
    segmenter.warm_up([names], [len(names)], others=False)
segmenter.segment(dict.fromkeys(names, np.zeros((*segmenter.size, 3), np.uint8)))
"""


def _starts(folder: Path, quick: bool) -> Iterator[Row]:
    """Fresh processes on the CPU, from their start to the first label."""
    shape = (32, 32) if quick else (256, 448)
    path, length = _checkpoint(folder, "nano", shape), 1 if quick else 4
    where = f"nano, {length} x {shape[1]} x {shape[0]}, fp32, CPU"
    package = path.with_name(f"{path.stem}-fp32.pt2")
    with tempfile.TemporaryDirectory() as cache:
        runs = [
            ("eager", path, "eager"),
            ("compiled, cold", path, "compiled"),
            ("compiled, warm", path, "compiled"),
        ]
        if package.exists():
            runs.append(("aoti", package, "auto"))
        for told, file, engine in runs:
            environment = {**os.environ, CACHE_VARIABLE: cache}
            command = [sys.executable, "-c", _START, str(file), engine, str(length)]
            begin = time.perf_counter()
            subprocess.run(command, check=True, env=environment, capture_output=True)
            seconds = time.perf_counter() - begin
            yield Row(f"process start to first label: {told}", seconds, "s", where)
