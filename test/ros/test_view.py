import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("foxglove")

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from foxglove_client import FoxgloveClient
from rclpy.context import Context
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from scene import message_at
from sensor_msgs.msg import Image, PointCloud2

from memorysam_ros import conversions, view_level
from memorysam_ros import view as view_module
from memorysam_ros.bags.types import typestore
from memorysam_ros.result import TOPICS
from memorysam_ros.view import View

ROOT = Path(__file__).resolve().parents[2]
STAMP = 1_700_000_000_123_456_789


def wait(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.02)


@pytest.fixture
def graph(monkeypatch):
    """A robot's node, and a view that runs."""
    context = Context()
    rclpy.init(context=context)
    robot = rclpy.create_node("robot", context=context)
    rclpy.init()
    viewer = rclpy.create_node("viewer")
    skipped = []
    view = View(viewer, "127.0.0.1", 0, (), lambda *topic: skipped.append(topic))
    view.told_skipped = skipped
    stop = threading.Event()
    thread = threading.Thread(target=view.run, args=(stop,))
    thread.start()
    yield robot, view
    stop.set()
    thread.join()
    view.close()
    viewer.destroy_node()
    rclpy.try_shutdown()
    robot.destroy_node()
    rclpy.shutdown(context=context)


def test_messages_arrive_as_they_were_sent_with_the_definition_of_their_type(graph):
    robot, view = graph
    sent = {"/camera/image": message_at("image", STAMP), "/points": message_at("lidar", STAMP)}
    kinds = {"/camera/image": Image, "/points": PointCloud2}
    publishers = {n: robot.create_publisher(kinds[n], n, 10) for n in sent}
    client = FoxgloveClient(view.port)
    for number, name in enumerate(sent):
        client.subscribe(name, number)
    wait(lambda: all(p.get_subscription_count() for p in publishers.values()))
    for name, message in sent.items():
        publishers[name].publish(message)
    received = dict(client.message() for _ in sent)
    for number, (name, message) in enumerate(sent.items()):
        channel = client.channel(name)
        assert channel["encoding"] == "cdr"
        assert channel["schemaEncoding"] == "ros2msg"
        assert "std_msgs/Header header" in channel["schema"]
        read = typestore().deserialize_cdr(received[number], channel["schemaName"])
        assert read.header.stamp.nanosec == message.header.stamp.nanosec
        np.testing.assert_array_equal(read.data, np.frombuffer(message.data, np.uint8))
        assert len(received[number]) == len(serialize_message(message))
    client.close()


def test_only_what_is_watched_is_subscribed_to(graph):
    robot, view = graph
    watched, other = (robot.create_publisher(Image, name, 10) for name in ("/a", "/b"))
    client = FoxgloveClient(view.port)
    client.subscribe("/a", 1)
    wait(watched.get_subscription_count)
    assert {"/a", "/b"} <= set(view.topics)
    assert other.get_subscription_count() == 0
    client.unsubscribe(1)
    wait(lambda: not watched.get_subscription_count())
    client.subscribe("/b", 2)
    wait(other.get_subscription_count)
    client.close()
    wait(lambda: not other.get_subscription_count())


def test_a_latched_topic_reaches_who_comes_later(graph):
    robot, view = graph
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    publisher = robot.create_publisher(DiagnosticArray, "/latched", latched)
    publisher.publish(DiagnosticArray())
    first, second = FoxgloveClient(view.port), FoxgloveClient(view.port)
    first.subscribe("/latched", 5)
    assert first.message()[0] == 5
    second.subscribe("/latched", 6)  # it came when the first did, and comes no more by itself
    assert second.message()[0] == 6
    first.close()
    second.close()


def test_a_publisher_that_returns_as_less_reliable_is_heard(graph):
    robot, view = graph
    client = FoxgloveClient(view.port)
    for number, reliability in enumerate(("RELIABLE", "BEST_EFFORT")):
        publisher = robot.create_publisher(
            DiagnosticArray,
            "/status",
            QoSProfile(depth=5, reliability=ReliabilityPolicy[reliability]),
        )
        if number == 0:
            client.subscribe("/status", 3)
        wait(publisher.get_subscription_count)
        publisher.publish(DiagnosticArray())
        assert client.message()[0] == 3
        robot.destroy_publisher(publisher)
    client.close()


def test_topics_of_unknown_types_are_told_when_they_are_found(graph, monkeypatch):
    robot, view = graph
    known = view_module.ros_class

    def without_clouds(msgtype):
        if msgtype == "sensor_msgs/msg/PointCloud2":
            raise ModuleNotFoundError
        return known(msgtype)

    monkeypatch.setattr(view_module, "ros_class", without_clouds)
    publishers = [robot.create_publisher(PointCloud2, "/cloud", 10) for _ in range(2)]
    wait(lambda: view.told_skipped)
    time.sleep(0.5)
    assert view.told_skipped == [("/cloud", "sensor_msgs/msg/PointCloud2")]
    assert publishers and "/cloud" not in view.topics


def test_without_transforms_the_camera_is_taken_to_be_level(graph):
    robot, view = graph
    topic = "/segment_node/output/points"
    publisher = robot.create_publisher(PointCloud2, topic, 10)
    client = FoxgloveClient(view.port)
    for number, name in enumerate((topic, view_level.TOPIC)):
        client.subscribe(name, number)
    wait(publisher.get_subscription_count)
    cloud = message_at("lidar", STAMP)
    cloud.header.frame_id = "front_optical"
    publisher.publish(cloud)
    received = dict(client.message() for _ in range(2))
    read = typestore().deserialize_cdr(received[1], "tf2_msgs/msg/TFMessage")
    (edge,) = (conversions.stamped_transform(t) for t in read.transforms)
    assert edge.child == "front_optical"
    forward, right, down = np.eye(3)[[2, 0, 1]]
    rotated = edge.parent_from_child[:3, :3] @ np.stack([forward, -right, -down], axis=1)
    np.testing.assert_allclose(rotated, np.eye(3), atol=1e-12)
    assert client.message()[0] == 1  # once more, for who comes later
    listener = robot.create_subscription(Image, "/tf", print, 10)  # as a node that uses TF is
    wait(lambda: "/tf" in view.topics)
    assert client.message()[0] == 1 and view._level is not None
    transforms = robot.create_publisher(Image, "/tf", 10)
    wait(lambda: view._level is None)
    assert transforms and listener
    client.close()


def test_a_port_that_is_taken_is_said():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"127.0.0.1:{port}"):
            View(None, "127.0.0.1", port)


def test_it_serves_this_machine_alone_and_ends_in_order_by_ctrl_c():
    process = subprocess.Popen(
        [sys.executable, "-m", "memorysam_core.cli", "view", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    line = process.stdout.readline()
    assert line.startswith("serving on ws://127.0.0.1:"), line + process.stdout.read()
    layout = Path(process.stdout.readline().removeprefix("layout: ").strip())
    assert layout.name == "foxglove_layout.json"
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0, process.stdout.read()


def test_the_layout_shows_topics_that_the_node_publishes():
    layout = json.loads((ROOT / "config" / "foxglove_layout.json").read_text())
    panels = layout["configById"]
    shown = {c["imageMode"]["imageTopic"] for n, c in panels.items() if n.startswith("Image!")}
    shown |= set(panels["3D!points"]["topics"])
    assert {topic.removeprefix("/segment_node/") for topic in shown} <= set(TOPICS)

    def leaves(part):
        return [part] if isinstance(part, str) else leaves(part["first"]) + leaves(part["second"])

    assert sorted(leaves(layout["layout"])) == sorted(panels)
