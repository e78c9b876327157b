"""What a replay leaves behind: a bag of labels, pictures, and what happened as JSON."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memorysam_core.report.words import percent
from memorysam_ros.bags.account import DIAGNOSTICS
from memorysam_ros.bags.filmstrip import Filmstrip
from memorysam_ros.bags.health import ReplayHealth
from memorysam_ros.bags.reader import Bag, RawMessage
from memorysam_ros.bags.replay import SECOND_NS, Moment, Replay
from memorysam_ros.bags.tally import Tally
from memorysam_ros.bags.topics import TRANSFORMS
from memorysam_ros.bags.truth import Comparison, Truth, at_size
from memorysam_ros.bags.writer import BagWriter
from memorysam_ros.pipeline import SENSORS
from memorysam_ros.result import TOPICS, Result

if TYPE_CHECKING:
    from memorysam_ros.bags.replay_report import ReplayReport
    from memorysam_ros.bags.video import Video

NODE = "/segment_node"
SETS = "sets.jsonl"
"""A line of JSON for each set."""
ORGANISED = "output/organized_points"
"""The one topic that is not written unless asked for: it is larger than all others together."""
WRITTEN = tuple(topic for topic in TOPICS if topic not in (ORGANISED, "output/camera_info"))
"""Those of the node's topics that are always written."""


class Results:
    """Takes the moments of a replay, writes them into a folder and sums them up."""

    def __init__(
        self,
        folder: Path,
        replay: Replay,
        truth: Truth | None,
        writer: BagWriter,
        facts: dict[str, str],
        report: ReplayReport | None = None,
        organised: bool = False,
        video: Video | None = None,
    ) -> None:
        """``facts`` are said of the model."""
        pipeline = replay.pipeline
        space = pipeline.segmenter.contract.label_space
        self._folder, self._replay, self._truth, self._writer = folder, replay, truth, writer
        self._facts, self._report, self._video = facts, report, video
        self._topics = (*WRITTEN, *([ORGANISED] if organised else []))
        if pipeline.parameters.output_size == "network":
            self._topics += ("output/camera_info",)
        start_ns = replay.bag.start_ns + round(replay.selection.start_s * SECOND_NS)
        length_s = min(replay.selection.duration_s, (replay.bag.end_ns - start_ns) / SECOND_NS)
        self._filmstrip = Filmstrip(space)
        self._comparison = Comparison(space)
        self._tally = Tally(pipeline.sensors)
        self._sets_file = folder / SETS
        self._length_s = length_s
        self._start_ns, self._end_ns = start_ns, start_ns + round(length_s * SECOND_NS)
        self._began = time.perf_counter()
        info = writer.messages.label_info(writer.messages.header(start_ns, ""), space)
        writer.write(f"{NODE}/output/label_info", info, start_ns, latched=True)
        self._copy_static_transforms(replay.bag)
        replay.transforms.on_moving = self._copy_transform
        # Sets that are left out on purpose would be told as trouble.
        whole = replay.selection.every == 1
        self._health = ReplayHealth(pipeline, self._start_ns, facts) if whole else None
        if self._health is not None:
            replay.on_message = self._health.arrived

    def add(self, moment: Moment) -> None:
        """Writes a moment down."""
        result, truth = moment.result, None
        self._tell_health(moment)
        line: dict[str, Any] = {
            "time_s": round(moment.time_s, 6),
            "stamp_ns": moment.matched.stamp_ns,
            "leader": moment.matched.leader,
            "missing": dict(moment.matched.missing),
        }
        if result is None:
            self._tally.add_unusable(moment.why)
            self._note({**line, "sensors": [], "unusable": moment.why})
            return
        for topic in self._topics:
            message = TOPICS[topic][1](
                result, self._writer.messages, self._replay.pipeline.parameters.overlay_opacity
            )
            if message is not None:
                self._writer.write(f"{NODE}/{topic}", message, moment.time_ns)
        line |= _told(result)
        if self._truth is not None:
            truth = self._truth.at(moment.matched.stamp_ns)
        labels = result.segmentation.labels
        if truth is not None:
            labels = at_size(labels, truth.ids.shape)
            scores = self._comparison.add(
                labels, truth.ids, truth.condition, tuple(line["sensors"])
            )
            line |= {"miou": scores.miou_present, "condition": truth.condition}
        ids, condition = (truth.ids, truth.condition) if truth else (None, "")
        self._filmstrip.add(moment.time_s, result, ids, condition)
        if self._report is not None:
            self._report.add(moment.time_s, result, labels, ids, condition)
        if self._video is not None:
            self._video.add(moment.time_s, result, ids, _caption(line))
        self._tally.add(line["sensors"], line["missing"], line["troubles"], line["ms"])
        self._note(line)

    def finish(self) -> dict[str, Any]:
        """Writes filmstrip, summary and report; returns the summary."""
        replay, tally = self._replay, self._tally
        replay.transforms.advance(self._end_ns)
        seconds = time.perf_counter() - self._began
        # Against the bag's own sets, also where only every so many of them is labelled.
        due_s = self._length_s * tally.labelled / replay.sets if replay.sets else 0.0
        self._filmstrip.save(self._folder / "filmstrip.png")
        summary = {
            "bag": str(replay.bag.path),
            "bag_seconds": self._length_s,
            "warnings": replay.warnings,
            "model": self._facts,
            "inputs": dict(replay.inputs),
            "sensors": tally.attendance(replay.inputs),
            "sets": replay.sets,
            "every": replay.selection.every,
            "labelled": tally.labelled,
            "unusable": tally.unusable.most(),
            "counts": dict(sorted(replay.pipeline.matcher.counts.items())),
            "broken_messages": dict(replay.broken),
            "first_errors": dict(replay.first_errors),
            "lost_event_packets": replay.pipeline.lost_packets,
            "seconds": seconds,
            "sets_per_second": tally.labelled / seconds,
            "real_time_factor": due_s / seconds,
            "milliseconds": tally.milliseconds(),
            "truth": self._told_truth(),
            "metrics": self._comparison.to_dict(),
        }
        if self._report is not None:
            self._report.write(self._folder / "report.html", summary)
        text = json.dumps(summary, indent=1)
        (self._folder / "replay.json").write_text(text + "\n", encoding="utf-8")
        return summary

    def _tell_health(self, moment: Moment) -> None:
        if self._health is not None:
            for time_ns, message in self._health.messages(moment.time_ns, self._writer.messages):
                self._writer.write(DIAGNOSTICS, message, time_ns)
            self._health.labelled(moment)

    def _note(self, line: dict[str, Any]) -> None:
        with self._sets_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def _told_truth(self) -> dict[str, Any]:
        """How many sets had ground truth, and why none had; empty where none was given."""
        if self._truth is None:
            return {}
        truth = self._truth
        return {"topic": truth.topic, "sets": truth.found, "why_none": truth.why_none()}

    def _copy_static_transforms(self, bag: Bag) -> None:
        """So that viewers can place points and images."""
        static = {n for n, t in bag.topics.items() if t.msgtype == TRANSFORMS and "static" in n}
        for raw in bag.messages(static) if static else ():
            self._writer.write_raw(raw.topic, raw.msgtype, raw.data, self._start_ns, latched=True)

    def _copy_transform(self, raw: RawMessage) -> None:
        if self._start_ns <= raw.time_ns <= self._end_ns:
            self._writer.write_raw(raw.topic, raw.msgtype, raw.data, raw.time_ns)


