"""Serves ROS topics to Foxglove, byte for byte, and listens to those only that someone looks at.

Foxglove reads ROS messages as they are, given their definitions, so that nothing is converted. A
topic is subscribed to while a client shows it: what nobody watches costs the node nothing.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

import foxglove
import foxglove.websocket
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile

from memorysam_ros.bags.types import typestore
from memorysam_ros.conversions.outputs import ros_class
from memorysam_ros.ros_session import profile_for
from memorysam_ros.view_level import Level

_DEPTH, _LATCHED_DEPTH = 10, 100
"""Messages that wait to be heard; each publisher of static transforms has one of its own."""
_POLL_S = 0.2
_TELL_S = 1.0
"""How often late viewers are told of level cameras."""
_TRANSFORMS = ("/tf", "/tf_static")
_OPTICAL = ("/output/points", "/output/organized_points")
"""Ends of topics whose clouds are in the camera's optical frame."""
_NOT_UNLESS_NAMED = ("/rosout", "/parameter_events")
_BACKLOG = 64
"""Messages that wait for a slow client before the oldest go; images are large."""


class View:
    """A Foxglove server for the topics of a graph."""

    def __init__(
        self,
        node: Node,
        host: str,
        port: int,
        topics: Collection[str] = (),
        on_skipped: Callable[[str, str], object] = lambda topic, msgtype: None,
    ) -> None:
        """``topics`` are all by default, but for ROS's own logs; port 0 takes a free one.

        ``on_skipped`` is called for each topic whose type is not known here, with that type. Raises
        OSError where the address cannot be served on.
        """
        self._node, self._wanted, self._on_skipped = node, set(topics), on_skipped
        self._context = foxglove.Context()
        self._channels: dict[str, tuple[str, foxglove.Channel]] = {}
        self._subscriptions: dict[str, tuple[QoSProfile, Any]] = {}
        self._latched: dict[str, deque[bytes]] = {}
        self._joined = _Joined()
        self._skipped: set[str] = set()
        self._level: Level | None = None
        self._told_s = 0.0
        try:
            self._server = foxglove.start_server(
                name="memorysam",
                host=host,
                port=port,
                context=self._context,
                server_listener=self._joined,
                message_backlog_size=_BACKLOG,
            )
        except Exception as error:  # the package has no exception of its own for this
            raise OSError(f"cannot serve on {host}:{port}: {error}") from error

    @property
    def port(self) -> int:
        """Where it serves."""
        return self._server.port

    @property
    def topics(self) -> list[str]:
        """What is offered."""
        return sorted(self._channels)

    @property
    def watched(self) -> list[str]:
        """What somebody looks at now."""
        return sorted(self._subscriptions)

    def run(self, stop: threading.Event | None = None) -> None:
        """Serves until it is interrupted, or told to stop."""
        executor = SingleThreadedExecutor()
        executor.add_node(self._node)
        try:
            while stop is None or not stop.is_set():
                self.refresh()
                end = time.monotonic() + _POLL_S
                while (left_s := end - time.monotonic()) > 0:
                    executor.spin_once(timeout_sec=left_s)
        finally:
            executor.shutdown()

    def refresh(self) -> None:
        """Offers topics that are new, listens to what is watched and to nothing else."""
        for name, types in self._node.get_topic_names_and_types():
            if name not in self._channels and name not in self._skipped and self._is_wanted(name):
                self._offer(name, types[0])
        self._stand_upright()
        joined = self._joined.since()
        for name, (msgtype, channel) in self._channels.items():
            if not channel.has_sinks():
                self._deafen(name)
                continue
            if name in joined:  # who is there already got it when it came
                for data in self._latched.get(name, ()):
                    channel.log(data)
            self._listen(name, msgtype, channel)

    def close(self) -> None:
        """Says goodbye to all clients."""
        self._server.stop()

    def _stand_upright(self) -> None:
        """Cameras are taken to be level as long as no transforms can be offered."""
        offered = [topic for topic in _TRANSFORMS if topic in self._channels]
        if any(self._node.count_publishers(topic) for topic in offered):
            if self._level is not None:
                self._level.close()
                self._level = None
            return
        if self._level is None:
            self._level = Level(self._context)
        if time.monotonic() - self._told_s > _TELL_S:
            self._told_s = time.monotonic()
            self._level.tell()

    def _is_wanted(self, name: str) -> bool:
        return name in self._wanted if self._wanted else name not in _NOT_UNLESS_NAMED

    def _offer(self, name: str, msgtype: str) -> None:
        try:
            ros_class(msgtype)
            definition, _ = typestore().generate_msgdef(msgtype, ros_version=2)
        except (ModuleNotFoundError, AttributeError, KeyError):
            self._skipped.add(name)
            self._on_skipped(name, msgtype)
            return
        schema = foxglove.Schema(name=msgtype, encoding="ros2msg", data=definition.encode())
        channel = foxglove.Channel(
            name, schema=schema, message_encoding="cdr", context=self._context
        )
        self._channels[name] = msgtype, channel

    def _listen(self, name: str, msgtype: str, channel: foxglove.Channel) -> None:
        offered = [p.qos_profile for p in self._node.get_publishers_info_by_topic(name)]
        if not offered:  # for now: whoever published may come back
            return
        profile = profile_for(offered, _DEPTH)
        latched = profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
        if latched:
            profile.depth = _LATCHED_DEPTH
        known = self._subscriptions.get(name)
        if known is not None and _alike(known[0], profile):
            return
        self._deafen(name)  # of what comes back as less reliable nothing would be heard
        kept = self._latched.setdefault(name, deque(maxlen=_LATCHED_DEPTH)) if latched else None

        def hear(data: bytes) -> None:
            if self._level is not None and name.endswith(_OPTICAL):
                self._level.heard(data)
            if kept is not None and data not in kept:
                kept.append(data)
            channel.log(data)

        subscription = self._node.create_subscription(
            ros_class(msgtype), name, hear, profile, raw=True
        )
        self._subscriptions[name] = profile, subscription

    def _deafen(self, name: str) -> None:
        if name in self._subscriptions:
            _, subscription = self._subscriptions.pop(name)
            self._node.destroy_subscription(subscription)
            self._latched.pop(name, None)


class _Joined(foxglove.websocket.ServerListener):
    """Topics that a viewer has begun to look at; told on the server's threads."""

    def __init__(self) -> None:
        self._topics: queue.SimpleQueue[str] = queue.SimpleQueue()

    def on_subscribe(self, client: Any, channel: Any) -> None:
        """Of the server."""
        self._topics.put(channel.topic)

    def since(self) -> set[str]:
        """Those since the last time."""
        found = set()
        while not self._topics.empty():
            found.add(self._topics.get())
        return found


def _alike(one: QoSProfile, other: QoSProfile) -> bool:
    return (one.reliability, one.durability) == (other.reliability, other.durability)


@contextmanager
def serving(*args: Any, **options: Any) -> Iterator[View]:
    """A view, closed at the end; the arguments are those of :class:`View`."""
    view = View(*args, **options)
    try:
        yield view
    finally:
        view.close()
