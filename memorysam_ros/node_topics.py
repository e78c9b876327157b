"""The node's subscriptions and publishers; created together, and gone together."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy, qos_policy_name_from_kind
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2

from memorysam_core.labels import LabelSpace
from memorysam_ros import interop
from memorysam_ros.conversions import Outputs, ros_messages
from memorysam_ros.parameters import Parameters
from memorysam_ros.result import TOPICS, Result

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks

OnMessage = Callable[[str, Any], None]
EVENT_DEPTH, DEPTH = 100, 5
"""Messages that DDS keeps for us; packets of events come by the hundred a second."""


class Inputs:
    """Subscriptions to the sensors: best effort, keep last (REP-2003), overridable."""

    def __init__(
        self,
        node: Any,
        parameters: Parameters,
        sensors: tuple[str, ...],
        on_message: OnMessage,
        on_camera_info: OnMessage,
    ) -> None:
        self._node = node
        self.incompatible: dict[str, str] = {}
        """Sensors whose publisher offers another quality of service, and which policy differs."""
        self.by_sensor: dict[str, Any] = {}
        for sensor, (topic, kind, depth) in _topics(node, parameters).items():
            if sensor in sensors:
                callback = functools.partial(on_message, sensor)
                self.by_sensor[sensor] = self._subscribe(sensor, topic, kind, depth, callback)
        self._infos = []
        for sensor, topic in (
            ("image", "~/input/camera_info"),
            ("depth", "~/input/depth_camera_info"),
        ):
            if sensor in sensors or sensor == "image":
                callback = functools.partial(on_camera_info, sensor)
                self._infos.append(self._subscribe(sensor, topic, CameraInfo, DEPTH, callback))

    def notes(self) -> dict[str, str]:
        """For each sensor what may be in its way, as far as the graph tells."""
        notes = {}
        for sensor, subscription in self.by_sensor.items():
            topic = subscription.topic_name
            if sensor in self.incompatible:
                notes[sensor] = self.incompatible[sensor]
            elif not self._node.count_publishers(topic):
                notes[sensor] = f"nobody publishes {topic}"
            else:
                notes[sensor] = f"{topic} has a publisher that sends nothing"
        return notes

    def destroy(self) -> None:
        """Unsubscribes."""
        for subscription in (*self.by_sensor.values(), *self._infos):
            self._node.destroy_subscription(subscription)
        self.by_sensor.clear()
        self._infos.clear()

    def _subscribe(
        self, sensor: str, topic: str, kind: Any, depth: int, callback: Callable[[Any], None]
    ) -> Any:
        def incompatible(event: Any) -> None:
            policy = qos_policy_name_from_kind(event.last_policy_kind)
            self.incompatible[sensor] = (
                f"a publisher of {resolved} offers an incompatible {policy}; set qos_overrides."
                f"{resolved}.subscription.{policy.lower()} to what it offers"
            )

        resolved = self._node.resolve_topic_name(topic)
        return self._node.create_subscription(
            kind,
            topic,
            callback,
            QoSProfile(depth=depth, reliability=ReliabilityPolicy.BEST_EFFORT),
            event_callbacks=SubscriptionEventCallbacks(incompatible_qos=incompatible),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )


class Publications:
    """Publishers of the outputs: reliable; a message is only made where somebody subscribes."""

    def __init__(self, node: Any, parameters: Parameters, label_space: LabelSpace) -> None:
        self._node = node
        self._opacity = parameters.overlay_opacity
        self._outputs = Outputs(ros_messages)
        self._label_space = label_space
        kinds = {kind.__name__: kind for kind in (CameraInfo, Image, PointCloud2)}
        self._publishers = {
            topic: node.create_lifecycle_publisher(
                kinds[kind.rpartition("/")[2]],
                f"~/{topic}",
                QoSProfile(depth=DEPTH, reliability=ReliabilityPolicy.RELIABLE),
                qos_overriding_options=QoSOverridingOptions.with_default_policies(),
            )
            for topic, (kind, _) in TOPICS.items()
        }
        self._label_info = self._label_info_publisher()

    def wanted(self) -> bool:
        """Whether anybody subscribes to anything."""
        return any(p.get_subscription_count() for p in self._publishers.values())

    def subscribers(self) -> int:
        """How many subscriptions there are to all outputs."""
        return sum(p.get_subscription_count() for p in self._publishers.values())

    def publish(self, result: Result) -> None:
        """Makes and publishes the messages that somebody subscribes to."""
        for topic, publisher in self._publishers.items():
            if publisher.get_subscription_count():
                message = TOPICS[topic][1](result, self._outputs, self._opacity)
                if message is not None:
                    publisher.publish(message)

    def publish_label_info(self, stamp_ns: int, frame: str) -> None:
        """Names the labels, once, for those who come later too. Nothing without vision_msgs."""
        if self._label_info is not None:
            header = self._outputs.header(stamp_ns, frame)
            self._label_info.publish(self._outputs.label_info(header, self._label_space))

    def destroy(self) -> None:
        """Withdraws the topics."""
        for publisher in (*self._publishers.values(), self._label_info):
            if publisher is not None:
                self._node.destroy_lifecycle_publisher(publisher)
        self._publishers.clear()
        self._label_info = None

    def _label_info_publisher(self) -> Any:
        if interop.optional("vision_msgs") is None:
            return None
        from vision_msgs.msg import LabelInfo

        latched = QoSProfile(
            depth=1,
            reliability=ReliabilityPolicy.RELIABLE,
            durability=DurabilityPolicy.TRANSIENT_LOCAL,
        )
        return self._node.create_lifecycle_publisher(LabelInfo, "~/output/label_info", latched)


def _topics(node: Any, parameters: Parameters) -> Mapping[str, tuple[str, Any, int]]:
    """By sensor its topic, message type and depth. As image_transport does, the name of a
    compressed topic is that of the remapped raw one and the transport's.
    """

    def image(topic: str, transport: str) -> tuple[str, Any, int]:
        if transport == "raw":
            return topic, Image, DEPTH
        return f"{node.resolve_topic_name(topic)}/{transport}", CompressedImage, DEPTH

    topics = {
        "image": image("~/input/image", parameters.image.transport),
        "depth": image("~/input/depth", parameters.depth.transport),
        "lidar": ("~/input/points", PointCloud2, DEPTH),
    }
    if parameters.event.source == "image":
        topics["event"] = ("~/input/events", Image, DEPTH)
    elif interop.optional("event_camera_msgs") is not None:
        from event_camera_msgs.msg import EventPacket

        topics["event"] = ("~/input/events", EventPacket, EVENT_DEPTH)
    return topics
