"""A report as one picture: a few moments of the run side by side above its time line."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from memorysam_core.report import figures, pictures, views
from memorysam_core.report.data import Moment, ReportData
from memorysam_core.report.words import clock, percent, plain, title

if TYPE_CHECKING:  # an optional package
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 3
WIDTH_PX, DPI = 1600, 125
MARGIN_PX, GAP_PX, SMALL_GAP_PX = 28, 16, 6
TITLE_PX, HEADING_PX, LEGEND_PX, LINE_PX = 92, 44, 34, 304
CLASSES_A_ROW = 9
COLOURS = {
    figures.INK: "#f2f5f7",
    figures.MUTED: "#9aa6b1",
    figures.GRID: "#2a3137",
    figures.ACCENT: "#45c4ba",
    figures.BAD: "#ff8061",
    figures.GOOD: "#4fbf83",
    figures.BAND: "#1b2126",
}
GROUND = "#0a0d0f"


def write_poster(report: ReportData, path: str | os.PathLike) -> Path:
    """Writes a PNG of 1600 pixels across, whole or not at all. Returns its path.

    Raises ValueError for a report without moments.
    """
    if not report.moments:
        raise ValueError("no set was labelled, so there is nothing to show in a picture")
    buffer = io.BytesIO()
    # A palette with dithering: a third of the size, and no eye sees it.
    _drawn(report).quantize(256).save(buffer, "PNG", optimize=True)
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, scratch = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(buffer.getvalue())
        os.chmod(scratch, 0o644)
        os.replace(scratch, target)
    except BaseException:
        os.unlink(scratch)
        raise
    return target


class _Sheet:
    """A figure that is laid out in pixels, from the top down."""

    def __init__(self, figure: Figure, height: int) -> None:
        self.figure, self.height = figure, height
        self.top = 0

    def text(self, x: float, y: float, words: str, size_px: float, **more: Any) -> None:
        options = {"va": "center", "color": COLOURS[figures.INK], **more}
        points = size_px * 72 / DPI
        self.figure.text(x / WIDTH_PX, 1 - y / self.height, words, fontsize=points, **options)

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        place = (
            x / WIDTH_PX,
            1 - (y + height) / self.height,
            width / WIDTH_PX,
            height / self.height,
        )
        return self.figure.add_axes(place)


def _drawn(report: ReportData) -> Image.Image:
    import matplotlib
    from matplotlib.figure import Figure

    moments = list(_chosen(report))
    legend = list(views.legend(tuple(moments), report))
    width = (WIDTH_PX - 2 * MARGIN_PX - (COLUMNS - 1) * GAP_PX) / COLUMNS
    picture = width * moments[0].labels.shape[0] / moments[0].labels.shape[1]
    with_truth = moments[0].truth is not None
    rows = -(-len(report.sensors) // 2)
    cell = (width - SMALL_GAP_PX) / 2, (picture - SMALL_GAP_PX) / 2
    pictures_px = picture * (1 + with_truth) + rows * (cell[1] + SMALL_GAP_PX) + GAP_PX
    legend_px = LEGEND_PX * -(-len(legend) // CLASSES_A_ROW)
    height = round(TITLE_PX + HEADING_PX + pictures_px + legend_px + LINE_PX + 2 * MARGIN_PX)
    with matplotlib.rc_context({**_style(), "savefig.facecolor": GROUND}):
        sheet = _Sheet(Figure(figsize=(WIDTH_PX / DPI, height / DPI)), height)
        sheet.text(MARGIN_PX, TITLE_PX * 0.56, plain(report.title), 40, weight="bold")
        sheet.text(WIDTH_PX - MARGIN_PX, TITLE_PX * 0.6, "MemorySAM", 24, ha="right",
                   color=COLOURS[figures.ACCENT], weight="bold")  # fmt: skip
        for column, moment in enumerate(moments):
            x = MARGIN_PX + column * (width + GAP_PX)
            sheet.text(x, TITLE_PX + HEADING_PX / 2, _heading(moment), 22)
            _draw_moment(sheet, report, moment, (x, TITLE_PX + HEADING_PX), (width, picture))
        y = TITLE_PX + HEADING_PX + pictures_px
        _draw_legend(sheet, legend, y)
        _draw_line(sheet, report, moments, y + legend_px + 2 * MARGIN_PX)
        buffer = io.BytesIO()
        sheet.figure.savefig(buffer, format="png", dpi=DPI)
    return Image.open(buffer).convert("RGB")


def _style() -> dict[Any, Any]:
    """The charts' style, with colours for a dark ground."""
    style = {k: COLOURS.get(v, v) if isinstance(v, str) else v for k, v in figures.STYLE.items()}
    return {**style, "figure.facecolor": GROUND, "hatch.linewidth": 0.8}


