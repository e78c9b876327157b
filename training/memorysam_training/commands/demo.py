"""Show everything at once: a simulated drive through the real node, with a report.

The sun gives way to rain and night, and the LiDAR dies for a while. The node runs in a process of
its own and gets the drive over DDS, on a ROS domain of its own; its labels are compared with the
truth. No GPU, no ROS installation, no data needed. The simulated drive is kept for the next time.

    memorysam demo
    memorysam demo --checkpoint mine.safetensors --seed 3
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from pathlib import Path

_DOMAINS = range(40, 100)
"""ROS domains that are free on Linux, away from the low ones that robots use."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("demo"),
        metavar="DIR",
        help="folder for the report, replaced if it holds an earlier one (%(default)s)",
    )
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="instead of the shipped")
    parser.add_argument("--seed", type=int, default=7, help="of the world (%(default)s)")
    parser.add_argument(
        "--cache", type=Path, metavar="DIR", help="for simulated drives (~/.cache/memorysam)"
    )


def run(args: argparse.Namespace) -> int:
    """Runs the demo."""
    from memorysam_training.demo.drive import DemoDrive, default_cache
    from memorysam_training.demo.story import table, tell

    if args.seed < 0:
        raise ValueError(f"--seed is {args.seed}; give a whole number from 0")
    # The demo's cameras must not be heard by a robot, nor the robot's by the demo's node.
    os.environ["ROS_DOMAIN_ID"] = str(_DOMAINS[os.getpid() % len(_DOMAINS)])
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    # A shell starts background jobs with SIGINT ignored; `kill -INT` must end this all the same.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    began = time.monotonic()
    told = tell(
        DemoDrive(seed=args.seed),
        args.checkpoint or shipped_weights(),
        args.output,
        args.cache or default_cache(),
        f"memorysam demo --seed {args.seed}",
        lambda text: print(text, file=sys.stderr, flush=True),
    )
    print(f"\n{table(told)}\n\n{time.monotonic() - began:.0f} s in all")
    return 0


def shipped_weights() -> Path:
    """The weights for simulated drives. Raises ValueError where they are not there."""
    from memorysam_core.checkpoint import SHIPPED

    if not SHIPPED.is_file():
        raise ValueError(f"the shipped weights {SHIPPED} are missing; give --checkpoint FILE")
    return SHIPPED
