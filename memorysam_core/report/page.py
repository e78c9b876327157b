"""The report as one HTML file: no script, nothing from the network, all text escaped."""

from __future__ import annotations

import os
import tempfile
from importlib import resources
from pathlib import Path

from memorysam_core.report import figures, tables, views
from memorysam_core.report.data import ReportData
from memorysam_core.report.words import clock, date, milliseconds, percent, plain, title

FEWEST_RUNS = 10
"""The distribution of fewer durations is not drawn: their median and extremes say it all."""


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
    stage, strip = views.rows(report)
    return template.render(
        report=report,
        style=(folder / "style.css").read_text(encoding="utf-8"),
        stage=stage,
        strip=strip,
        legend=list(views.legend(report.moments, report)),
        sensors=list(tables.sensors(report)),
        groups=tables.groups(report),
        compared=tables.compared(report.groups),
        classes=list(tables.classes(report)),
        stages=list(tables.stages(report)),
        timeline=_timeline(report),
        histogram=_histogram(report),
    )


def _plain(value: object) -> object:
    # What the template calls safe is markup of ours.
    return plain(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _timeline(report: ReportData) -> dict[str, str]:
    if not report.timeline:
        return {}
    shown_s = [moment.t_s for moment in report.moments]
    return figures.timeline(report.timeline, report.sensors, shown_s)


def _histogram(report: ReportData) -> dict[str, str]:
    for name, runs in report.latencies_ms.items():
        return figures.latencies(runs, name) if len(runs) >= FEWEST_RUNS else {}
    return {}
