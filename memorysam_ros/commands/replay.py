"""Label a recorded drive (rosbag2), without ROS.

Finds the sensors' topics in the bag, matches them in time and draws them as the live node does, and
writes into one folder: a bag with all that the node would have published (for RViz or Foxglove),
report.html, a filmstrip and replay.json, and with --video also video.mp4. With --labels, the labels
are compared with the ground truth.

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
    from memorysam_ros.bags.replay import Replay
    from memorysam_ros.bags.replay_report import ReplayReport
    from memorysam_ros.bags.video import Video


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    from memorysam_ros.bags.selecting import add_selection

    parser.add_argument("checkpoint", help="the model")
    parser.add_argument("bag", help="folder or file of a rosbag2, sqlite3 or mcap")
    parser.add_argument(
        "-o", "--output", metavar="DIR", help="folder to write (default: BAG_labels, here)"
    )
    add_selection(parser)
    parser.add_argument("--device", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--precision", help="auto, fp32, bf16 or fp16")
    parser.add_argument(
        "--organized-points", action="store_true", help="also write a labelled point of each pixel"
    )
    parser.add_argument("--video", action="store_true", help="also write an mp4 of it all")


def run(args: argparse.Namespace) -> int:
    """Replays the bag."""
    from memorysam_ros.bags import Bag
    from memorysam_ros.bags.replay import Replay
    from memorysam_ros.bags.results import text
    from memorysam_ros.bags.selecting import inputs, parameters, selection
    from memorysam_ros.bags.transforms import BagTransforms
    from memorysam_ros.model import load_model
    from memorysam_ros.pipeline import Pipeline

    if args.video:
        import av  # noqa: F401  # what is not installed is to be told now, not after the work

    part = selection(args)
    output = Path(args.output or f"{Path(args.bag).resolve().stem}_labels")
    if output.exists():
        raise FileExistsError(f"{output} exists already; remove it or give another --output")
    with Bag(args.bag, *args.beside) as bag:
        for warning in (*bag.warnings, *part.idle_parts(bag)):
            print(f"memorysam replay: {warning}", file=sys.stderr)
        found = inputs(args, bag)
        model = {"checkpoint": args.checkpoint, "device": args.device, "precision": args.precision}
        values = parameters(args, bag, found, **model)
        segmenter, facts = load_model(values)
        with BagTransforms(bag, values.tf_timeout) as transforms:
            pipeline = Pipeline(segmenter, values, transforms)
            replay = Replay(bag, found, pipeline, transforms, part)
            summary = _write(replay, output, args, facts)
    if summary["truth"].get("why_none"):
        print(f"memorysam replay: no scores: {summary['truth']['why_none']}", file=sys.stderr)
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

    length_s = min(replay.bag.seconds - args.start, args.duration)
    with ExitStack() as stack:
        folder = stack.enter_context(whole_folder(output))
        truth = None
        if args.labels:
            truth = stack.enter_context(Truth(args.bag, args.labels, args.beside))
        bar = stack.enter_context(
            tqdm(
                total=round(length_s, 2),
                unit="s",
                bar_format="{l_bar}{bar}| {n:.1f}/{total:.1f} s of the bag [{elapsed}<{remaining}]",
                disable=not sys.stderr.isatty(),
            )
        )
        video = stack.enter_context(_video(folder, replay, args)) if args.video else None
        with BagWriter(folder / "bag", compress=True) as writer:
            report = _report(replay)
            organised = args.organized_points
            results = Results(folder, replay, truth, writer, facts, report, organised, video)
            for moment in replay:
                results.add(moment)
                read_s = (moment.time_ns - replay.bag.start_ns) / 1e9 - args.start
                bar.update(min(read_s, length_s) - bar.n)
            return results.finish()


def _video(folder: Path, replay: Replay, args: argparse.Namespace) -> Video:
    from memorysam_ros.bags.video import Video

    pipeline = replay.pipeline
    space = pipeline.segmenter.contract.label_space
    return Video(folder / "video.mp4", space, pipeline.sensors, bool(args.labels))


def _report(replay: Replay) -> ReplayReport | None:
    from memorysam_ros.bags.replay_report import ReplayReport

    try:
        import jinja2  # noqa: F401
        import matplotlib  # noqa: F401
    except ModuleNotFoundError as error:
        from memorysam_core.cli import describe

        print(f"memorysam replay: no report.html: {describe(error)}", file=sys.stderr)
        return None
    return ReplayReport(replay, shlex.join(["memorysam", *sys.argv[1:]]))
