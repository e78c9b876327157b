"""segment_node over DDS: what is set up wrongly is told once, where people look for it."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import scene
from rcl_interfaces.srv import GetParameters
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rig import MS, NodeProcess, Rig, S, Sensor
from rosgraph_msgs.msg import Clock as ClockMessage
from sensor_msgs.msg import CompressedImage, Image, PointCloud2

from memorysam_ros.conversions import Outputs, ros_messages, stamp_ns

OK, WARN, ERROR, STALE = b"\x00", b"\x01", b"\x02", b"\x03"
ROBOT = {name: Sensor(15, latency=0.01) for name in ("image", "depth", "event", "lidar")}


@pytest.fixture
def rig():
    robot = Rig()
    robot.subscribe_output("output/labels")
    yield robot
    robot.close()


@pytest.fixture
def start(tmp_path):
    processes = []

    def started(**parameters) -> NodeProcess:
        environment = parameters.pop("environment", None)
        names = {name.replace("__", "."): value for name, value in parameters.items()}
        processes.append(NodeProcess(tmp_path, environment=environment, **names))
        return processes[-1]

    yield started
    for process in processes:
        assert process.stop() == 0, process.log
        assert "Traceback" not in process.log


def told_once(rig, node, sensor: str, text: str) -> None:
    status = rig.wait(
        lambda: text in rig.status(f"sensor {sensor}").message and rig.status(f"sensor {sensor}"),
        lambda: f"{text!r} in {rig.status(f'sensor {sensor}')}",
    )
    assert status.level == b"\x02"
    rig.drive(ROBOT, 0.5)
    assert node.log.count(text) == 1, node.log
    assert f"{sensor} (" in rig.status().message


def test_a_wrong_encoding_is_told_once(rig, start):
    node = start()
    rig.wait_for_node()
    rig.send_info()

    def mono(t, message):
        message.encoding = "bgr8"
        return message

    ROBOT_MONO = ROBOT | {"depth": Sensor(15, latency=0.01, change=mono)}
    rig.drive(ROBOT_MONO, 0.7)
    status = rig.wait(
        lambda: rig.status("sensor depth").level == b"\x02" and rig.status("sensor depth"),
        "the error",
    )
    assert "has encoding 'bgr8'" in status.message
    assert node.log.count("has encoding 'bgr8'") == 1


def test_without_camera_info_and_with_an_uncalibrated_one(rig, start):
    node = start()
    rig.wait_for_node()
    rig.drive(ROBOT, 0.7)
    told_once(rig, node, "lidar", "nothing arrived on ~/input/camera_info")
    zero = scene.camera_info()
    zero.k = np.zeros(9)
    rig.send_info(zero)
    rig.drive(ROBOT, 0.7)
    told_once(rig, node, "lidar", "K is all zero")
    rig.send_info()
    rig.drive(ROBOT, 0.7)
    rig.wait(lambda: rig.status("sensor lidar").level == b"\x00", "its recovery")


def test_extrinsics_that_nobody_gives_name_both_frames(rig, start):
    node = start(lidar__camera_from_lidar=[0.0] * 7)
    rig.wait_for_node()
    rig.send_info()
    rig.drive(ROBOT, 0.7)
    told_once(rig, node, "lidar", "(frame 'lidar') to the camera (frame 'camera')")


RELIABLE = {
    "qos_overrides./segment_node/input/points.subscription.reliability": "reliable",
    "qos_overrides./segment_node/input/camera_info.subscription.reliability": "reliable",
}


def test_publishers_of_incompatible_quality_are_named_once_while_they_are_there(start):
    """One of a sensor that is not heard for it, and one of a camera_info whose camera is heard."""
    node, rig = start(**RELIABLE), Rig(ReliabilityPolicy.BEST_EFFORT)
    try:
        rig.subscribe_output("output/labels")
        rig.wait(lambda: rig.told("sensor lidar", "incompatible RELIABILITY", STALE), rig.status)
        rig.drive({"image": ROBOT["image"]}, 0.7)
        status = rig.told("sensor image", "incompatible RELIABILITY", WARN)[-1]["sensor image"]
        override = "qos_overrides./segment_node/input/camera_info.subscription.reliability"
        assert override in status.message
        for name in ("points", "camera_info"):
            said = f"/segment_node/input/{name} offers an incompatible RELIABILITY"
            assert node.log.count(said) == 1, node.log
        assert "incompatible QoS" not in node.log  # rclpy's own words for it

        quality = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
        for name in ("info_publisher", "lidar"):
            old = rig.publishers.pop(name, rig.info_publisher)
            new = rig.node.create_publisher(old.msg_type, old.topic_name, quality)
            rig.destroy(rig.node.destroy_publisher, old)
            if name == "lidar":
                rig.publishers[name] = new
            else:
                rig.info_publisher = new
        rig.wait_for_node()
        rig.clear()
        rig.send_info()
        rig.drive(ROBOT, 3.5)  # a report tells of two seconds
        assert rig.told("sensor lidar", "Hz", OK), rig.status("sensor lidar")
        assert rig.told("sensor image", "Hz", OK), rig.status("sensor image")
    finally:
        rig.close()


def test_another_type_on_a_topic_is_told_as_that(start):
    rig = Rig(image=CompressedImage, lidar=Image)
    start()
    try:
        rig.wait(
            lambda: rig.told(
                "sensor image", "nothing ever arrived: /segment_node/input/image", STALE
            ),
            lambda: rig.status("sensor image"),
        )
        assert (
            "is published as sensor_msgs/msg/CompressedImage, where sensor_msgs/msg/Image is "
            "listened to: set image.transport"
        ) in rig.status("sensor image").message
        assert "remap another topic" in rig.status("sensor lidar").message
    finally:
        rig.close()


def test_who_asks_for_more_than_an_output_offers_is_told(rig, start):
    start()
    rig.wait_for_node()
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    rig.node.create_subscription(Image, "/segment_node/output/color", print, latched)
    said = "/robot asks for another DURABILITY of /segment_node/output/color than is offered"
    rig.wait(lambda: rig.told("outputs", said, WARN), lambda: rig.status("outputs"))


def test_reliable_publishers_are_heard_as_well(start):
    start()
    rig = Rig(ReliabilityPolicy.RELIABLE)
    try:
        rig.subscribe_output("output/labels")
        rig.wait_for_node()
        rig.send_info()
        rig.label_all(ROBOT, 1.0)
    finally:
        rig.close()


def test_a_required_sensor_that_is_missing_stops_the_labels_and_says_so(rig, start):
    start(lidar__policy="required", matching__deadline=0.4, matching__silent_after=0.8)
    rig.wait_for_node()
    rig.send_info()
    rig.label_all(ROBOT, 1.0)
    rig.clear()
    rig.drive({name: ROBOT[name] for name in ("image", "depth", "event")}, 2.0)
    assert rig.told("segmentation", "cannot run: lidar (silent", ERROR), rig.status()
    assert len(rig.outputs()) <= 1  # the LiDAR's last reading may still suit the first image


def half_a_second_old(t, message):
    nanoseconds = stamp_ns(message) - S // 2
    message.header = Outputs(ros_messages).header(nanoseconds, message.header.frame_id)
    return message


def test_where_no_set_is_ever_complete_enough_it_is_an_error_with_the_reason(rig, start):
    start(lidar__policy="required", matching__silent_after=0.5)
    rig.wait_for_node()
    rig.send_info()
    rig.drive(ROBOT | {"lidar": Sensor(15, latency=0.01, change=half_a_second_old)}, 3.5)
    assert rig.outputs() == []
    reports = rig.told("segmentation", "s: sets dropped: no lidar (nearest is", ERROR)
    assert reports, rig.status()
    assert "tolerance 60 ms" in reports[-1]["segmentation"].message
    assert "missing in" in reports[-1]["sensor lidar"].message
    rig.clear()
    rig.drive(ROBOT, 1.5)
    assert rig.told("segmentation", "running on", OK) or rig.told(
        "segmentation", "running on", WARN
    )
    assert len(rig.outputs()) > 10


def test_while_the_camera_is_silent_and_nobody_can_stand_in_it_is_an_error(rig, start):
    start(matching__silent_after=0.5)
    rig.wait_for_node()  # and no camera_info is sent
    rig.drive({name: ROBOT[name] for name in ("depth", "event", "lidar")}, 4.0)
    assert rig.outputs() == []
    reports = rig.told("segmentation", "depth cannot stand in for it: nothing arrived on", ERROR)
    assert reports, rig.status()
    sent = set(rig.sent["depth"])  # the last of them may be labelled once there is a camera_info
    rig.clear()
    rig.send_info()
    rig.drive({name: ROBOT[name] for name in ("depth", "event", "lidar")}, 1.0)
    assert len(rig.outputs()) > 5
    assert set(rig.stamps()) <= sent | set(rig.sent["depth"])


def test_a_checkpoint_that_sees_images_only_serves_clouds_to_whoever_asks(rig, start):
    start(environment={"FAKE_MODALITIES": "image"})
    rig.destroy(rig.node.destroy_publisher, rig.publishers.pop("event"))
    rig.wait_for_node()
    rig.send_info()
    rig.drive({"image": ROBOT["image"]}, 4.0)  # so long that a sensor might be missed
    assert rig.status().message == "running on 1 of 1 sensors"
    assert len(rig.outputs()) > 40
    for topic in ("output/points", "output/organized_points"):
        rig.subscribe_output(topic, PointCloud2)
    rig.subscribe_output("debug/lidar_overlay")
    rig.wait_for_node()
    rig.clear()
    rig.drive({name: ROBOT[name] for name in ("image", "depth", "lidar")}, 2.0)
    rig.settle()
    stamps = set(rig.stamps())
    for topic in ("output/points", "output/organized_points", "debug/lidar_overlay"):
        assert set(rig.stamps(topic)) <= stamps
        assert len(rig.stamps(topic)) > len(stamps) / 2, rig.seen()
    organised = rig.outputs("output/organized_points")[0]
    assert (organised.height, organised.width) == (96, 160)
    assert rig.told("segmentation", "running on 3 of 3 sensors", OK)


def test_every_third_set_fails_and_the_others_come_through(rig, start):
    node = start(environment={"FAKE_FAILS": "3"})
    rig.wait_for_node()
    rig.send_info()
    rig.label_all(ROBOT, 2.0)
    failed = rig.count()["failed"]
    assert failed == (failed + len(rig.outputs())) // 3 > 2
    assert node.log.count("model: failed on the set of") == 1
    assert rig.told("segmentation", "sets failed in the model", WARN)


def test_nobody_subscribed_computes_nothing_and_costs_little(start):
    node = start()
    rig = Rig()
    try:
        rig.wait_for_node()
        rig.wait(lambda: "idle" in rig.status().message, "the node being idle")
        rig.send_info()
        before = cpu_seconds(node.process.pid)
        rig.drive(ROBOT, 2.0)
        share = (cpu_seconds(node.process.pid) - before) / 2.0
        assert "sets published" not in rig.seen()
        assert "model p50/p95/max (ms)" not in rig.seen()
        assert share < 0.5  # a thread that spins takes all of a core, on any machine
    finally:
        rig.close()


def cpu_seconds(pid: int) -> float:
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


WATCHED = """
import os, sys
sys.path[:0] = ["test/ros"]
from fake_model import load_fake
from rclpy.signals import install_signal_handlers
from memorysam_ros import segment_node

