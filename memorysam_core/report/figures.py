"""The report's charts: matplotlib draws them, the page's style sheet colours them.

Colours are placeholders that become CSS variables, so that one drawing serves light and dark; each
chart is drawn twice, for a wide page and for a phone.
"""

from __future__ import annotations

import functools
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from memorysam_core.report.data import Sample
from memorysam_core.report.words import plain, title

if TYPE_CHECKING:  # an optional package, asked for when something is drawn
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, GRID, ACCENT, BAD, GOOD, BAND = (f"#0a0a0{i}" for i in range(1, 8))
_VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--line",
    ACCENT: "--accent",
    BAD: "--bad",
    GOOD: "--good",
    BAND: "--band",
}
PLACEHOLDERS = {colour: colour for colour in _VARIABLES}
WIDE_IN, NARROW_IN = 10.5, 4.2
"""Widths of the two drawings, inches."""
POINTS = 400
"""A longer time line is averaged to so many points."""

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # names may hold dollar signs
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": GRID,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "figure.facecolor": "none",
}


def timeline(
    samples: Sequence[Sample], sensors: Sequence[str], marked_s: Sequence[float] = ()
) -> dict[str, str]:
    """Mean IoU over time above, and which sensors were there below; SVG by width.

    ``marked_s`` are the moments that are shown elsewhere.
    """
    with_scores = scored(samples)
    height = (1.9 if with_scores else 0.3) + 0.26 * len(sensors) + 0.5

    def draw(figure: Figure) -> None:
        ratios = [1.9, 0.26 * len(sensors) + 0.1] if with_scores else [1]
        parts = figure.subplots(len(ratios), 1, sharex=True, height_ratios=ratios, squeeze=False)
        *scores, presence = parts[:, 0]
        for axes in scores:
            draw_scores(axes, samples)
        draw_presence(presence, samples, sensors)
        above = scores[0] if scores else presence
        above.plot(
            marked_s, np.full(len(marked_s), 0.02), "^", color=INK, markersize=5, clip_on=False,
            transform=above.get_xaxis_transform(),
        )  # fmt: skip

    return {name: _svg(draw, width, height) for name, width in _widths()}


