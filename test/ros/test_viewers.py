"""What RViz and Foxglove are told to show is published, of the type that the panel takes."""

import json

import pytest
import yaml

from memorysam_ros.result import TOPICS

IMAGE, CLOUD = "sensor_msgs/msg/Image", "sensor_msgs/msg/PointCloud2"
NODE = "/segment_node/"


def type_of(topic: str) -> str:
    assert topic.startswith(NODE), topic
    return TOPICS[topic.removeprefix(NODE)][0]


@pytest.fixture
def displays(repository):
    content = yaml.safe_load((repository / "config" / "memorysam.rviz").read_text())
    return [d for d in content["Visualization Manager"]["Displays"] if "Topic" in d]


def test_rviz_displays_take_the_type_and_the_quality_of_their_topics(displays):
    takes = {"rviz_default_plugins/Image": IMAGE, "rviz_default_plugins/PointCloud2": CLOUD}
    assert {d["Class"] for d in displays} == set(takes)
    for display in displays:
        topic = display["Topic"]
        assert type_of(topic["Value"]) == takes[display["Class"]], display["Name"]
        # The outputs are reliable and volatile: docs/node.md.
        assert topic["Reliability Policy"] == "Reliable"
        assert topic["Durability Policy"] == "Volatile"
    assert len({d["Topic"]["Value"] for d in displays}) == len(displays)


def test_rviz_shows_at_first_what_eyes_can_read(displays):
    enabled = {d["Topic"]["Value"].removeprefix(NODE) for d in displays if d["Enabled"]}
    assert enabled == {"output/overlay", "output/color", "output/points"}
    assert "labels" not in {d["Topic"]["Value"].rpartition("/")[2] for d in displays}


def test_foxglove_panels_take_the_type_of_their_topics(repository):
    layout = json.loads((repository / "config" / "foxglove_layout.json").read_text())
    for name, panel in layout["configById"].items():
        kind = name.partition("!")[0]
        if kind == "Image":
            assert type_of(panel["imageMode"]["imageTopic"]) == IMAGE
        elif kind == "3D":
            assert {type_of(topic) for topic in panel["topics"]} == {CLOUD}
        else:
            assert kind in ("DiagnosticSummary", "DiagnosticStatusPanel")
            assert panel["topicToRender"] == "/diagnostics"


def test_foxglove_s_latency_panel_names_a_status_that_the_node_publishes(repository):
    rclpy = pytest.importorskip("rclpy")
    from memorysam_ros.diagnostics import Circumstances, Diagnostics
    from memorysam_ros.node_health import HealthReporter

    layout = json.loads((repository / "config" / "foxglove_layout.json").read_text())
    panel = layout["configById"]["DiagnosticStatusPanel!latency"]
    told = []
    rclpy.init()
    try:
        node = rclpy.create_node("segment_node")
        reporter = HealthReporter(node)
        reporter._publisher = type("Ear", (), {"publish": staticmethod(told.append)})
        reporter.publish(Diagnostics({"image": True}, 0).report(1, {}, Circumstances()))
        node.destroy_node()
    finally:
        rclpy.try_shutdown()
    (message,) = told
    sought = (panel["selectedHardwareId"], panel["selectedName"])
    assert sought in {(status.hardware_id, status.name) for status in message.status}
