"""Records ROS topics into a bag, byte for byte, where there is no rosbag2."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection
from typing import Any

from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile

from memorysam_ros.bags.types import typestore
from memorysam_ros.bags.writer import BagWriter
from memorysam_ros.conversions.outputs import ros_class
from memorysam_ros.ros_session import profile_for

_DEPTH = 100
_POLL_S = 0.1
_NOT_UNLESS_NAMED = ("/rosout", "/parameter_events")


class Recorder:
    """Subscriptions that write what they get."""

    def __init__(
        self, node: Node, writer: BagWriter, topics: Collection[str] | None = None
    ) -> None:
        """``topics`` are all by default, but for ROS's own logs and parameter events."""
        self._node, self._writer = node, writer
        self._wanted = None if topics is None else set(topics)
        self._subscriptions: dict[str, Any] = {}
        self.skipped: dict[str, str] = {}
        """Topics whose type is not known here, and the type."""

    @property
    def topics(self) -> list[str]:
        """What is being recorded."""
        return sorted(self._subscriptions)

    @property
    def awaited(self) -> list[str]:
        """Topics that were asked for, but that nobody publishes so far."""
        return sorted((self._wanted or set()) - set(self._subscriptions) - set(self.skipped))

    def run(self, stopped: threading.Event, duration_s: float | None = None) -> None:
        """Records until the time is over, or until it is stopped.

        An exception could strike in the middle of a message that is being written; see
        :func:`~memorysam_ros.ros_session.interruptible`.
        """
        end = None if duration_s is None else time.monotonic() + duration_s
        executor = SingleThreadedExecutor()
        executor.add_node(self._node)
        looked = 0.0
        try:
            while not stopped.is_set() and (end is None or time.monotonic() < end):
                if time.monotonic() - looked > _POLL_S:
                    looked = time.monotonic()
                    self.discover()
                executor.spin_once(timeout_sec=_POLL_S)
        finally:
            executor.shutdown()

    def discover(self) -> None:
        """Subscribes to topics that are new since the last time."""
        for name, types in self._node.get_topic_names_and_types():
            if name in self._subscriptions or name in self.skipped or not self._is_wanted(name):
                continue
            publishers = self._node.get_publishers_info_by_topic(name)
            if not publishers:
                continue
            try:
                kind = ros_class(types[0])
            except (ModuleNotFoundError, AttributeError):
                kind = None
            if kind is None or types[0] not in typestore().types:
                self.skipped[name] = types[0]
                continue
            self._subscribe(name, types[0], kind, [p.qos_profile for p in publishers])

    def _subscribe(self, name: str, msgtype: str, kind: Any, offered: list[QoSProfile]) -> None:
        profile = profile_for(offered, _DEPTH)
        latched = profile.durability == DurabilityPolicy.TRANSIENT_LOCAL

        def write(data: bytes) -> None:
            now_ns = self._node.get_clock().now().nanoseconds
            self._writer.write_raw(name, msgtype, data, now_ns, latched)

        self._subscriptions[name] = self._node.create_subscription(
            kind, name, write, profile, raw=True
        )

    def _is_wanted(self, name: str) -> bool:
        if self._wanted is None:
            return name not in _NOT_UNLESS_NAMED
        return name in self._wanted
