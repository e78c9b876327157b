"""A data set in DELIVER's layout, of many short drives through many worlds."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from memorysam_ros.bags.deliver_layout import Place, coded, write_png
from memorysam_training.simulation.conditions import FAILURES, Fault
from memorysam_training.simulation.drive import Drive
from memorysam_training.simulation.frames import camera_frames
from memorysam_training.simulation.noise import stream
from memorysam_training.simulation.parallel import Progress, ordered
from memorysam_training.simulation.rig import Rig

SPLITS = {"train": 0.8, "val": 0.1, "test": 0.1}
"""Share of the frames in each split; no two splits share a world."""
PER_SEQUENCE = 8
STEP_S = 1.3
"""Seconds of driving between two frames of a sequence."""
FAILURE_SHARE = 0.25
"""Share of the sequences that carry one of the failures."""


@dataclass(frozen=True)
class Sequence:
    """One drive: where its frames go and what befalls it."""

    root: Path
    split: str
    condition: str
    failure: str | None
    seed: int
    frames: int
    rig: Rig

    @property
    def name(self) -> str:
        """The folder's name; failures are part of it, as in DELIVER."""
        return f"world_{self.seed}" + (f"_{self.failure}" if self.failure else "")


def plan(
    root: Path, frames: int, seed: int, conditions: tuple[str, ...], rig: Rig
) -> list[Sequence]:
    """The sequences of a data set of ``frames`` frames; conditions take turns in each split.

    Raises ValueError where there are too few frames for every split to have one.
    """
    counts = {split: round(frames * share) for split, share in SPLITS.items()}
    counts["train"] = frames - counts["val"] - counts["test"]
    if min(counts.values()) < 1:
        raise ValueError(f"{frames} frames do not fill train, val and test; give at least 5")
    sequences = []
    for number, (split, count) in enumerate(counts.items()):
        worlds = max(-(-count // PER_SEQUENCE), min(len(conditions), count))
        draws = stream(seed, "failures", number)
        for k in range(worlds):
            share = count * (k + 1) // worlds - count * k // worlds
            fails = draws.random() < FAILURE_SHARE
            failure = FAILURES[draws.integers(len(FAILURES))] if fails else None
            world = seed * 1_000_000 + number * 100_000 + k
            sequences.append(
                Sequence(root, split, conditions[k % len(conditions)], failure, world, share, rig)
            )
    return sequences


def export(
    root: Path, frames: int, seed: int, conditions: tuple[str, ...], rig: Rig, processes: int
) -> None:
    """Writes the data set to the folder ``root``."""
    sequences = plan(root, frames, seed, conditions, rig)
    progress = Progress(frames, "frame sets")
    for done in ordered(write_sequence, sequences, processes):
        progress.advance(done)
    about = {
        "made_by": "memorysam simulate", "frames": frames, "seed": seed,
        "conditions": list(conditions), "width_height": list(rig.image_size),
    }  # fmt: skip
    (root / "simulation.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def write_sequence(sequence: Sequence) -> int:
    """Simulates one sequence and writes its images; returns how many frame sets."""
    faults = (Fault(sequence.failure),) if sequence.failure else ()
    drive = Drive(
        sequence.seed, sequence.frames * STEP_S, (sequence.condition,), faults, sequence.rig
    )
    for k in range(sequence.frames):
        frames, shot = camera_frames(drive, STEP_S * (k + 0.5))
        frames["semantic"] = coded(shot.labels)
        place = Place(sequence.condition, sequence.split, sequence.name, f"{k:06d}")
        for folder, pixels in frames.items():
            write_png(sequence.root / place.file(folder), pixels)
    return sequence.frames
