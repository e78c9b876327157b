"""The node's subscriptions and publishers; created together, and gone together."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from rclpy.qos import (
    DurabilityPolicy,
    QoSCompatibility,
    QoSPolicyKind,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
)
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2

from memorysam_core.labels import LabelSpace
from memorysam_ros import interop
from memorysam_ros.conversions import Outputs, ros_messages
from memorysam_ros.parameters import Parameters
from memorysam_ros.result import CLOUDS, TOPICS, Result

try:
    from rclpy.event_handler import (
        PublisherEventCallbacks,
        SubscriptionEventCallbacks,
        UnsupportedEventTypeError,
    )
except ImportError:  # Humble
    from rclpy.qos_event import (
        PublisherEventCallbacks,
        SubscriptionEventCallbacks,
        UnsupportedEventTypeError,
    )

OVERRIDABLE = ("HISTORY", "DEPTH", "RELIABILITY", "DURABILITY")
"""What users may set of the quality of service of each topic, as ``qos_overrides``."""
OVERRIDES = QoSOverridingOptions([QoSPolicyKind[name] for name in OVERRIDABLE])

OnMessage = Callable[[str, Any], None]
OnLost = Callable[[str, int], None]
EVENT_DEPTH, DEPTH = 100, 5
"""Messages that DDS keeps for us; packets of events come by the hundred a second."""


@dataclass(frozen=True)
class Wanted:
    """A topic that is listened to."""

    sensor: str
    topic: str
    kind: Any
    depth: int = DEPTH
    choose: str = "remap another topic"
    """What to do if something else is published there."""


@dataclass(frozen=True)
class Note:
    """What the graph tells of a topic that is listened to."""

    sensor: str
    is_info: bool
    """Whether it is the sensor's camera_info."""
    obstacle: str
    """What is set up wrongly; empty if nothing is."""
    silence: str
    """Why nothing may come of it."""


class Inputs:
    """Subscriptions to the sensors: best effort, keep last (REP-2003), overridable."""

    def __init__(
        self,
        node: Any,
        parameters: Parameters,
        sensors: tuple[str, ...],
        on_message: OnMessage,
        on_camera_info: OnMessage,
        on_lost: OnLost,
    ) -> None:
        """``on_lost`` is told how many messages of a sensor DDS has lost.

        Raises what rclpy does for ``qos_overrides`` that it does not know; nothing is left then.
        """
        self._node = node
        self._subscriptions: list[tuple[Wanted, Any]] = []
        with ExitStack() as undo:
            undo.callback(self.destroy)
            for wanted, hear in (
                *((w, on_message) for w in _topics(node, parameters) if w.sensor in sensors),
                *((w, on_camera_info) for w in _INFOS if w.sensor in (*sensors, "image")),
            ):
                callback = functools.partial(hear, wanted.sensor)
                self._subscriptions.append((wanted, self._subscribe(wanted, callback, on_lost)))
            undo.pop_all()

    def notes(self) -> Iterator[Note]:
        """What may be in the way of each topic, as the graph tells now."""
        for wanted, subscription in self._subscriptions:
            topic = subscription.topic_name
            publishers = self._node.get_publishers_info_by_topic(topic)
            obstacle = next(self._obstacles(wanted, topic, publishers), "")
            silence = f"{topic} has a publisher that sends nothing"
            if not publishers:
                silence = f"nobody publishes {topic}"
            yield Note(wanted.sensor, wanted.kind is CameraInfo, obstacle, obstacle or silence)

    def destroy(self) -> None:
        """Unsubscribes."""
        for _, subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions.clear()

    def _obstacles(self, wanted: Wanted, topic: str, publishers: list[Any]) -> Iterator[str]:
        """What is wrong with the publishers of a topic that is subscribed to."""
        ours = own(self._node, self._node.get_subscriptions_info_by_topic(topic))
        for publisher in publishers if ours is not None else ():
            if publisher.topic_type != ours.topic_type:
                yield (
                    f"{topic} is published as {publisher.topic_type}, where {ours.topic_type} is "
                    f"listened to: {wanted.choose}"
                )
            elif policy := incompatible(publisher.qos_profile, ours.qos_profile):
                told = f"a publisher of {topic} offers an incompatible {policy}; "
                if policy in OVERRIDABLE:
                    setting = f"qos_overrides.{topic}.subscription.{policy.lower()}"
                    yield f"{told}set {setting} to what it offers"
                else:
                    yield f"{told}change it there"

    def _subscribe(self, wanted: Wanted, callback: Callable[[Any], None], on_lost: OnLost) -> Any:
        def lost(event: Any) -> None:
            if wanted.kind is not CameraInfo:  # of which any one will do
                on_lost(wanted.sensor, event.total_count_change)

        # rclpy's own callbacks would log what the diagnostics say, and cost time in each turn.
        for events in (
            SubscriptionEventCallbacks(message_lost=lost, use_default_callbacks=False),
            SubscriptionEventCallbacks(use_default_callbacks=False),
        ):
            try:
                return self._node.create_subscription(
                    wanted.kind,
                    wanted.topic,
                    callback,
                    QoSProfile(depth=wanted.depth, reliability=ReliabilityPolicy.BEST_EFFORT),
                    event_callbacks=events,
                    qos_overriding_options=OVERRIDES,
                )
            except UnsupportedEventTypeError:  # a middleware that does not count what it loses
                continue
        raise AssertionError("a subscription without event callbacks needs no event type")