def _chosen(report: ReportData) -> Iterator[Moment]:
    """One of each part of the run, one that lacks a sensor if the part has such."""
    every = set(report.sensors)
    parts = np.array_split(np.arange(len(report.moments)), min(COLUMNS, len(report.moments)))
    for part in parts:
        lacking = [i for i in part if set(report.moments[i].frames) != every]
        yield report.moments[(lacking or list(part))[len(lacking or part) // 2]]


def _heading(moment: Moment) -> str:
    parts = [moment.name or clock(moment.t_s), plain(moment.condition)]
    if moment.miou is not None:
        parts.append(f"mIoU {percent(moment.miou)} %")
    return "   ".join(part for part in parts if part)


def _draw_moment(
    sheet: _Sheet,
    report: ReportData,
    moment: Moment,
    corner: tuple[float, float],
    size: tuple[float, float],
) -> None:
    """The labels over the image, below them the sensors two by two, and the truth."""
    (x, y), (width, height), space = corner, size, report.label_space
    image = moment.frames.get("image")
    over = pictures.overlay(image, moment.labels, space, 2 * round(width))
    _draw_cell(sheet.axes(x, y, width, height), over, "labels over the image")
    y += height + SMALL_GAP_PX
    cell = (width - SMALL_GAP_PX) / 2, (height - SMALL_GAP_PX) / 2
    for place, sensor in enumerate(report.sensors):
        row, column = divmod(place, 2)
        at = x + column * (cell[0] + SMALL_GAP_PX), y + row * (cell[1] + SMALL_GAP_PX)
        frame = moment.frames.get(sensor)
        shown = None if frame is None else pictures.shown(sensor, frame)
        _draw_cell(sheet.axes(*at, *cell), shown, plain(title(sensor)))
    if moment.truth is not None:
        y += -(-len(report.sensors) // 2) * (cell[1] + SMALL_GAP_PX)
        _draw_cell(sheet.axes(x, y, width, height), space.colourise(moment.truth), "truth")


def _draw_cell(axes: Axes, picture: np.ndarray | None, name: str) -> None:
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(False)
    label = {"facecolor": "#07090a", "edgecolor": "none", "alpha": 0.7, "pad": 2.5}
    at = (0, 1), (6, -6), "axes fraction", "offset points"
    axes.annotate(name, *at, fontsize=8.5, color="white", bbox=label, va="top")
    if picture is not None:
        axes.imshow(picture, aspect="auto", interpolation="auto")
        return
    axes.set(facecolor="#1d1513")
    axes.patch.set(hatch="//", edgecolor="#4a2a22")
    axes.text(
        0.5, 0.5, "missing", color=COLOURS[figures.BAD], fontsize=15, ha="center", va="center",
        transform=axes.transAxes, bbox={"facecolor": "#1d1513", "edgecolor": "none", "pad": 4},
    )  # fmt: skip


def _draw_legend(sheet: _Sheet, legend: list[tuple[str, str]], y: float) -> None:
    step = (WIDTH_PX - 2 * MARGIN_PX) / CLASSES_A_ROW
    for place, (name, colour) in enumerate(legend):
        row, column = divmod(place, CLASSES_A_ROW)
        x, at = MARGIN_PX + column * step, y + (row + 0.6) * LEGEND_PX
        swatch = sheet.axes(x, at - 9, 18, 18)
        swatch.set(xticks=[], yticks=[], facecolor=colour)
        sheet.text(x + 27, at, plain(name), 18)


def _draw_line(sheet: _Sheet, report: ReportData, moments: list[Moment], y: float) -> None:
    """The time line, with a mark at each moment that is shown."""
    if not report.timeline:
        return
    x, width, presence_px = 120, WIDTH_PX - 120 - MARGIN_PX, 26 * len(report.sensors)
    lines = []
    if figures.scored(report.timeline):
        lines.append(sheet.axes(x, y, width, LINE_PX - presence_px - 72))
        figures.draw_scores(lines[0], report.timeline, COLOURS)
        lines[0].tick_params(labelbottom=False)
    lines.append(sheet.axes(x, y + LINE_PX - presence_px - 56, width, presence_px))
    if len(lines) > 1:
        lines[1].sharex(lines[0])
    figures.draw_presence(lines[-1], report.timeline, report.sensors, COLOURS)
    for moment in moments:
        for axes in lines:
            axes.axvline(moment.t_s, color=COLOURS[figures.INK], linewidth=0.8, linestyle=":")