def latencies(runs_ms: np.ndarray, name: str) -> dict[str, str]:
    """A histogram with its median and 95th percentile; SVG by width."""
    p50, p95 = np.percentile(runs_ms, (50, 95))
    shown = runs_ms[runs_ms <= max(np.percentile(runs_ms, 99.5), 1.5 * p95)]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.hist(shown, bins=min(40, max(5, len(shown) // 2)), color=ACCENT, alpha=0.75)
        for value, text, side in ((p50, "median", "right"), (p95, "95 %", "left")):
            axes.axvline(value, color=INK, linewidth=1, linestyle=(0, (4, 3)))
            axes.annotate(
                f" {text} {value:.0f} ms ",
                (value, 1.02),
                xycoords=("data", "axes fraction"),
                ha="center" if p95 - p50 > 0.2 * np.ptp(shown) else side,
            )
        axes.set(xlabel=f"{plain(name)} (ms)", ylabel="sets")
        axes.locator_params(axis="y", integer=True, nbins=4)

    return {name: _svg(draw, width, 2.3) for name, width in _widths()}


def scored(samples: Sequence[Sample]) -> bool:
    """Whether there are scores to draw."""
    return any(sample.miou is not None for sample in samples)


def _widths() -> tuple[tuple[str, float], ...]:
    return ("wide", WIDE_IN), ("narrow", NARROW_IN)


def draw_scores(
    axes: Axes, samples: Sequence[Sample], colours: Mapping[str, str] = PLACEHOLDERS
) -> None:
    """Mean IoU over time, and the conditions above it."""
    t, miou = _averaged(samples)
    spans = list(_spans(samples, lambda sample: sample.condition))
    for k, (start, end, condition) in enumerate(spans if len(spans) <= POINTS else ()):
        if condition and k % 2:
            axes.axvspan(start, end, color=colours[BAND], linewidth=0)
        if condition:
            axes.annotate(
                plain(str(condition)),
                ((start + end) / 2, 1.03),
                xycoords=("data", "axes fraction"),
                ha="center",
                color=colours[MUTED],
                annotation_clip=False,
            )
    axes.plot(t, 100 * miou, color=colours[ACCENT], linewidth=1.8, marker="o", markersize=2.5)
    axes.set(ylabel="mIoU (%)", ylim=(0, 100), yticks=(0, 25, 50, 75, 100))
    axes.grid(axis="y", color=colours[GRID], linewidth=0.7)
    axes.tick_params(bottom=False)


def draw_presence(
    axes: Axes,
    samples: Sequence[Sample],
    sensors: Sequence[str],
    colours: Mapping[str, str] = PLACEHOLDERS,
) -> None:
    """When which sensor was there; hatched where it was not.

    Where it came and went too often to draw, the share of the sets that it was in, from below.
    """
    for row, sensor in enumerate(sensors):
        is_there = functools.partial(_shows, sensor)
        spans = list(_spans(samples, is_there))
        if len(spans) > POINTS:
            _draw_shares(axes, samples, sensor, row + 0.3, colours)
            continue
        for start, end, there in spans:
            axes.broken_barh(
                [(start, end - start)],
                (row - 0.3, 0.6),
                facecolor=colours[GOOD] if there else "none",
                edgecolor="none" if there else colours[BAD],
                alpha=0.85,
                hatch=None if there else "////",
                linewidth=0 if there else 0.8,
            )
    axes.set(xlabel="time since the start (s)", ylim=(len(sensors) - 0.5, -0.6))
    axes.set_yticks(range(len(sensors)), [plain(title(name)) for name in sensors])
    axes.tick_params(left=False)
    axes.spines["left"].set_visible(False)
    axes.margins(x=0.01)


def _draw_shares(
    axes: Axes, samples: Sequence[Sample], sensor: str, below: float, colours: Mapping[str, str]
) -> None:
    """How often a sensor was there, in a band that begins at ``below``."""
    chunks = [c for c in np.array_split(np.arange(len(samples)), POINTS) if len(c)]
    t = np.array([samples[c[0]].t_s for c in chunks] + [samples[-1].t_s])
    share = np.array([np.mean([_shows(sensor, samples[i]) for i in c]) for c in chunks])
    share = np.append(share, share[-1])
    reach = below - 0.6 * share
    axes.fill_between(
        t, below, reach, step="post", facecolor=colours[GOOD], alpha=0.85, linewidth=0
    )
    axes.fill_between(
        t, reach, below - 0.6, step="post", where=share < 1, facecolor="none",
        edgecolor=colours[BAD], alpha=0.85, hatch="////", linewidth=0.8,
    )  # fmt: skip


def _shows(sensor: str, sample: Sample) -> bool:
    return sensor in sample.present


def _spans(
    samples: Sequence[Sample], key: Callable[[Sample], object]
) -> Iterator[tuple[float, float, object]]:
    """Stretches of one value of ``key``; each set holds for half the way to its neighbours."""
    times = np.array([sample.t_s for sample in samples])
    between = (times[1:] + times[:-1]) / 2
    half = np.median(np.diff(times)) / 2 if len(times) > 1 else 0.5
    # Nothing was before the start, however sparse the sets are.
    begin_s = max(times[0] - half, min(0.0, times[0]))
    edges = np.concatenate([[begin_s], between, [times[-1] + half]])
    begin = 0
    for i in range(1, len(samples) + 1):
        if i == len(samples) or key(samples[i]) != key(samples[begin]):
            yield float(edges[begin]), float(edges[i]), key(samples[begin])
            begin = i


def _averaged(samples: Sequence[Sample]) -> tuple[np.ndarray, np.ndarray]:
    """Times and scores, those of neighbours averaged where there are too many to draw."""
    known = [(s.t_s, s.miou) for s in samples if s.miou is not None]
    chunks = np.array_split(np.array(known), min(POINTS, len(known)))
    return tuple(np.array([chunk.mean(axis=0) for chunk in chunks]).T)  # type: ignore[return-value]


def _svg(draw: Callable[[Figure], None], width: float, height: float) -> str:
    """The drawing as an SVG element to be put into a page."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({**STYLE, "svg.hashsalt": f"{draw.__qualname__} {width}"}):
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    text = buffer.getvalue()
    return _for_page(text[text.index("<svg") :], _VARIABLES)


def _for_page(svg: str, variables: Mapping[str, str]) -> str:
    """Without what a page has once only (identifiers, metadata), in the page's font and colours."""
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' id="(?:figure|axes|patch|line2d|text|matplotlib|xtick|ytick)[^"]*"', "", svg)
    svg = re.sub(r' id="[A-Za-z]*Collection_\d+"', "", svg)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r'\1 role="img"', svg, count=1)
    svg = svg.replace("'DejaVu Sans'", "var(--font)")
    for colour, variable in variables.items():
        svg = svg.replace(colour, f"var({variable})")
    return svg
