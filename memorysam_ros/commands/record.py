"""Record ROS topics into a bag (for machines without rosbag2).

Ends with Ctrl-C or after --duration; the bag appears under its name when it is whole. What was
recorded when something went wrong, such as a disk that is full, is kept as BAG.unfinished.

    memorysam record /segment_node/output/labels /front/image_raw -o run.mcap
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from memorysam_ros.bags.record import Recorder
    from memorysam_ros.bags.writer import BagWriter


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("topics", nargs="*", metavar="TOPIC", help="what to record (everything)")
    parser.add_argument(
        "-o",
        "--output",
        metavar="BAG",
        help="FILE.mcap, FILE.db3 or a folder (rosbag2_DATE-TIME, as `ros2 bag record`)",
    )
    parser.add_argument("--compress", action="store_true", help="by zstd, mcap only")
    parser.add_argument("--duration", type=float, metavar="S", help="stop after so many seconds")
    parser.set_defaults(ros_args=[])


def run(args: argparse.Namespace) -> int:
    """Records until it is told to stop."""
    from memorysam_ros.bags.writer import BagWriter

    output = Path(args.output or time.strftime("rosbag2_%Y_%m_%d-%H_%M_%S"))
    writer = BagWriter(output, compress=args.compress, keep=True)
    try:
        recorder = _record(writer, output, args)
    except BaseException as error:
        if writer.kept is None:
            raise
        why = " ".join(str(error).split()) or type(error).__name__
        raise OSError(f"{why}; what was recorded until then is in {writer.kept}") from error
    for name, kind in recorder.skipped.items():
        print(f"memorysam record: {name} is left out: {kind} is not known", file=sys.stderr)
    for name in recorder.awaited:
        print(f"memorysam record: nobody published {name}", file=sys.stderr)
    for name, count in sorted(writer.counts.items()):
        print(f"  {count:6} {name}")
    print(f"wrote {output}")
    return 0


def _record(writer: BagWriter, output: Path, args: argparse.Namespace) -> Recorder:
    from memorysam_ros.bags.record import Recorder
    from memorysam_ros.ros_session import interruptible, ros_session

    # Until the bag is whole, a second Ctrl-C would break off what the first has begun to end.
    session = ros_session("memorysam_record", args.ros_args)
    with session as node, interruptible() as stopped, writer:
        recorder = Recorder(node, writer, args.topics or None)
        print(f"recording into {output}; Ctrl-C ends it", flush=True)
        recorder.run(stopped, args.duration)
    return recorder
