"""Record ROS topics into a bag (for machines without rosbag2).

Ends with Ctrl-C or after --duration; the bag appears under its name when it is whole.

    memorysam record /segment_node/output/labels /front/image_raw -o run.mcap
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path


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
    from memorysam_ros.bags.record import Recorder
    from memorysam_ros.bags.ros_session import ros_session
    from memorysam_ros.bags.writer import BagWriter

    output = Path(args.output or time.strftime("rosbag2_%Y_%m_%d-%H_%M_%S"))
    with BagWriter(output, compress=args.compress) as writer:
        with ros_session("memorysam_record", args.ros_args) as node:
            recorder = Recorder(node, writer, args.topics or None)
            print(f"recording into {output}; Ctrl-C ends it", flush=True)
            recorder.run(args.duration)
        for name, kind in recorder.skipped.items():
            print(f"memorysam record: {name} is left out: {kind} is not known", file=sys.stderr)
        for name in recorder.awaited:
            print(f"memorysam record: nobody published {name}", file=sys.stderr)
        counts = dict(writer.counts)
    for name, count in sorted(counts.items()):
        print(f"  {count:6} {name}")
    print(f"wrote {output}")
    return 0
