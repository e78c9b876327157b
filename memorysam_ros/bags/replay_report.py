"""The replay as one HTML file; see :mod:`memorysam_core.report`, which needs matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from memorysam_core.report import Collector, Entry, Run, Tile, write_report
from memorysam_ros.bags.replay import Replay
from memorysam_ros.pipeline import SENSORS
from memorysam_ros.result import Result

_WHOLE = "all stages"


class ReplayReport:
    """Told of each labelled moment, it writes ``report.html`` at the end."""

    def __init__(self, replay: Replay, command: str) -> None:
        pipeline = replay.pipeline
        self._replay, self._command = replay, command
        known = [sensor for sensor in SENSORS if sensor in pipeline.sensors]
        self._collector = Collector(pipeline.segmenter.contract.label_space, known)

    def add(
        self,
        time_s: float,
        result: Result,
        labels: np.ndarray,
        truth: np.ndarray | None,
        condition: str,
    ) -> None:
        """A moment was labelled; labels and truth are ids of one shape ``(H, W)``."""
        stages = {stage: ns / 1e6 for stage, ns in result.times_ns.items()}
        self._collector.add(
            time_s,
            tuple(result.frames),
            result.frames,
            labels,
            truth,
            condition,
            {_WHOLE: sum(stages.values()), **stages},
        )

    def write(self, path: Path, summary: dict[str, Any]) -> None:
        """Writes the file; ``summary`` is that of :class:`memorysam_ros.bags.results.Results`."""
        parameters = self._replay.pipeline.parameters
        run = Run.here(
            self._command,
            f"{summary['bag']}, {summary['bag_seconds']:.1f} s",
            parameters.checkpoint,
            str(self._replay.pipeline.segmenter.device),
        )
        report = self._collector.report(
            f"Replay of {Path(summary['bag']).name}",
            run,
            summary=(
                f"{summary['labelled']} of {summary['sets']} sets of a drive of "
                f"{summary['bag_seconds']:.1f} s were labelled in {summary['seconds']:.1f} s."
            ),
            tiles=_tiles(summary),
            why_absent={
                name: "the bag has no topic of it"
                for name, sensor in summary["sensors"].items()
                if not sensor["topic"]
            },
            why_unscored=summary["truth"].get("why_none", ""),
            diagnostics=_diagnostics(summary),
            notes=tuple(summary["warnings"]),
        )
        write_report(report, path)


def _tiles(summary: dict[str, Any]) -> tuple[Tile, ...]:
    metrics = summary["metrics"]
    tiles = [Tile("sets labelled", str(summary["labelled"]), f"of {summary['sets']}")]
    if metrics:
        detail = f"over the {metrics['classes_present']} classes that occur"
        tiles.insert(0, Tile("mIoU", f"{metrics['miou_present']:.1%}", detail))
    tiles.append(Tile("speed", f"{summary['real_time_factor']:.2g} x", "times real time"))
    return tuple(tiles)


def _diagnostics(summary: dict[str, Any]) -> tuple[Entry, ...]:
    entries = []
    for name, sensor in summary["sensors"].items():
        missed = {why: str(count) for why, count in sensor["why_not"].items()}
        if not sensor["topic"]:
            entries.append(Entry(name, "warn", "no topic in the bag"))
        elif sensor["sets"] < summary["labelled"]:
            share = f"in {sensor['sets']} of {summary['labelled']} sets"
            entries.append(Entry(name, "warn", share, missed))
        else:
            entries.append(Entry(name, "ok", f"{sensor['topic']}, in every set"))
    for why, count in summary["unusable"].items():
        entries.append(Entry("sets", "error", f"{count} could not be labelled: {why}"))
    for topic, count in summary["broken_messages"].items():
        first = summary["first_errors"][topic]
        entries.append(
            Entry(topic, "error", f"{count} messages cannot be used; the first: {first}")
        )
    return tuple(entries)
