"""What the node uses of tf2_ros, over the genuine topics, where tf2 is not installed."""

from __future__ import annotations

import bisect
import time

import numpy as np
from geometry_msgs.msg import TransformStamped
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage

CACHE_NS = 10 * 10**9
"""How far back tf2 remembers motion."""
LATCHED = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class LookupException(Exception):
    """A frame that nobody told of, or not at that time."""


class Buffer:
    """Frames that are children of one root; translations only."""

    def __init__(self, cache_time=None, node=None) -> None:
        if node is not None:  # as tf2's, which nobody destroys (there a FrameGraph)
            self.srv = node.create_service(Trigger, "tf2_frames", lambda _, response: response)
        self._static: dict[str, TransformStamped] = {}
        self._moving: dict[str, list[tuple[int, TransformStamped]]] = {}

    def set_transform(self, transform, static: bool) -> None:
        if static:
            self._static[transform.child_frame_id] = transform
            return
        stamp = transform.header.stamp.sec * 10**9 + transform.header.stamp.nanosec
        known = self._moving.setdefault(transform.child_frame_id, [])
        if known and stamp < known[-1][0] - CACHE_NS:
            return  # as tf2: TF_OLD_DATA
        bisect.insort(known, (stamp, transform), key=lambda entry: entry[0])

    def clear(self) -> None:
        self._moving.clear()

    def lookup_transform(self, target, source, at, timeout) -> TransformStamped:
        end = time.monotonic() + timeout.nanoseconds / 1e9
        while True:
            try:
                return self._found(target, source, at.nanoseconds)
            except LookupException:
                if time.monotonic() > end:
                    raise
                time.sleep(0.001)

    def all_frames_as_yaml(self) -> str:
        children = [*self._static, *self._moving]
        return "".join(f"{child}: \n  parent: '{self._parent(child)}'\n" for child in children)

    def _parent(self, child: str) -> str:
        one = self._static.get(child) or self._moving[child][-1][1]
        return one.header.frame_id

    def _found(self, target, source, at_ns) -> TransformStamped:
        latest = [self._moving[f][-1][0] for f in (target, source) if f in self._moving]
        # As tf2: time 0 asks for the latest common time; a static chain has no stamp.
        when = at_ns or min(latest, default=0)
        result = TransformStamped()
        result.header.frame_id, result.child_frame_id = target, source
        result.header.stamp.sec, result.header.stamp.nanosec = divmod(when if latest else 0, 10**9)
        offset = self._place(source, when) - self._place(target, when)
        vector = result.transform.translation
        vector.x, vector.y, vector.z = map(float, offset)
        return result

    def _place(self, frame, when) -> np.ndarray:
        if frame in self._static:
            return place(self._static[frame])
        known = self._moving.get(frame)
        if not known:
            raise LookupException(f'"{frame}" passed to lookupTransform does not exist')
        stamps = [stamp for stamp, _ in known]
        if not stamps[0] <= when <= stamps[-1]:
            raise LookupException(f"extrapolation: {when} is not in {stamps[0]} to {stamps[-1]}")
        places = np.array([place(transform) for _, transform in known])
        since = np.array(stamps) - stamps[0]
        return np.array([np.interp(when - stamps[0], since, column) for column in places.T])


class TransformListener:
    """Listens to /tf and /tf_static."""

    def __init__(self, buffer, node) -> None:
        self._node = node
        self._subscriptions = [
            node.create_subscription(TFMessage, topic, self._callback(buffer, static), qos)
            for topic, static, qos in (("/tf", False, 100), ("/tf_static", True, LATCHED))
        ]

    def unregister(self) -> None:
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)

    def _callback(self, buffer, static):
        def on_message(message) -> None:
            for transform in message.transforms:
                buffer.set_transform(transform, static)

        return on_message


def place(transform) -> np.ndarray:
    vector = transform.transform.translation
    return np.array([vector.x, vector.y, vector.z])
