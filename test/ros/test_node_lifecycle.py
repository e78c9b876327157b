"""The node's lifecycle in this process: every legal order, and nothing left behind."""

from __future__ import annotations

import gc
import random
import threading
import weakref

import pytest
import rclpy
import scene
from fake_model import FakeModel, load_fake
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rig import MS, S
from sensor_msgs.msg import Image, PointCloud2

from memorysam_ros import node_topics
from memorysam_ros.segment_node import SUCCESS, SegmentNode

SETTINGS = {
    "event.source": "image",
    "checkpoint": "fake",
    "lidar.camera_from_lidar": [*scene.POSE[:3, 3].tolist(), 0.0, 0.0, 0.0, 1.0],
}
NEXT = {
    "unconfigured": {"configure": "inactive"},
    "inactive": {"activate": "active", "cleanup": "unconfigured"},
    "active": {"deactivate": "inactive"},
}


@pytest.fixture
def context():
    made = Context()
    rclpy.init(context=made)
    yield made
    rclpy.shutdown(context=made)


def node_of(context, load=load_fake, **settings) -> SegmentNode:
    values = SETTINGS | settings
    overrides = [Parameter(name, value=value) for name, value in values.items()]
    return SegmentNode(load, context=context, parameter_overrides=overrides)


@pytest.fixture
def node(context):
    made = node_of(context)
    yield made
    made.destroy_node()


def entities(node) -> tuple[int, ...]:
    return (
        len(list(node.subscriptions)),
        len(list(node.publishers)),
        len(list(node.timers)),
        len(list(node.services)),
        len(node._parameters),
        threading.active_count(),
    )


def test_fifty_transitions_in_any_legal_order_leave_nothing_behind(node):
    rng = random.Random(5)
    state, seen = "unconfigured", {}
    for _ in range(150):
        transition = rng.choice(sorted(NEXT[state]))
        assert getattr(node, f"trigger_{transition}")() == SUCCESS
        state = NEXT[state][transition]
        # The QoS overrides of a topic are declared when it is first subscribed, and stay.
        if state in seen and len(seen) == 3:
            counted = entities(node)
            assert counted[:4] == seen[state][:4]
            assert counted[5] == seen[state][5]
        seen[state] = entities(node)
    assert len(seen) == 3
    assert seen["active"][0] == seen["inactive"][0] + 6  # four sensors and two camera_infos
    assert seen["active"][5] == seen["inactive"][5] + 1  # the inference thread
    assert seen["unconfigured"][1] < seen["inactive"][1]


@pytest.mark.parametrize("path", [[], ["configure"], ["configure", "activate"]])
def test_shutdown_from_every_state(context, path):
    node = node_of(context)
    threads = threading.active_count()
    for transition in path:
        assert getattr(node, f"trigger_{transition}")() == SUCCESS
    assert node.trigger_shutdown() == SUCCESS
    assert threading.active_count() == threads
    node.destroy_node()


def test_cleanup_lets_go_of_the_model(context):
    models = []

    def load(parameters):
        model = FakeModel()
        models.append(weakref.ref(model))
        return model, {}

    node = node_of(context, load)
    for _ in range(3):
        node.start()
        node.trigger_deactivate()
        node.trigger_cleanup()
    gc.collect()
    assert [model() for model in models] == [None, None, None]
    node.destroy_node()


def test_a_failed_configure_can_be_tried_again(context):
    attempts = []

    def load(parameters):
        attempts.append(parameters.precision)
        if len(attempts) == 1:
            raise ValueError("no such file")
        return FakeModel(), {}

    node = node_of(context, load)
    assert node.trigger_configure() != SUCCESS
    assert node.why_not == "no such file"
    node.set_parameters([Parameter("precision", value="fp32")])
    assert node.start()
    assert attempts == ["auto", "fp32"]
    node.destroy_node()


def test_the_label_space_cannot_be_set_by_others(node):
    node.start()
    (result,) = node.set_parameters([Parameter("label_space.name", value="mine")])
    assert not result.successful
    assert "come from the checkpoint" in result.reason
    assert node.get_parameter("label_space.ignore").value == 255


def test_an_unknown_parameter_is_logged_with_the_known_ones(context, capfd):
    node = node_of(context, **{"lidr.offset": 0.1})
    node.destroy_node()
    assert "did you mean lidar.offset? Known are checkpoint" in "".join(capfd.readouterr())


def test_only_what_is_subscribed_is_made(context, monkeypatch):
    made = []

    def counted(topic, make):
        def message(*args):
            made.append(topic)
            return make(*args)

        return message

    topics = {t: (kind, counted(t, make)) for t, (kind, make) in node_topics.TOPICS.items()}
    monkeypatch.setattr(node_topics, "TOPICS", topics)
    node = node_of(context, **{"matching.deadline": 0.01})
    node.start()
    robot = rclpy.create_node("robot", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    executor.add_node(robot)
    received = []
    sender = robot.create_publisher(Image, "/segment_node/input/image", 10)
    robot.create_subscription(Image, "/segment_node/output/labels", received.append, 10)
    robot.create_subscription(PointCloud2, "/segment_node/output/points", received.append, 10)

    def spin_until(condition):
        for _ in range(2000):
            if condition():
                return
            executor.spin_once(timeout_sec=0.01)
        pytest.fail("timed out")

    spin_until(lambda: sender.get_subscription_count() and node._publications.subscribers() == 2)
    for k in range(3):
        sender.publish(scene.message_at("image", S + k * 100 * MS))
        spin_until(lambda k=k: len(received) == k + 1)
    assert set(made) == {"output/labels", "output/points"}  # of which the points have no scan
    assert len(received) == 3
    executor.shutdown()
    robot.destroy_node()
    node.destroy_node()
