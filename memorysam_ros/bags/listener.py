"""Hears what a live node says of the bag that is played to it."""

from __future__ import annotations

import functools
import threading
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image

from memorysam_core.report import Entry
from memorysam_ros.bags.account import (
    DIAGNOSTICS,
    LABELS,
    SEEN,
    Accountant,
    entry,
    sensor_facts,
)
from memorysam_ros.ros_session import SETTLE_S

_QUEUE = QoSProfile(depth=20)
_POLL_S = 0.1


class Listener:
    """Subscriptions to the node's labels, to what its model saw, and to its diagnostics."""

    def __init__(self, node: Node, name: str, accountant: Accountant, rate: float = 1.0) -> None:
        """``name`` is the full name of the other node; the bag is played at ``rate``."""
        self._node, self._accountant = node, accountant
        self._slowed = min(1.0, rate)
        self._name = name.lstrip("/")
        self._heard_s: float | None = None
        self._statuses: dict[str, Any] = {}
        labels = node.create_subscription(Image, f"{name}/{LABELS}", self._on_labels, _QUEUE)
        self._topic = labels.topic_name
        for sensor, topic in SEEN.items():
            hear = functools.partial(accountant.hear_frame, sensor)
            node.create_subscription(Image, f"{name}/{topic}", hear, _QUEUE)
        node.create_subscription(DiagnosticArray, DIAGNOSTICS, self._on_diagnostics, _QUEUE)

    @property
    def diagnostics(self) -> tuple[Entry, ...]:
        """What the node said last of itself while there were labels."""
        whole = self._statuses.get(f"{self._name}: segmentation")
        return (entry(whole, "node"),) if whole else ()

    @property
    def sensor_facts(self) -> dict[str, str]:
        """What it said then of each sensor."""
        return sensor_facts(self._statuses.values())

    def found(self) -> bool:
        """Whether somebody publishes labels under that name."""
        return self._node.count_publishers(self._topic) > 0

    def wait(self, stopped: threading.Event) -> None:
        """Until the event is set, or the other node is there and has had time to find this one."""
        while not self.found() and not stopped.wait(_POLL_S):
            pass
        stopped.wait(SETTLE_S)

    def run(self, stopped: threading.Event, idle_s: float) -> None:
        """Listens until the event is set, or until there has been silence after the labels.

        In seconds of the bag where it is played slowly: then labels come that much more rarely.
        """
        executor = SingleThreadedExecutor()
        executor.add_node(self._node)
        try:
            while not stopped.is_set() and self._silence_s() < idle_s:
                executor.spin_once(timeout_sec=_POLL_S)
        finally:
            executor.shutdown()

    def _silence_s(self) -> float:
        # The bag's own clock stops with the bag, hence it cannot tell.
        silent_s = 0.0 if self._heard_s is None else time.monotonic() - self._heard_s
        return silent_s * self._slowed

    def _on_labels(self, message: Image) -> None:
        self._heard_s = time.monotonic()
        on_the_bags_clock = self._node.get_parameter("use_sim_time").value
        now_ns = int(self._node.get_clock().now().nanoseconds) if on_the_bags_clock else 0
        self._accountant.hear_labels(message, now_ns or None)  # 0 until /clock has been heard

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        if self._silence_s() > 1.0:  # the bag is over: that all is silent then is no news
            return
        for status in message.status:
            if status.name.startswith(f"{self._name}: "):
                self._statuses[status.name] = status
