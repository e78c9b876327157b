"""What to compare with: the least that a node with approximate time matching can do.

It converts nothing and draws nothing: four messages of about one stamp become one message of
labels. Matching is message_filters' where that is installed, else the same rule in a few lines.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image, PointCloud2

from memorysam_ros.conversions import Outputs, ros_messages
from memorysam_ros.dds import use_profile
from memorysam_ros.interop import ApproximateTimeSynchronizer, Subscriber

INPUTS = {"image": Image, "depth": Image, "events": Image, "points": PointCloud2}
SLOP_S, DEPTH = 0.05, 10


class MinimalNode(Node):
    """Subscribes, matches, publishes."""

    def __init__(self) -> None:
        super().__init__("minimal_node")
        best_effort = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._outputs = Outputs(ros_messages)
        self._publisher = self.create_publisher(Image, "~/output/labels", 5)
        filters = [
            Subscriber(self, kind, f"~/input/{name}", qos_profile=best_effort)
            for name, kind in INPUTS.items()
        ]
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