def threads():
    return set(os.listdir("/proc/self/task"))

others = threads()
install_signal_handlers()  # as rclpy.init will, and thereby starts the thread
(waking,) = threads() - others

class Watched(segment_node.SingleThreadedExecutor):
    def spin(self):
        try:
            print("started", flush=True)
            super().spin()
        finally:
            print("before", waking in threads())

    def shutdown(self):
        print("then", waking in threads())
        return super().shutdown()

segment_node.SingleThreadedExecutor = Watched
sys.exit(segment_node.main(["node"], load_fake))
"""


def test_nobody_wakes_the_executor_any_more_when_it_is_taken_down(tmp_path, repository):
    """rclpy's own thread does when a signal comes, and dies of an executor that ended meanwhile."""
    program = tmp_path / "watched.py"
    program.write_text(WATCHED)
    node = subprocess.Popen([sys.executable, program], cwd=repository, stdout=subprocess.PIPE)
    try:
        assert node.stdout.readline() == b"started\n"
        node.send_signal(signal.SIGINT)
        told, _ = node.communicate(timeout=60)
    finally:
        node.kill()
    assert (node.returncode, told) == (0, b"before True\nthen False\n")


def test_simulated_time_that_stands_still_and_starts_over(rig, start):
    start(use_sim_time=True, matching__deadline=0.1)
    clock = rig.node.create_publisher(ClockMessage, "/clock", 10)
    rig.wait_for_node()
    rig.wait(lambda: "/clock says nothing" in rig.status().message, "the diagnostic")
    rig.send_info()

    def tick(now: int) -> None:
        clock.publish(ClockMessage(clock=Outputs(ros_messages).header(now, "").stamp))

    def drive(start: int, seconds: float) -> None:
        """Ten sets a second of simulated time, whatever the wall says; the LiDAR is missing."""
        rig.clear()
        tick(start)  # the simulation is there before its sensors are
        rig.wait(lambda: start in map(stamp_ns, rig.received["/diagnostics"]), "the node's clock")
        images, before = rig.sent["image"], rig.count()

        def heard() -> int:
            """How many of the images, by the last report; DDS may have lost some."""
            return int(rig.values("sensor image")["messages"]) - before["heard"]

        for k in range(10, int(seconds * 100)):
            now = start + k * 10 * MS
            tick(now)
            if k % 10 == 0:
                for sensor in ("image", "depth", "event"):
                    rig.send(sensor, now)
            elif k % 10 == 5:  # time only goes on when the node has kept up
                rig.wait(lambda: len(rig.stamps()) >= heard() - 2, rig.seen)
                time.sleep(0.05)
        rig.settle()
        due = rig.due(before) - 1  # the last one's deadline is to come
        assert len(rig.stamps()) >= due > len(images) / 2
        assert rig.stamps() == [stamp for stamp in images if stamp in rig.stamps()]

    drive(5 * S, 2.0)
    drive(S, 2.0)  # the simulation starts over


