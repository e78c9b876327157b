"""Rows for the tables of docs/performance.md, from a benchmark's JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "performance.md"
TIMES = "<!-- times: memorysam bench --submit puts rows above this line -->"
RATIOS = "<!-- ratios: memorysam bench --submit puts rows above this line -->"
AREAS = ("core", "sizes", "engines", "engine_sizes")
OF_ENGINES, OF_CORE = ": one set, host to host, p50", "one set, p50"
OF_A_SET = "of the time of a set; "


def submit(report: Path, page: Path = PAGE) -> list[str]:
    """Puts the times and ratios of a report into the page, where there is one; returns its rows.

    Raises ValueError for a file that is no complete report, or has nothing to submit.
    """
    content = _read(report)
    rows = [row for row in content["rows"] if row["area"] in AREAS]
    told = (content["machine"]["device_name"], content["date"][:10], content["commit"] or "unknown")
    times = [_line(*told, content["versions"]["torch"], *cells) for cells in _times(rows)]
    ratios = [_line(*told, *cells) for cells in _ratios(rows)]
    if not times + ratios:
        raise ValueError(
            f"{report} has no times of the model; make it with the areas: memorysam bench "
            "--only core --only sizes --only engines"
        )
    if page.is_file():
        text = page.read_text(encoding="utf-8")
        for mark, lines in ((TIMES, times), (RATIOS, ratios)):
            text = _above(mark, lines, text, page)
        page.write_text(text, encoding="utf-8")
    return times + ratios


def _read(report: Path) -> dict:
    try:
        content = json.loads(report.read_text(encoding="utf-8"))
        known = content["machine"]["device_name"], content["versions"]["torch"]
        assert all(known) and content["date"] and isinstance(content["rows"], list)
    except (AssertionError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{report} is no report of memorysam bench ({error!r}); make one: "
            f"memorysam bench --out {report.name}"
        ) from error
    if content["quick"]:
        raise ValueError(f"{report} was made with --quick, whose figures say nothing; leave it out")
    return content


def _times(rows: list[dict]) -> Iterator[tuple[str, ...]]:
    """What, engine, p50, spread, and the shares of the stages where they were measured."""
    stages: dict[str, list[str]] = {}
    whole = {_what(row): row["value"] for row in rows if row["name"] == OF_CORE}
    for row in rows:
        if row["name"].startswith("  ") and row["unit"] == "ms":
            stage = row["name"].strip().removesuffix(", p50")
            share = f"{stage} {row['value'] / whole[_what(row)]:.0%}"
            stages.setdefault(_what(row), []).append(share)
        elif row["detail"].startswith(OF_A_SET):
            engine, _, stage = row["name"].partition(": ")
            share = f"{stage} {row['value']:.0f}%"
            stages.setdefault(f"{engine}: {_what(row)}", []).append(share)
    for row in rows:
        engine, is_set, _ = row["name"].partition(OF_ENGINES)
        if is_set or row["name"] == OF_CORE:
            told = engine if is_set else "eager, model alone"
            shares = ", ".join(stages.get(f"{engine}: " * bool(is_set) + _what(row), []))
            spread = row["detail"].partition("; ")[0]
            yield _what(row), told, f"{row['value']:.1f}", spread, shares


def _ratios(rows: list[dict]) -> Iterator[tuple[str, ...]]:
    for row in rows:
        if row["unit"] == "x":
            what, _, spread = row["detail"].partition("; ")
            yield row["name"], what, f"{row['value']:.2f}", spread


def _what(row: dict) -> str:
    return row["detail"].partition("; ")[2]


def _line(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _above(mark: str, lines: list[str], text: str, page: Path) -> str:
    head, found, tail = text.partition(mark)
    if not found:
        raise ValueError(f"{page} has lost the line {mark!r}, above which rows belong")
    return head + "".join(line + "\n" for line in lines if line not in text) + mark + tail
