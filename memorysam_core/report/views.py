"""The pictures of a report's page: one moment at large, and some others side by side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from memorysam_core.report import pictures
from memorysam_core.report.data import Moment, ReportData
from memorysam_core.report.words import clock, title

STAGE_PX, STRIP_PX, CELL_PX = 1280, 640, 400
"""Widths of the large picture, of the overlays in the strip, and of all others there."""


@dataclass(frozen=True)
class View:
    """A picture, or the name of a sensor that was missing then."""

    name: str
    uri: str = ""
    kind: str = "sensor"
    """``overlay``, ``sensor``, or ``compared`` for labels, truth and error."""


@dataclass(frozen=True)
class Row:
    """A moment and its pictures."""

    when: str
    moment: Moment
    views: tuple[View, ...]
    gone: tuple[str, ...]
    """Sensors that were missing then, though not always."""

    @property
    def few(self) -> bool:
        """Whether its sensors fill one column beside the overlay."""
        return sum(view.kind == "sensor" for view in self.views) <= 2

    @property
    def shape(self) -> str:
        """Width and height of its pictures, as CSS has them."""
        height, width = self.moment.labels.shape
        return f"{width}/{height}"


def rows(report: ReportData) -> tuple[Row | None, list[Row]]:
    """The moment that is shown at large, and the others; None where there is none."""
    if not report.moments:
        return None, []
    first = _shown_first(report.moments)
    others = [moment for moment in report.moments if moment is not first]
    return _row(first, report, STAGE_PX), [_row(m, report, STRIP_PX) for m in others]


def legend(moments: tuple[Moment, ...], report: ReportData) -> Iterator[tuple[str, str]]:
    """Classes that occur, with their colours, by their share of the pixels."""
    space = report.label_space
    counts = np.zeros(len(space), np.int64)
    for moment in moments:
        for ids in (moment.labels, moment.truth):
            if ids is not None:
                counts += np.bincount(ids[ids < len(space)].reshape(-1), minlength=len(space))
    for index in np.argsort(-counts, kind="stable"):
        if counts[index]:
            yield space.classes[index], "#{:02x}{:02x}{:02x}".format(*space.colours[index])


def _shown_first(moments: tuple[Moment, ...]) -> Moment:
    """The first with the most sensors; of samples that were chosen by their score, the median."""
    if moments[0].name:
        return moments[len(moments) // 2]
    return max(moments, key=lambda moment: len(moment.frames))


def _row(moment: Moment, report: ReportData, width: int) -> Row:
    ever = {name for one in report.moments for name in one.frames}
    gone = [title(n) for n in report.sensors if n in ever and n not in moment.frames]
    views = tuple(_views(moment, report, ever, width))
    return Row(moment.name or clock(moment.t_s), moment, views, tuple(gone))


def _views(moment: Moment, report: ReportData, sensors: set[str], width: int) -> Iterator[View]:
    space, image, truth = report.label_space, moment.frames.get("image"), moment.truth
    other_width = STAGE_PX if width == STAGE_PX else CELL_PX
    over = pictures.overlay(image, moment.labels, space, width)
    yield View("labels over the image", pictures.photo_uri(over), "overlay")
    for sensor in (name for name in report.sensors if name in sensors):
        frame = moment.frames.get(sensor)
        if frame is None:
            yield View(title(sensor))
            continue
        encode = pictures.photo_uri if sensor == "image" else pictures.drawing_uri
        frame = pictures.fitted(pictures.small(frame, other_width), moment.labels.shape)
        shown = pictures.shown(sensor, frame)
        yield View(title(sensor), encode(shown))
    labels = pictures.small(moment.labels, other_width)
    if truth is not None or width == STAGE_PX:
        yield View("labels", pictures.labels_uri(labels, space), "compared")
    if truth is not None:
        truth = pictures.small(truth, other_width)
        wrong = pictures.error(labels, truth, space.ignore_id, image)
        yield View("truth", pictures.labels_uri(truth, space), "compared")
        yield View("error", pictures.photo_uri(wrong), "compared")
