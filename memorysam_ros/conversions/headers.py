"""Stamps and frames of message headers."""

from __future__ import annotations

from typing import Any

SECOND_NS = 1_000_000_000


def stamp_ns(message: Any) -> int:
    """``header.stamp`` of a message in nanoseconds."""
    return time_ns(message.header.stamp)


def time_ns(stamp: Any) -> int:
    """A ``builtin_interfaces/Time`` in nanoseconds."""
    return int(stamp.sec) * SECOND_NS + int(stamp.nanosec)


def text(message: Any) -> str:
    """The text of a ``std_msgs/String``."""
    return str(message.data)


def frame_id(message: Any) -> str:
    """``header.frame_id`` of a message, without the leading slash that ROS 1 recordings have."""
    return str(message.header.frame_id).lstrip("/")
