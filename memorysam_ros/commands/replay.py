"""Label a recorded drive (rosbag2), without ROS.

Finds the sensors' topics in the bag, matches them in time and draws them as the live node does, and
writes into one folder: a bag with labels, confidence, colours, overlay and labelled points (for
RViz or Foxglove), report.html, a filmstrip and replay.json. With --labels, the labels are compared
with the ground truth.

    memorysam replay model.safetensors drive.mcap
    memorysam replay model.safetensors drive/ --topic image:=/front/image_raw --drop lidar@8-12
"""

from __future__ import annotations

import argparse
import shlex
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from memorysam_ros.bags.reader import Bag
    from memorysam_ros.bags.replay import Replay
    from memorysam_ros.bags.replay_report import ReplayReport
    from memorysam_ros.parameters import Parameters


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("checkpoint", help="the model")
    parser.add_argument("bag", help="folder or file of a rosbag2, sqlite3 or mcap")
    parser.add_argument(
        "-o", "--output", metavar="DIR", help="folder to write (default: BAG_labels, here)"
    )
    parser.add_argument(
        "--topic",
        action="append",
        default=[],
        metavar="INPUT:=TOPIC",
        help="where an input is: image, camera_info, depth, depth_camera_info, events or points; "
        "nothing after := turns it off (default: by type and name)",
    )
    parser.add_argument("--labels", metavar="TOPIC", help="ground truth to compare with")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="label every N-th set")
    parser.add_argument("--start", type=float, default=0.0, metavar="S", help="seconds to skip")
    parser.add_argument(
        "--duration", type=float, default=float("inf"), metavar="S", help="seconds to replay"
    )
    parser.add_argument(
        "--drop",
        action="append",
        default=[],
        metavar="SENSOR@FROM-TO",
        help="take a sensor away for these seconds, to see what its failure would do",
    )
    parser.add_argument("--calibration", metavar="FILE", help="extrinsics and intrinsics, as YAML")
    parser.add_argument("--params-file", metavar="FILE", help="the node's parameters")
    parser.add_argument("--device", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--debug-frames", action="store_true", help="also write what the model saw")


def run(args: argparse.Namespace) -> int:
    """Replays the bag."""
    from memorysam_ros.bags import Bag
    from memorysam_ros.bags.replay import Drop, Replay, Selection, static_transforms
    from memorysam_ros.bags.results import text
    from memorysam_ros.model import load_model
    from memorysam_ros.pipeline import Pipeline

    drops = tuple(Drop.parse(drop) for drop in args.drop)
    selection = Selection(args.every, args.start, args.duration, drops)
    output = Path(args.output or f"{Path(args.bag).resolve().stem}_labels")
    if output.exists():
        raise FileExistsError(f"{output} exists already; remove it or give another --output")
    with Bag(args.bag) as bag:
        for warning in bag.warnings:
            print(f"memorysam replay: {warning}", file=sys.stderr)
        inputs = _inputs(bag, args.topic, args.labels)
        parameters = _parameters(args, bag, inputs)
        segmenter, facts = load_model(parameters)
        pipeline = Pipeline(segmenter, parameters, static_transforms(bag))
        replay = Replay(bag, inputs, pipeline, selection)
        summary = _write(replay, output, args, facts)
    print(text(summary))
    print(f"wrote {', '.join(str(path) for path in sorted(output.iterdir()))}")
    if not summary["labelled"]:
        print("memorysam replay: no set could be labelled", file=sys.stderr)
        return 1
    return 0


def _write(
    replay: Replay, output: Path, args: argparse.Namespace, facts: dict[str, str]
) -> dict[str, Any]:
    from tqdm import tqdm

    from memorysam_ros.bags import BagWriter
    from memorysam_ros.bags.results import Results
    from memorysam_ros.bags.truth import Truth
    from memorysam_ros.bags.whole_folder import whole_folder

    length_s = min((replay.bag.end_ns - replay.bag.start_ns) / 1e9 - args.start, args.duration)
    with ExitStack() as stack:
        folder = stack.enter_context(whole_folder(output))
        truth = stack.enter_context(Truth(args.bag, args.labels)) if args.labels else None
        bar = stack.enter_context(
            tqdm(
                total=round(length_s, 2),
                unit="s",
                bar_format="{l_bar}{bar}| {n:.1f}/{total:.1f} s of the bag [{elapsed}<{remaining}]",
                disable=not sys.stderr.isatty(),
            )
        )
        with BagWriter(folder / "bag", compress=True) as writer:
            results = Results(folder, replay, truth, writer, _report(replay), args.debug_frames)
            for moment in replay:
                results.add(moment)
                bar.update(min(moment.time_s - args.start, length_s) - bar.n)
            return results.finish(facts)


def _report(replay: Replay) -> ReplayReport | None:
    try:
        from memorysam_ros.bags.replay_report import ReplayReport
    except ModuleNotFoundError as error:
        from memorysam_core.cli import describe

        print(f"memorysam replay: no report.html: {describe(error)}", file=sys.stderr)
        return None
    return ReplayReport(replay, shlex.join(["memorysam", *sys.argv[1:]]))


def _inputs(bag: Bag, given: list[str], labels: str | None) -> dict[str, str]:
    from memorysam_ros.bags import BagError
    from memorysam_ros.bags.topics import find

    named = {}
    for text in given:
        name, separator, topic = text.partition(":=")
        if not separator:
            raise ValueError(f"--topic {text!r} is no INPUT:=TOPIC such as image:=/front/image_raw")
        named[name] = topic
    inputs = find((topic for topic in bag.topics.values() if topic.name != labels), named)
    if not {"image", "depth", "events", "points"} & set(inputs):
        listed = ", ".join(f"{t.name} ({t.msgtype})" for t in bag.topics.values()) or "nothing"
        raise BagError(f"{bag.path} has no topic of a sensor; it has {listed}")
    return inputs


def _parameters(args: argparse.Namespace, bag: Bag, inputs: dict[str, str]) -> Parameters:
    """As the node's, but for what the bag and the command line say."""
    from memorysam_ros.bags.topics import IMAGE
    from memorysam_ros.parameter_files import of_rclpy, values_of
    from memorysam_ros.parameters import from_values

    values = values_of(args.params_file) if args.params_file else {}
    values = {name: value for name, value in values.items() if not of_rclpy(name)}
    values["checkpoint"] = args.checkpoint
    if args.device:
        values["device"] = args.device
    if args.calibration:
        values["calibration_file"] = args.calibration
    if "events" in inputs and bag.topics[inputs["events"]].msgtype == IMAGE:
        values["event.source"] = "image"
    return from_values(values)