def incompatible(offered: QoSProfile, asked: QoSProfile) -> str:
    """The policy that keeps two ends of a topic apart, such as RELIABILITY; empty if none does."""
    if qos_check_compatible(offered, asked)[0] != QoSCompatibility.ERROR:
        return ""
    if (offered.reliability, asked.reliability) == (
        ReliabilityPolicy.BEST_EFFORT,
        ReliabilityPolicy.RELIABLE,
    ):
        return "RELIABILITY"
    if (offered.durability, asked.durability) == (
        DurabilityPolicy.VOLATILE,
        DurabilityPolicy.TRANSIENT_LOCAL,
    ):
        return "DURABILITY"
    return "DEADLINE" if offered.deadline > asked.deadline else "LIVELINESS"


def own(node: Any, ends: list[Any]) -> Any:
    """The node's own end among those of a topic; None before it is discovered.

    Its quality of service is then complete, unlike that of the publisher or subscription itself.
    """
    name = node.get_name(), node.get_namespace()
    return next((end for end in ends if (end.node_name, end.node_namespace) == name), None)


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
                event_callbacks=PublisherEventCallbacks(use_default_callbacks=False),
                qos_overriding_options=OVERRIDES,
            )
            for topic, (kind, _) in TOPICS.items()
        }
        self._label_info = self._label_info_publisher()

    def wanted(self) -> bool:
        """Whether anybody subscribes to anything."""
        return any(p.get_subscription_count() for p in self._publishers.values())

    def wants(self, sensor: str) -> bool:
        """Whether anybody subscribes to what is made of a sensor beside the model's labels."""
        topics = CLOUDS.get(sensor, ())
        return any(self._publishers[topic].get_subscription_count() for topic in topics)

    def subscribers(self) -> int:
        """How many subscriptions there are to all outputs."""
        return sum(p.get_subscription_count() for p in self._publishers.values())

    def obstacles(self) -> Iterator[str]:
        """Who subscribes to an output and cannot hear it, as the graph tells now."""
        for publisher in self._publishers.values():
            topic = publisher.topic_name
            subscribers = self._node.get_subscriptions_info_by_topic(topic)
            ours = own(self._node, self._node.get_publishers_info_by_topic(topic))
            for subscriber in subscribers if ours is not None else ():
                who = f"{subscriber.node_namespace.rstrip('/')}/{subscriber.node_name}"
                if subscriber.topic_type != ours.topic_type:
                    yield f"{who} takes {topic} for {subscriber.topic_type}, not {ours.topic_type}"
                elif policy := incompatible(ours.qos_profile, subscriber.qos_profile):
                    told = f"{who} asks for another {policy} of {topic} than is offered; change it "
                    if policy in OVERRIDABLE:
                        setting = f"qos_overrides.{topic}.publisher.{policy.lower()}"
                        yield f"{told}there, or set {setting}"
                    else:
                        yield f"{told}there"

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


_INFOS = (
    Wanted("image", "~/input/camera_info", CameraInfo),
    Wanted("depth", "~/input/depth_camera_info", CameraInfo),
)


def _topics(node: Any, parameters: Parameters) -> Iterator[Wanted]:
    """The topics of the sensors. As image_transport does, the name of a compressed topic is that of
    the remapped raw one and the transport's.
    """
    for sensor in ("image", "depth"):
        topic, transport = f"~/input/{sensor}", getattr(parameters, sensor).transport
        choose = f"set {sensor}.transport, or remap another topic"
        if transport == "raw":
            yield Wanted(sensor, topic, Image, choose=choose)
        else:
            topic = f"{node.resolve_topic_name(topic)}/{transport}"
            yield Wanted(sensor, topic, CompressedImage, choose=choose)
    yield Wanted("lidar", "~/input/points", PointCloud2)
    choose = "set event.source to what it is, packets or image"
    if parameters.event.source == "image":
        yield Wanted("event", "~/input/events", Image, choose=choose)
    elif interop.optional("event_camera_msgs") is not None:
        from event_camera_msgs.msg import EventPacket

        yield Wanted("event", "~/input/events", EventPacket, EVENT_DEPTH, choose)
