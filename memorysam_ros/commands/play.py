"""Play a bag onto ROS topics (for machines without rosbag2).

The messages are published as they were recorded, byte for byte.

    memorysam play drive.mcap --clock --rate 0.5
"""

from __future__ import annotations

import argparse
import sys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    from memorysam_ros.bags.selecting import add_beside

    parser.add_argument("bag", help="folder or file of a rosbag2, sqlite3 or mcap")
    add_beside(parser)
    parser.add_argument("--topics", nargs="+", metavar="TOPIC", help="only these")
    parser.add_argument("--rate", type=float, default=1.0, metavar="R", help="speed (1)")
    parser.add_argument("--loop", action="store_true", help="begin anew at the end")
    parser.add_argument("--start", type=float, default=0.0, metavar="S", help="seconds to skip")
    parser.add_argument("--duration", type=float, metavar="S", help="seconds of the bag to play")
    parser.add_argument(
        "--clock",
        type=float,
        nargs="?",
        const=100.0,
        default=0.0,
        metavar="HZ",
        help="publish the bag's time on /clock (100 Hz), for nodes with use_sim_time",
    )
    parser.add_argument(
        "--wait",
        type=float,
        default=2.0,
        metavar="S",
        help="longest wait for somebody to listen to every topic and to the clock, if told (2)",
    )
    parser.set_defaults(ros_args=[])


def run(args: argparse.Namespace) -> int:
    """Plays the bag."""
    from memorysam_ros.bags.play import Player
    from memorysam_ros.bags.reader import Bag
    from memorysam_ros.ros_session import ros_session

    if args.rate <= 0 or args.clock < 0:
        raise ValueError(f"rate is {args.rate:g} and clock {args.clock:g}; give rates above 0")
    with Bag(args.bag, *args.beside) as bag, ros_session("memorysam_play", args.ros_args) as node:
        player = Player(node, bag, args.topics, args.clock)
        for warning in bag.warnings:
            print(f"memorysam play: {warning}", file=sys.stderr)
        for name, why in player.skipped.items():
            print(f"memorysam play: {name} is left out: {why}", file=sys.stderr)
        lonely = player.wait_for_subscribers(args.wait)
        if lonely:
            print(f"memorysam play: nobody listens to {', '.join(lonely)}", file=sys.stderr)
        while True:
            count = player.play(args.rate, args.start, args.duration)
            print(f"played {count} messages of {args.bag}", flush=True)
            if not args.loop:
                break
        player.finish()
    return 0
