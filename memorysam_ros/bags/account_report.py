"""An account of a live node as a report and as plain values; see :mod:`memorysam_core.report`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from memorysam_core.report import Entry, ReportData, Run, Tile
from memorysam_core.report.words import milliseconds, percent
from memorysam_ros.bags.account import END_TO_END, Account

_TICKS = (
    "Latency is from the camera's stamp to the arrival of the labels, on the clock of the bag, "
    "which `ros2 bag play --clock 100` tells in ticks of 10 ms."
)
_NO_CLOCK = (
    "How long the labels took is not known: nothing was heard on /clock. Play the bag with "
    "--clock, and set use_sim_time of this command."
)
_STOOD_IN = (
    "While the camera was silent another sensor led: {count} more label images, for moments of "
    "which there is no image."
)
_SLOWER = (
    "The bag was played at {rate:g} x real time. Latency is of the real clock, and waiting for "
    "sensors that come later than the camera is stretched with the bag."
)


def report_of(
    account: Account,
    title: str,
    run: Run,
    rate: float,
    diagnostics: Sequence[Entry],
    sensor_facts: Mapping[str, str],
    warnings: Sequence[str],
) -> ReportData:
    """The report of all that was heard while the bag was played at a rate."""
    report = account.collector.report(title, run)
    tiles = []
    if report.groups:
        scores = report.groups[0].matrix.scores()
        detail = f"over the {scores.to_dict()['classes_present']} classes that occur"
        tiles.append(Tile("mIoU", f"{percent(scores.miou_present)} %", detail))
    runs = report.latencies_ms.get(END_TO_END)
    if runs is not None:
        p50, p95 = np.percentile(runs, (50, 95))
        tiles.append(Tile("latency, median", milliseconds(p50), f"95 % within {milliseconds(p95)}"))
    lost = account.sets_in - account.sets_out
    told = f"{lost} passed over for newer ones" if lost else "none was lost"
    tiles.append(Tile("sets in / out", f"{account.sets_in} / {account.sets_out}", told))
    notes = list(warnings)
    if account.stood_in:
        notes.append(_STOOD_IN.format(count=account.stood_in))
    if runs is None and account.sets_out:
        notes.append(_NO_CLOCK)
    if runs is not None:
        notes += [_TICKS, *([_SLOWER.format(rate=rate)] if rate != 1 else [])]
    summary = f"The live node labelled {account.sets_out} of {account.sets_in} images of a bag."
    return account.collector.report(
        title,
        run,
        summary=summary,
        tiles=tuple(tiles),
        why_unscored=account.why_unscored,
        diagnostics=tuple(diagnostics),
        sensor_facts=sensor_facts,
        notes=tuple(notes),
    )


def values_of(account: Account, report: ReportData) -> dict[str, Any]:
    """The figures as plain values, the metrics by kind and name of the group of sets."""
    metrics: dict[str, dict[str, Any]] = {}
    for group in report.groups:
        scores = {"sets": group.sets, **group.matrix.scores().to_dict()}
        metrics.setdefault(group.kind, {})[group.name] = scores
    latencies = {
        name: dict(zip(("p50", "p95", "max"), np.percentile(runs, (50, 95, 100)), strict=True))
        for name, runs in report.latencies_ms.items()
    }
    return {
        "sets_in": account.sets_in,
        "sets_out": account.sets_out,
        "metrics": metrics,
        "milliseconds": latencies,
    }


def text(values: dict[str, Any]) -> str:
    """The same in a few lines, for the terminal."""
    lines = [f"{values['sets_out']} of {values['sets_in']} images labelled"]
    for groups in values["metrics"].values():
        lines += [
            f"  mIoU {scores['miou_present']:.4f}  {name}, {scores['sets']} sets"
            for name, scores in groups.items()
        ]
    lines += [
        f"  {name}: {ms['p50']:.0f} ms, 95 % within {ms['p95']:.0f} ms"
        for name, ms in values["milliseconds"].items()
    ]
    if values["sets_out"] and not values["milliseconds"]:
        lines.append(_NO_CLOCK)
    return "\n".join(lines)
