"""The tables of a report's page, as rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from memorysam_core.report.data import Group, Level, ReportData
from memorysam_core.report.words import title

COMPARED = 3
"""Groups of sets whose IoU by class is shown side by side."""


@dataclass(frozen=True)
class SensorRow:
    """Whether a sensor was there."""

    name: str
    level: Level
    state: str
    """Such as ``in 7 of 9 sets``."""
    fact: str
    """What else is known of it, such as its topic."""
    why: str
    """Why it was missing, where it was and that is known."""


@dataclass(frozen=True)
class ClassRow:
    """How well a class was found."""

    name: str
    colour: str
    share: float
    """Of the labelled pixels."""
    iou: tuple[float | None, ...]
    """By group; None where the class occurs in neither truth nor labels."""


@dataclass(frozen=True)
class StageRow:
    """How long a stage took."""

    name: str
    p50_ms: float
    p95_ms: float
    max_ms: float
    runs: int


def sensors(report: ReportData) -> Iterator[SensorRow]:
    """All that the checkpoint knows; none without a time line."""
    total = len(report.timeline)
    for sensor in report.sensors if total else ():
        there = report.sets_with(sensor)
        level: Level = "ok" if there == total else "warn" if there else "error"
        state = {
            "ok": "in every set",
            "warn": f"missing in {total - there} of {total} sets",
            "error": "missing throughout",
        }[level]
        fact = report.sensor_facts.get(sensor, "")
        why = report.why_absent.get(sensor, "") if there < total else ""
        yield SensorRow(title(sensor), level, state, fact, why)


def groups(report: ReportData) -> tuple[Group, ...]:
    """All sets, and the parts of them where they fall into more than one."""
    kinds = [group.kind for group in report.groups]
    return tuple(g for g in report.groups if g.kind == "all" or kinds.count(g.kind) > 1)


def compared(groups: tuple[Group, ...]) -> tuple[Group, ...]:
    """All sets, and the best filled groups of sensors."""
    by_sensors = [group for group in groups[1:] if group.kind == "sensors"]
    if len(by_sensors) < 2:
        return groups[:1]
    fullest = sorted(by_sensors, key=lambda group: -(group.sets or 0))[: COMPARED - 1]
    return (*groups[:1], *(group for group in by_sensors if group in fullest))


def classes(report: ReportData) -> Iterator[ClassRow]:
    """Classes that occur in truth or labels, the most frequent first."""
    columns = compared(report.groups)
    if not columns:
        return
    space = report.label_space
    counts = [group.matrix.counts for group in columns]
    scores = [group.matrix.scores() for group in columns]
    true = counts[0].sum(axis=1)
    for index in np.argsort(-true, kind="stable"):
        occurs = [bool(c[index].sum() + c[:, index].sum()) for c in counts]
        if occurs[0]:
            iou = tuple(
                float(score.iou[index]) if there else None
                for score, there in zip(scores, occurs, strict=True)
            )
            share = float(true[index] / max(1, true.sum()))
            colour = "#{:02x}{:02x}{:02x}".format(*space.colours[index])
            yield ClassRow(space.classes[index], colour, share, iou)


def stages(report: ReportData) -> Iterator[StageRow]:
    """Each stage that was measured."""
    for name, runs in report.latencies_ms.items():
        if len(runs):
            p50, p95, largest = np.percentile(runs, (50, 95, 100))
            yield StageRow(name, float(p50), float(p95), float(largest), len(runs))
