"""What a report is made of; plain values and arrays, no markup."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Literal

import numpy as np

from memorysam_core.bench import machine
from memorysam_core.checkpoint import digest
from memorysam_core.labels import LabelSpace
from memorysam_core.metrics import ConfusionMatrix

Level = Literal["ok", "warn", "error"]
GroupKind = Literal["all", "sensors", "condition"]


SIMULATED = "The shipped weights learnt on simulated drives only: real streets are new to them."


@dataclass(frozen=True)
class Run:
    """What ran on what."""

    command: str
    data: str
    """The bag or data set, in words."""
    checkpoint: str = ""
    digest: str = ""
    """SHA-256 of the checkpoint's file, or its beginning."""
    date: str = ""
    """ISO 8601, UTC."""
    machine: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    caveat: str = ""
    """What must be known before anything is concluded from the run."""

    @classmethod
    def here(
        cls,
        command: str,
        data: str,
        checkpoint: str | os.PathLike | None = None,
        device: str = "cpu",
    ) -> Run:
        """A run on the machine that this is, now. ``checkpoint`` is a file."""
        found, checksum = machine.record(device), digest(checkpoint) if checkpoint else ""
        facts = {
            k.replace("_gb", ", GB").replace("_", " "): str(v) for k, v in found["machine"].items()
        }
        if found["commit"]:
            facts["commit"] = found["commit"]
        return cls(
            command=command,
            data=data,
            checkpoint=Path(checkpoint).name if checkpoint else "",
            digest=checksum,
            date=found["date"],
            machine=facts,
            versions=found["versions"],
            caveat=SIMULATED if checksum in _shipped() else "",
        )


def _shipped() -> set[str]:
    """SHA-256 of the weights that come with this package."""
    folder = resources.files("memorysam_core") / "weights"
    files = folder.iterdir() if folder.is_dir() else ()
    return {digest(Path(str(f))) for f in files if f.name.endswith(".safetensors")}


@dataclass(frozen=True)
class Tile:
    """A figure worth being read first."""

    name: str
    value: str
    """With its unit."""
    detail: str = ""


@dataclass(frozen=True)
class Moment:
    """One set of the filmstrip."""

    t_s: float
    frames: Mapping[str, np.ndarray]
    """What the model saw, by sensor, uint8 ``(H, W, 3)``; absent where the sensor was."""
    labels: np.ndarray
    """Ids ``(h, w)``."""
    truth: np.ndarray | None = None
    """Ids of the same shape."""
    condition: str = ""
    """Such as ``rain``; empty if unknown."""
    miou: float | None = None
    """Mean IoU over the classes that occur in its truth, 0 to 1."""
    name: str = ""
    """Said instead of the time where there is none."""


@dataclass(frozen=True)
class Sample:
    """One set on the time line."""

    t_s: float
    """Since the start."""
    present: tuple[str, ...]
    """Sensors whose frame the model saw."""
    miou: float | None = None
    """Mean IoU over the classes that occur in its truth, 0 to 1."""
    condition: str = ""


@dataclass(frozen=True)
class Group:
    """Scores of some of the sets together."""

    name: str
    kind: GroupKind
    sets: int | None
    """How many; None if that was not counted."""
    matrix: ConfusionMatrix


@dataclass(frozen=True)
class Entry:
    """A diagnostic."""

    name: str
    level: Level
    message: str
    values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ReportData:
    """All that a report tells. What is empty is said to be missing."""

    title: str
    run: Run
    label_space: LabelSpace
    sensors: tuple[str, ...]
    """Those that the checkpoint knows, in the order of its sequence."""
    summary: str = ""
    """A sentence below the title."""
    tiles: tuple[Tile, ...] = ()
    moments: tuple[Moment, ...] = ()
    timeline: tuple[Sample, ...] = ()
    """Empty also for sets that do not follow each other."""
    groups: tuple[Group, ...] = ()
    """The first holds all sets. Empty without ground truth."""
    why_unscored: str = ""
    """Then, why: such as that none of the truth belongs to any set. By default, none was given."""
    latencies_ms: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Durations of each stage; the first is the one that is drawn."""
    why_absent: Mapping[str, str] = field(default_factory=dict)
    """For sensors that were missing: why, where that is known."""
    sensor_facts: Mapping[str, str] = field(default_factory=dict)
    """What else is known of a sensor, such as its topic."""
    diagnostics: tuple[Entry, ...] = ()
    """Of the whole; what concerns one sensor is among its facts."""
    notes: tuple[str, ...] = ()
    """What else a reader should know, such as what was wrong with the bag."""

    def sets_with(self, sensor: str) -> int:
        """In how many sets the model saw the sensor."""
        return sum(sensor in sample.present for sample in self.timeline)
