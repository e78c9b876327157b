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

from memorysam_core.report import figures, pictures
from memorysam_core.report.data import Moment, ReportData
from memorysam_core.report.words import clock, percent, plain, title

if TYPE_CHECKING:  # an optional package
    from matplotlib.axes import Axes

COLUMNS = 4
WIDTH_IN, DPI = 12.8, 125
COLOURS = {
    figures.INK: "#e8ebee",
    figures.MUTED: "#98a2ac",
    figures.GRID: "#2b3238",
    figures.ACCENT: "#45c4ba",
    figures.BAD: "#ff8061",
    figures.GOOD: "#4fbf83",
    figures.BAND: "#1e2429",
}
GROUND = "#0f1214"


def write_poster(report: ReportData, path: str | os.PathLike) -> Path:
    """Writes a PNG of about 1600 pixels across, whole or not at all. Returns its path.

    Raises ValueError for a report without moments.
    """
    if not report.moments:
        raise ValueError("no set was labelled, so there is nothing to show in a picture")
    buffer = io.BytesIO()
    _drawn(report).quantize(256, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
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


def _drawn(report: ReportData) -> Image.Image:
    import matplotlib
    from matplotlib.figure import Figure

    moments = list(_chosen(report))
    rows = list(_rows(report, moments[0]))
    aspect = moments[0].labels.shape[0] / moments[0].labels.shape[1]
    row_in = (WIDTH_IN - 1.2) / COLUMNS * aspect
    line_in = 2.6
    height = len(rows) * (row_in + 0.05) + line_in + 0.6
    with matplotlib.rc_context({**_style(), "savefig.facecolor": GROUND}):
        figure = Figure(figsize=(WIDTH_IN, height))
        ratios = [len(rows) * (row_in + 0.05), line_in - 0.55]
        grid = figure.add_gridspec(
            2, 1, height_ratios=ratios, left=0.075, right=0.992, hspace=0.55 / (height / 2),
            top=1 - 0.4 / height, bottom=0.5 / height,
        )  # fmt: skip
        cells = grid[0].subgridspec(len(rows), COLUMNS, wspace=0.025, hspace=0.04)
        for column, moment in enumerate(moments):
            for row, name in enumerate(rows):
                axes = figure.add_subplot(cells[row, column])
                _draw_cell(axes, moment, name, report)
                if row == 0:
                    axes.set_title(_heading(moment), fontsize=11, color=COLOURS[figures.INK])
                if column == 0:
                    axes.set_ylabel(plain(title(name)), fontsize=11, color=COLOURS[figures.INK])
        _draw_line(figure, grid[1], report, moments)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=DPI)
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


def _rows(report: ReportData, moment: Moment) -> Iterator[str]:
    yield from report.sensors
    yield "labels"
    if moment.truth is not None:
        yield "truth"


def _heading(moment: Moment) -> str:
    parts = [clock(moment.t_s), plain(moment.condition)]
    if moment.miou is not None:
        parts.append(f"mIoU {percent(moment.miou)}")
    return "   ".join(part for part in parts if part)


def _draw_cell(axes: Axes, moment: Moment, name: str, report: ReportData) -> None:
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(False)
    picture = _picture(moment, name, report)
    if picture is not None:
        axes.imshow(picture, aspect="auto", interpolation="nearest")
        return
    height, width = moment.labels.shape
    bad = COLOURS[figures.BAD]
    axes.set(xlim=(0, width), ylim=(0, height), facecolor="#1d1513")
    axes.patch.set(hatch="//", edgecolor="#4a2a22")
    axes.text(
        width / 2, height / 2, "missing", color=bad, fontsize=15, ha="center", va="center",
        bbox={"facecolor": "#1d1513", "edgecolor": "none", "pad": 4},
    )  # fmt: skip


def _picture(moment: Moment, name: str, report: ReportData) -> np.ndarray | None:
    if name == "labels":
        return report.label_space.colourise(moment.labels)
    if name == "truth":
        return None if moment.truth is None else report.label_space.colourise(moment.truth)
    frame = moment.frames.get(name)
    return None if frame is None else pictures.shown(name, frame)


def _draw_line(figure: Any, place: Any, report: ReportData, moments: list[Moment]) -> None:
    """The time line, with a mark at each moment that is shown."""
    lines = []
    if figures.scored(report.timeline):
        ratios = [1.5, 0.24 * len(report.sensors)]
        above, place = place.subgridspec(2, 1, height_ratios=ratios, hspace=0.12)
        lines.append(figure.add_subplot(above))
        figures.draw_scores(lines[0], report.timeline, COLOURS)
        lines[0].tick_params(labelbottom=False)
    lines.append(figure.add_subplot(place, sharex=lines[0] if lines else None))
    figures.draw_presence(lines[-1], report.timeline, report.sensors, COLOURS)
    for moment in moments:
        for axes in lines:
            axes.axvline(moment.t_s, color=COLOURS[figures.INK], linewidth=0.8, linestyle=":")
