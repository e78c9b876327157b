"""How much of the image each class fills, and the channels' statistics beside DELIVER's."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import starmap

import numpy as np

from memorysam_core.labels import DELIVER
from memorysam_training.simulation.drive import Drive
from memorysam_training.simulation.frames import FRAMES, camera_frames
from memorysam_training.simulation.parallel import Progress, ordered
from memorysam_training.simulation.rig import Rig

PUBLISHED: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "depth": ((116.94,) * 3, (105.71,) * 3),
    "hha": ((117.08, 66.51, 110.35), (105.55, 77.21, 44.37)),
    "lidar": ((1.797,) * 3, (7.786,) * 3),
    "event": ((17.67, 0.0, 16.79), (64.75, 0.0, 63.24)),
}
"""Mean and standard deviation of R, G, B of DELIVER's frames, 0 to 255, as published."""
_STEPS_S = (0.8, 2.3, 3.8, 5.3)


@dataclass(frozen=True)
class Sample:
    """A few frames of one world to count."""

    seed: int
    condition: str
    rig: Rig


@dataclass(frozen=True)
class Count:
    """Sums over pixels: of the classes, and of the channels and their squares by folder."""

    classes: np.ndarray
    pixels: int
    sums: dict[str, np.ndarray]
    squares: dict[str, np.ndarray]


def count(sample: Sample) -> Count:
    """Simulates the frames of a sample and adds them up."""
    drive = Drive(sample.seed, _STEPS_S[-1] + 1, (sample.condition,), (), sample.rig)
    classes, pixels = np.zeros(len(DELIVER), np.int64), 0
    sums = {name: np.zeros(3) for name in FRAMES}
    squares = {name: np.zeros(3) for name in FRAMES}
    for t in _STEPS_S:
        frames, shot = camera_frames(drive, t)
        classes += np.bincount(shot.labels.ravel(), minlength=len(DELIVER))
        pixels += shot.labels.size
        for name, frame in frames.items():
            values = frame.reshape(-1, 3).astype(np.float64)
            sums[name] += values.sum(0)
            squares[name] += (values**2).sum(0)
    return Count(classes, pixels, sums, squares)


def report(
    frames: int, seed: int, conditions: tuple[str, ...], rig: Rig, processes: int
) -> str:  # fmt: skip
    """Two Markdown tables: class shares, and channel statistics beside the published ones."""
    worlds = max(1, round(frames / len(_STEPS_S)))
    samples = list(starmap(Sample, (
        (seed * 1_000_000 + 900_000 + k, conditions[k % len(conditions)], rig)
        for k in range(worlds)
    )))  # fmt: skip
    progress, counts = Progress(worlds, "worlds"), []
    for result in ordered(count, samples, processes):
        counts.append(result)
        progress.advance()
    return _shares(counts) + "\n\n" + _channels(counts)


def _shares(counts: list[Count]) -> str:
    total = sum(c.classes for c in counts) / sum(c.pixels for c in counts)
    order = np.argsort(-total, kind="stable")
    rows = [f"| {DELIVER.classes[k]} | {100 * total[k]:.2f} |" for k in order]
    return "\n".join(["| class | share of pixels, % |", "|---|---|", *rows])


def _channels(counts: list[Count]) -> str:
    pixels = sum(c.pixels for c in counts)
    lines = [
        "| folder | mean R, G, B here | DELIVER | std R, G, B here | DELIVER |",
        "|---|---|---|---|---|",
    ]
    for name, (mean, std) in PUBLISHED.items():
        here = sum(c.sums[name] for c in counts) / pixels
        spread = np.sqrt(np.maximum(sum(c.squares[name] for c in counts) / pixels - here**2, 0))
        cells = [", ".join(f"{v:.2f}" for v in values) for values in (here, mean, spread, std)]
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)
