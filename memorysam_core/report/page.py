"""The report as one HTML file: no script, nothing from the network, all text escaped."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from memorysam_core.report import figures, pictures
from memorysam_core.report.data import Group, Moment, ReportData
from memorysam_core.report.words import clock, date, milliseconds, percent, plain, title

COMPARED = 3
"""Groups of sets whose IoU by class is shown side by side."""


def write_report(report: ReportData, path: str | os.PathLike) -> Path:
    """Writes the file, whole or not at all. Returns its path."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, scratch = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(render(report))
        os.chmod(scratch, 0o644)
        os.replace(scratch, target)
    except BaseException:
        os.unlink(scratch)
        raise
    return target


def render(report: ReportData) -> str:
    """The page."""
    from jinja2 import Environment, StrictUndefined  # an optional package

    environment = Environment(autoescape=True, undefined=StrictUndefined, finalize=_plain)
    environment.filters.update(
        title=title, percent=percent, clock=clock, date=date, milliseconds=milliseconds
    )
    folder = resources.files("memorysam_core.report")
    template = environment.from_string((folder / "template.html").read_text(encoding="utf-8"))
    return template.render(
        report=report,
        style=(folder / "style.css").read_text(encoding="utf-8"),
        moments=[_row(moment, report) for moment in report.moments],
        legend=list(_legend(report)),
        missing=list(_missing(report)),
        classes=list(_classes(report)),
        compared=_compared(report.groups),
        stages=list(_stages(report)),
        timeline=_timeline(report),
        histogram=_histogram(report),
        duration_s=report.timeline[-1].t_s - report.timeline[0].t_s if report.timeline else 0.0,
    )


def _plain(value: object) -> object:
    # What the template calls safe is markup of ours.
    return plain(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


@dataclass(frozen=True)
class _Cell:
    """A picture of the filmstrip, or why there is none."""

    name: str
    uri: str = ""
    why_not: str = ""


@dataclass(frozen=True)
class _ClassRow:
    name: str
    colour: str
    share: float
    """Of the labelled pixels."""
    iou: tuple[float | None, ...]
    """By group; None where the class occurs in neither truth nor labels."""


@dataclass(frozen=True)
class _StageRow:
    name: str
    p50_ms: float
    p95_ms: float
    max_ms: float
    runs: int


def _row(moment: Moment, report: ReportData) -> tuple[Moment, list[_Cell]]:
    space = report.label_space
    cells = []
    for sensor in report.sensors:
        frame = moment.frames.get(sensor)
        if frame is None:
            cells.append(_Cell(title(sensor), why_not="not there"))
            continue
        encode = pictures.photo_uri if sensor == "image" else pictures.drawing_uri
        cells.append(_Cell(title(sensor), encode(pictures.shown(sensor, pictures.small(frame)))))
    labels = pictures.small(moment.labels)
    cells.append(_Cell("labels", pictures.labels_uri(labels, space)))
    if moment.truth is None:
        why_not = "no ground truth"
        cells += [_Cell("truth", why_not=why_not), _Cell("error", why_not=why_not)]
    else:
        truth = pictures.small(moment.truth)
        image = moment.frames.get("image")
        wrong = pictures.error(labels, truth, space.ignore_id, image)
        cells.append(_Cell("truth", pictures.labels_uri(truth, space)))
        cells.append(_Cell("error", pictures.photo_uri(wrong)))
    return moment, cells


def _legend(report: ReportData) -> Iterator[tuple[str, str]]:
    """Classes that the filmstrip shows, with their colours."""
    seen: set[int] = set()
    for moment in report.moments:
        for ids in (moment.labels, moment.truth):
            if ids is not None:
                seen.update(np.unique(ids).tolist())
    for index, (name, colour) in enumerate(_named(report)):
        if index in seen:
            yield name, colour


def _missing(report: ReportData) -> Iterator[str]:
    """A sentence for each sensor that was not there all the time."""
    total = len(report.timeline)
    for sensor in report.sensors:
        there = report.sets_with(sensor)
        why = report.why_absent.get(sensor, "")
        because = f": {why}" if why else ""
        if total and not there:
            yield f"{title(sensor)} was missing throughout{because}"
        elif there < total:
            yield f"{title(sensor)} was missing in {total - there} of {total} sets{because}"


def _named(report: ReportData) -> Iterator[tuple[str, str]]:
    space = report.label_space
    for name, colour in zip(space.classes, space.colours, strict=True):
        yield name, "#{:02x}{:02x}{:02x}".format(*colour)


def _compared(groups: tuple[Group, ...]) -> tuple[Group, ...]:
    """All sets, and the best filled groups of sensors."""
    by_sensors = [group for group in groups[1:] if group.kind == "sensors"]
    if len(by_sensors) < 2:
        return groups[:1]
    fullest = sorted(by_sensors, key=lambda group: -(group.sets or 0))[: COMPARED - 1]
    return (*groups[:1], *(group for group in by_sensors if group in fullest))


def _classes(report: ReportData) -> Iterator[_ClassRow]:
    """Classes that occur in truth or labels, the most frequent first."""
    compared = _compared(report.groups)
    if not compared:
        return
    counts = [group.matrix.counts for group in compared]
    scores = [group.matrix.scores() for group in compared]
    true = counts[0].sum(axis=1)
    names = list(_named(report))
    for index in np.argsort(-true, kind="stable"):
        occurs = [bool(c[index].sum() + c[:, index].sum()) for c in counts]
        if occurs[0]:
            name, colour = names[index]
            iou = tuple(
                float(score.iou[index]) if there else None
                for score, there in zip(scores, occurs, strict=True)
            )
            yield _ClassRow(name, colour, float(true[index] / max(1, true.sum())), iou)


def _stages(report: ReportData) -> Iterator[_StageRow]:
    for name, runs in report.latencies_ms.items():
        if len(runs):
            p50, p95, largest = np.percentile(runs, (50, 95, 100))
            yield _StageRow(name, float(p50), float(p95), float(largest), len(runs))


def _timeline(report: ReportData) -> dict[str, str]:
    if not report.timeline:
        return {}
    return figures.timeline(report.timeline, report.sensors)


def _histogram(report: ReportData) -> dict[str, str]:
    for name, runs in report.latencies_ms.items():
        if len(runs) > 1:
            return figures.latencies(runs, name)
        break
    return {}
