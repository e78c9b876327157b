"""Plays a bag onto ROS topics, byte for byte, where there is no rosbag2."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Collection
from typing import Any

from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosbags.interfaces import QosDurability, QosReliability

from memorysam_ros.bags.reader import Bag, RawMessage, Topic
from memorysam_ros.bags.topics import TRANSFORMS
from memorysam_ros.conversions.outputs import ros_class
from memorysam_ros.ros_session import SETTLE_S

_DEPTH = 100
_POLL_S = 0.02
CLOCK = "/clock"
_LATCHED = ("/tf_static", "/robot_description")


class Player:
    """Publishers for the topics of a bag. Nothing needs to spin."""

    def __init__(
        self, node: Node, bag: Bag, topics: Collection[str] | None = None, clock_hz: float = 0.0
    ) -> None:
        """``topics`` are all by default; ``clock_hz`` above 0 publishes the bag's time, too.

        Raises ValueError for a topic that the bag does not have.
        """
        self._bag = bag
        self.skipped: dict[str, str] = {}
        """Topics that are not played, and why."""
        self._publishers: dict[str, Any] = {}
        for name in sorted(bag.topics if topics is None else topics):
            if name not in bag.topics:
                raise ValueError(
                    f"the bag has no topic {name}; it has {', '.join(sorted(bag.topics))}"
                )
            topic = bag.topics[name]
            if clock_hz > 0 and name == CLOCK:
                self.skipped[name] = "the bag's own time is published in its place"
                continue
            try:
                kind = ros_class(topic.msgtype)
            except (ModuleNotFoundError, AttributeError):
                self.skipped[name] = f"{topic.msgtype} is not installed"
                continue
            self._publishers[name] = node.create_publisher(kind, name, _profile(topic))
        self._clock = None
        if clock_hz > 0:
            self._clock = node.create_publisher(ros_class("rosgraph_msgs/msg/Clock"), CLOCK, 10)
        self._clock_period_ns = round(1e9 / clock_hz) if clock_hz > 0 else 0

    def wait_for_subscribers(self, timeout_s: float) -> list[str]:
        """Waits until somebody listens to each topic, and to the clock if it is published.

        Returns the topics that nobody listens to.
        """
        awaited = {**self._publishers, CLOCK: self._clock} if self._clock else self._publishers
        end = time.monotonic() + timeout_s
        while lonely := [n for n, p in awaited.items() if not p.get_subscription_count()]:
            if time.monotonic() >= end:
                return lonely
            time.sleep(_POLL_S)
        time.sleep(min(SETTLE_S, timeout_s))
        return []

    def play(self, rate: float = 1.0, start_s: float = 0.0, duration_s: float | None = None) -> int:
        """Publishes the bag once, ``rate`` times as fast as it was recorded; how many messages."""
        first_ns = self._bag.start_ns + round(start_s * 1e9)
        stop_ns = None if duration_s is None else first_ns + round(duration_s * 1e9)
        began, count, tick_ns = time.monotonic(), 0, first_ns
        self._give_latched(first_ns)
        for raw in self._bag.messages(set(self._publishers), first_ns, stop_ns):
            while self._clock is not None and tick_ns <= raw.time_ns:
                _sleep_until(began + (tick_ns - first_ns) / 1e9 / rate)
                self._clock.publish(_clock_message(tick_ns))
                tick_ns += self._clock_period_ns
            _sleep_until(began + (raw.time_ns - first_ns) / 1e9 / rate)
            self._publishers[raw.topic].publish(raw.data)
            count += 1
        return count

    def finish(self, timeout_s: float = 1.0) -> None:
        """Waits until reliable subscribers have everything, but no longer than the timeout."""
        end = time.monotonic() + timeout_s
        for publisher in self._publishers.values():
            left_s = max(0.0, end - time.monotonic())
            publisher.wait_for_all_acked(Duration(nanoseconds=round(left_s * 1e9)))

    def _give_latched(self, first_ns: int) -> None:
        """What was told once before the part that is played, such as the static transforms."""
        latched = {n for n in self._publishers if _is_latched(self._bag.topics[n])}
        if first_ns <= self._bag.start_ns or not latched:
            return
        given: dict[str, deque[RawMessage]] = {}
        for raw in self._bag.messages(latched, None, first_ns):
            # Each publisher of transforms tells of its own; of all else the latest is what counts.
            most = _DEPTH if raw.msgtype == TRANSFORMS else 1
            given.setdefault(raw.topic, deque(maxlen=most)).append(raw)
        for raw in itertools.chain.from_iterable(given.values()):
            self._publishers[raw.topic].publish(raw.data)


def _is_latched(topic: Topic) -> bool:
    offered = {qos.durability for qos in topic.qos}
    return QosDurability.TRANSIENT_LOCAL in offered or topic.name in _LATCHED


def _profile(topic: Topic) -> QoSProfile:
    """Durability and reliability as they were recorded.

    A publisher that is reliable serves both kinds of subscribers.
    """
    best_effort = {qos.reliability for qos in topic.qos} == {QosReliability.BEST_EFFORT}
    return QoSProfile(
        depth=_DEPTH,
        reliability=ReliabilityPolicy.BEST_EFFORT if best_effort else ReliabilityPolicy.RELIABLE,
        durability=(
            DurabilityPolicy.TRANSIENT_LOCAL if _is_latched(topic) else DurabilityPolicy.VOLATILE
        ),
    )


def _clock_message(time_ns: int) -> Any:
    message = ros_class("rosgraph_msgs/msg/Clock")()
    message.clock.sec, message.clock.nanosec = divmod(time_ns, 1_000_000_000)
    return message


def _sleep_until(moment: float) -> None:
    left = moment - time.monotonic()
    if left > 0:
        time.sleep(left)