def test_whoever_comes_late_can_read_the_label_space(rig, start):
    start()
    rig.wait_for_node()
    client = rig.node.create_client(GetParameters, "/segment_node/get_parameters")
    assert client.wait_for_service(10)
    names = ["label_space.name", "label_space.classes", "label_space.colors"]
    future = client.call_async(GetParameters.Request(names=names))
    rig.wait(future.done, "the parameters")
    name, classes, colours = future.result().values
    assert name.string_value == "deliver"
    assert classes.string_array_value[:2] == ["Building", "Fence"]
    assert colours.string_array_value[6] == "#804080"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["/nowhere/model.safetensors"], "cannot configure: .*nowhere/model.safetensors"),
        (["x", "--ros-args", "-p", "devise:=cpu"], "did you mean device"),
        (["x", "--ros-args", "-p", "device:=3"], "expecting type 'STRING'"),
    ],
)
def test_a_wrong_start_ends_with_one_line_that_says_why(words, says, repository):
    command = [sys.executable, "-m", "memorysam_core.cli", "node", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=repository, timeout=180)
    assert done.returncode == 1
    output = done.stdout + done.stderr
    assert re.search(says, output), output
    assert "Traceback" not in output


def test_an_unknown_parameter_in_a_file_is_refused(tmp_path, repository):
    path = tmp_path / "mine.yaml"
    path.write_text("/**:\n  ros__parameters:\n    lidr: {policy: hold}\n")
    command = [sys.executable, "-m", "memorysam_core.cli", "node", "--params-file", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=repository, timeout=180)
    assert done.returncode == 2
    assert "there is no parameter 'lidr.policy'; did you mean lidar.policy?" in done.stderr
