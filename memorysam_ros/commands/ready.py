"""Wait until a lifecycle node is active.

segment_node is when its model is loaded, which takes seconds, or minutes where it is compiled.
launch/replay.launch.py plays the bag then, so that nothing of it is missed.

    memorysam ready /segment_node && ros2 bag play drive --clock
"""

from __future__ import annotations

import argparse
import time
from typing import Any

_POLL_S = 0.2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument(
        "node", nargs="?", default="/segment_node", help="its full name (%(default)s)"
    )
    parser.set_defaults(ros_args=[])


def run(args: argparse.Namespace) -> int:
    """Returns when it is active."""
    from lifecycle_msgs.msg import State
    from lifecycle_msgs.srv import GetState

    from memorysam_ros.ros_session import ros_session

    with ros_session("memorysam_ready", args.ros_args) as node:
        client = node.create_client(GetState, f"{args.node.rstrip('/')}/get_state")
        while not client.wait_for_service(_POLL_S):
            pass
        print(f"waiting until {args.node} is active", flush=True)
        while _answer(node, client, GetState.Request()) != State.PRIMARY_STATE_ACTIVE:
            time.sleep(_POLL_S)
    return 0


def _answer(node: Any, client: Any, request: Any) -> int:
    """The state, however long it takes to be told. Raises ValueError where the node is gone."""
    import rclpy

    future = client.call_async(request)
    while not future.done():
        if not client.service_is_ready():
            raise ValueError(f"{client.srv_name.rpartition('/')[0]} ended before it was active")
        rclpy.spin_until_future_complete(node, future, timeout_sec=_POLL_S)
    return future.result().current_state.id
