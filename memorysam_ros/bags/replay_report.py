"""The replay as one HTML file; see :mod:`memorysam_core.report`, which needs matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from memorysam_core.frames.readings import ImageReading
from memorysam_core.report import Collector, Entry, Run, Tile, write_report
from memorysam_core.report.words import percent
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
        frames: dict[str, Any] = dict(result.frames)
        image = result.readings.get("image")
        if isinstance(image, ImageReading):  # finer than what the model saw of it
            frames["image"] = image.pixels
        self._collector.add(
            time_s,
            tuple(result.frames),
            frames,
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
        sensors = summary["sensors"]
        report = self._collector.report(
            f"Replay of {Path(summary['bag']).name}",
            run,
            summary=_lead(summary),
            tiles=_tiles(summary),
            why_absent={name: _why_absent(sensor) for name, sensor in sensors.items()},
            sensor_facts={name: sensor["topic"] or "" for name, sensor in sensors.items()},
            why_unscored=summary["truth"].get("why_none", ""),
            diagnostics=_diagnostics(summary),
            notes=tuple(summary["warnings"]),
        )
        write_report(report, path)


def _lead(summary: dict[str, Any]) -> str:
    of = f"{summary['labelled']} of the {summary['sets']} sets"
    if summary["every"] > 1:
        of += f" (--every {summary['every']})"
    seconds = summary["bag_seconds"]
    return f"{of} of a recording of {seconds:.1f} s, labelled as the live node would."


def _tiles(summary: dict[str, Any]) -> tuple[Tile, ...]:
    metrics = summary["metrics"]
    tiles = []
    if metrics:
        detail = f"over the {metrics['classes_present']} classes that occur"
        tiles.append(Tile("mIoU", f"{percent(metrics['miou_present'])} %", detail))
        tiles.append(Tile("pixels right", f"{percent(metrics['accuracy'])} %"))
    tiles.append(Tile("sets labelled", str(summary["labelled"]), f"of {summary['sets']}"))
    speed = f"{summary['sets_per_second']:.3g} sets a second"
    tiles.append(Tile("real time", f"{summary['real_time_factor']:.2g} x", speed))
    return tuple(tiles)


def _why_absent(sensor: dict[str, Any]) -> str:
    if not sensor["topic"]:
        return "the bag has no topic of it"
    reasons = sensor["why_not"].items()
    return ", ".join(f"{count} x {why}" if len(reasons) > 1 else why for why, count in reasons)


def _diagnostics(summary: dict[str, Any]) -> tuple[Entry, ...]:
    entries = [
        Entry("sets", "error", f"{count} could not be labelled: {why}")
        for why, count in summary["unusable"].items()
    ]
    for topic, count in summary["broken_messages"].items():
        first = summary["first_errors"][topic]
        entries.append(
            Entry(topic, "error", f"{count} messages cannot be used; the first: {first}")
        )
    return tuple(entries)
