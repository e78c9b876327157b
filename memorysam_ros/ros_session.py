"""A node for a command that ends by itself or by Ctrl-C, and how it hears what others publish."""

from __future__ import annotations

import signal
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager

import rclpy
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions

from memorysam_ros.dds import use_profile

SETTLE_S = 0.3
"""A subscriber may learn of a publisher so much later than the publisher of it, or earlier."""


@contextmanager
def ros_session(name: str, arguments: list[str] | None = None) -> Iterator[Node]:
    """A node, taken down in the right order afterwards.

    Ctrl-C is KeyboardInterrupt within, as SIGTERM is in all commands, so that the caller can put
    its things in order while ROS is still up. Our Fast DDS profile is used where the user has none.
    """
    use_profile()
    # A shell starts background jobs with SIGINT ignored; `kill -INT` must end this all the same.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    try:
        node = rclpy.create_node(name)
        try:
            yield node
        finally:
            node.destroy_node()
    finally:
        rclpy.try_shutdown()
        signal.signal(signal.SIGINT, before)


def profile_for(offered: Collection[QoSProfile], depth: int) -> QoSProfile:
    """What hears all publishers that offer these: the most that all of them can give."""
    reliable = all(q.reliability == ReliabilityPolicy.RELIABLE for q in offered)
    latched = all(q.durability == DurabilityPolicy.TRANSIENT_LOCAL for q in offered)
    return QoSProfile(
        depth=depth,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set, instead of breaking off whatever is being done."""
    event = threading.Event()
    ends = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda *_: event.set()) for number in ends}
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
