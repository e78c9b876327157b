"""Show live topics in Foxglove, where there is no RViz.

Serves every topic of the graph on this machine only, and listens to those that someone looks at.
In Foxglove: Open connection, Foxglove WebSocket, ws://localhost:8765, then import the layout whose
path is printed. From another machine, with an SSH tunnel: ssh -L 8765:localhost:8765 robot

    memorysam view
    memorysam view --topics /segment_node/output/overlay /diagnostics
"""

from __future__ import annotations

import argparse
import contextlib
import sys

_LAYOUT = "config/foxglove_layout.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("--topics", nargs="+", metavar="TOPIC", default=[], help="only these")
    parser.add_argument("--port", type=int, default=8765, help="to serve on (%(default)s)")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="to serve on; 0.0.0.0 lets the whole network watch (%(default)s)",
    )
    parser.set_defaults(ros_args=[])


def run(args: argparse.Namespace) -> int:
    """Serves until it is interrupted."""
    from memorysam_ros.ros_session import ros_session
    from memorysam_ros.shared_files import shared_file
    from memorysam_ros.view import serving

    if not 0 <= args.port <= 65535:
        raise ValueError(f"--port is {args.port}; give 1 to 65535, or 0 for a free one")
    with (
        contextlib.suppress(KeyboardInterrupt),  # how it is meant to end
        ros_session("memorysam_view", args.ros_args) as node,
        serving(node, args.host, args.port, args.topics, _say_skipped) as view,
    ):
        print(f"serving on ws://{args.host}:{view.port}; Ctrl-C ends it")
        print(f"layout: {shared_file(_LAYOUT)}", flush=True)
        view.run()
    return 0


def _say_skipped(topic: str, msgtype: str) -> None:
    print(f"memorysam view: {topic} is left out: {msgtype} is not known", file=sys.stderr)