def _caption(line: dict[str, Any]) -> str:
    parts = [f"{line['time_s']:.1f} s", line.get("condition", "")]
    if line.get("miou") is not None:
        parts.append(f"mIoU {percent(line['miou'])} %")
    return "   ".join(part for part in parts if part)


def text(summary: dict[str, Any]) -> str:
    """A summary in a few lines, for the terminal."""
    every = f" (--every {summary['every']})" if summary["every"] > 1 else ""
    lines = [
        f"{summary['labelled']} of {summary['sets']} sets labelled{every} in "
        f"{summary['seconds']:.1f} s: {summary['sets_per_second']:.3g} sets a second, "
        f"{summary['real_time_factor']:.2g} x real time"
    ]
    for name, sensor in summary["sensors"].items():
        if not sensor["topic"]:
            lines.append(f"  {name:6} no topic in the bag")
            continue
        share = f"in {sensor['sets']} of {summary['labelled']} sets"
        lines.append(f"  {name:6} {sensor['topic']}: {share}")
        lines += [f"         {count} x {why}" for why, count in sensor["why_not"].items()]
    lines += [f"  {count} sets without labels: {why}" for why, count in summary["unusable"].items()]
    # What is missing is told by sensor above.
    told = {k: n for k, n in summary["counts"].items() if not k.endswith(": missing")}
    lines += [f"  {what}: {count}" for what, count in told.items()]
    for topic, count in summary["broken_messages"].items():
        first = summary["first_errors"][topic]
        lines.append(f"  {count} messages of {topic} cannot be used; the first: {first}")
    stages = ", ".join(
        f"{stage} {ms['p50']:.1f} ({ms['p95']:.1f})"
        for stage, ms in summary["milliseconds"].items()
    )
    if stages:
        lines.append(f"  milliseconds, p50 (p95): {stages}")
    metrics, truth = summary["metrics"], summary["truth"]
    if truth and truth["sets"] < summary["labelled"]:
        why = f": {truth['why_none']}" if truth["why_none"] else ""
        lines.append(f"  {truth['sets']} of {summary['labelled']} sets have ground truth{why}")
    if metrics:
        lines.append(
            f"  mIoU {metrics['miou_present']:.4f} over the {metrics['classes_present']} classes "
            f"present, {metrics['miou']:.4f} over all; {metrics['pixels']} pixels"
        )
        for kind in ("by_condition", "by_sensors"):
            if len(metrics[kind]) > 1:
                lines += [f"    {k}: {v['miou_present']:.4f}" for k, v in metrics[kind].items()]
    return "\n".join(lines)


def _told(result: Result) -> dict[str, Any]:
    return {
        "sensors": [sensor for sensor in SENSORS if sensor in result.frames],
        "held": sorted(result.matched.held),
        "troubles": dict(result.troubles),
        "ms": {stage: ns / 1e6 for stage, ns in result.times_ns.items()},
        "confidence": float(result.segmentation.confidence.mean()) / 255,
    }
