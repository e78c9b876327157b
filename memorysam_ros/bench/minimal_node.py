"""What to compare with: the least that a node with approximate time matching can do.

It converts nothing and draws nothing: four messages of about one stamp become one message of
labels. Matching is message_filters' where that is installed, else the same rule in a few lines.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image, PointCloud2

from memorysam_ros.conversions import Outputs, ros_messages, stamp_ns
from memorysam_ros.dds import use_profile

INPUTS = {"image": Image, "depth": Image, "events": Image, "points": PointCloud2}
SLOP_S, DEPTH = 0.05, 10


class ApproximateTime:
    """Calls back with the first combination of one message of each kind within the slop."""

    def __init__(self, count: int, done: Callable[..., None]) -> None:
        self._queues: list[dict[int, Any]] = [{} for _ in range(count)]
        self._done = done

    def add(self, kind: int, message: Any) -> None:
        """A message of one kind arrived."""
        queue = self._queues[kind]
        stamp = stamp_ns(message)
        queue[stamp] = message
        while len(queue) > DEPTH:
            del queue[min(queue)]
        if not all(self._queues):
            return
        chosen = [min(q, key=lambda other: abs(other - stamp)) for q in self._queues]
        if max(chosen) - min(chosen) <= SLOP_S * 1e9:
            self._done(*(q.pop(s) for q, s in zip(self._queues, chosen, strict=True)))


class MinimalNode(Node):
    """Subscribes, matches, publishes."""

    def __init__(self) -> None:
        super().__init__("minimal_node")
        best_effort = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._outputs = Outputs(ros_messages)
        self._publisher = self.create_publisher(Image, "~/output/labels", 5)
        self._subscribe(best_effort)

    def _subscribe(self, qos: QoSProfile) -> None:
        topics = [(kind, f"~/input/{name}") for name, kind in INPUTS.items()]
        try:
            from message_filters import ApproximateTimeSynchronizer, Subscriber
        except ImportError:
            matcher = ApproximateTime(len(INPUTS), self._label)
            for number, (kind, topic) in enumerate(topics):
                callback = functools.partial(matcher.add, number)
                self.create_subscription(kind, topic, callback, qos)
            return
        filters = [Subscriber(self, kind, topic, qos_profile=qos) for kind, topic in topics]
        self._synchroniser = ApproximateTimeSynchronizer(filters, DEPTH, SLOP_S)
        self._synchroniser.registerCallback(self._label)

    def _label(self, image: Image, *others: Any) -> None:
        pixels = np.frombuffer(image.data, np.uint8).reshape(image.height, image.width, 3)
        labels = pixels[..., 0] & np.uint8(15)
        self._publisher.publish(self._outputs.labels(image.header, labels))


def main() -> None:
    """Runs until it is interrupted."""
    use_profile()
    rclpy.init()
    node = MinimalNode()
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
