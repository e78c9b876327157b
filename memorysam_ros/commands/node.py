"""``memorysam node``: label live ROS 2 topics.

Runs segment_node, the same one that `ros2 launch memorysam_ros segment.launch.py` starts, and
activates it. Whatever follows --ros-args is given to ROS as it is:

    memorysam node CHECKPOINT --ros-args -r '~/input/image:=/front/image_raw'
"""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("checkpoint", nargs="?", help="the model; else the parameter checkpoint's")
    parser.add_argument("--params-file", metavar="FILE", help="parameters, as config/segment.yaml")
    parser.add_argument(
        "--no-autostart", action="store_true", help="wait for a lifecycle manager to activate it"
    )
    parser.set_defaults(ros_args=[])


def run(args: argparse.Namespace) -> int:
    """Runs the node until it is interrupted."""
    from memorysam_ros.parameter_files import unknown_in
    from memorysam_ros.parameters import explain_unknown
    from memorysam_ros.segment_node import main

    words = ["--ros-args"]
    if args.params_file:
        for name in unknown_in(args.params_file):
            raise ValueError(f"{args.params_file}: {explain_unknown(name)}")
        words += ["--params-file", args.params_file]
    # After the file, so that the command line has the last word.
    words += ["-p", f"autostart:={str(not args.no_autostart).lower()}"]
    if args.checkpoint:
        words += ["-p", f"checkpoint:={args.checkpoint}"]
    return main(["segment_node", *words, "--", *args.ros_args])
