"""One line for the table of measurements in docs/performance.md, from a benchmark's JSON."""

from __future__ import annotations

import json
from pathlib import Path

TABLE = Path(__file__).resolve().parents[2] / "docs" / "performance.md"
MARK = "<!-- measurements: memorysam bench --submit puts a row above this line -->"
SET = ": one set, host to host, p50"


def submit(report: Path, table: Path = TABLE) -> list[str]:
    """Puts the rows of a report into the table, where there is one; returns them.

    Raises ValueError for a file that is no complete report, or has nothing to submit.
    """
    rows = _rows(report)
    if table.is_file():
        text = table.read_text(encoding="utf-8")
        new = [row for row in rows if row not in text]
        head, mark, tail = text.partition(MARK)
        if not mark:
            raise ValueError(f"{table} has lost the line {MARK!r}, above which rows belong")
        table.write_text(head + "".join(row + "\n" for row in new) + mark + tail, encoding="utf-8")
    return rows


def _rows(report: Path) -> list[str]:
    try:
        content = json.loads(report.read_text(encoding="utf-8"))
        machine, rows = content["machine"], content["rows"]
        told = (machine["device_name"], content["date"][:10], content["commit"] or "unknown")
        torch_version = content["versions"]["torch"]
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{report} is no report of memorysam bench ({error!r}); make one: "
            f"memorysam bench --out {report.name}"
        ) from error
    if content["quick"]:
        raise ValueError(f"{report} was made with --quick, whose figures say nothing; leave it out")
    found = []
    for row in rows:
        engine, is_set, _ = row["name"].partition(SET)
        if is_set:
            spread, _, what = row["detail"].partition("; ")
            cells = (*told, torch_version, what, engine, f"{row['value']:.1f}", spread)
            found.append("| " + " | ".join(cells) + " |")
    if not found:
        raise ValueError(
            f"{report} has no times of engines; make it with the area: memorysam bench --only "
            "engines"
        )
    return found
