"""segment_node over DDS: what is set up wrongly is told once, where people look for it."""

from __future__ import annotations

import re
import subprocess
import sys
import time

import numpy as np
import pytest
import scene
from rcl_interfaces.srv import GetParameters
from rclpy.qos import ReliabilityPolicy
from rig import MS, NodeProcess, Rig, S, Sensor
from rosgraph_msgs.msg import Clock as ClockMessage

from memorysam_ros.conversions import Outputs, ros_messages

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


def test_a_publisher_of_incompatible_quality_is_named(start):
    node = start(
        **{"qos_overrides./segment_node/input/points.subscription.reliability": "reliable"}
    )
    rig = Rig(ReliabilityPolicy.BEST_EFFORT)
    try:
        rig.subscribe_output("output/labels")
        rig.wait(lambda: "incompatible RELIABILITY" in rig.status("sensor lidar").message, "it")
        assert "qos_overrides./segment_node/input/points" in node.log
    finally:
        rig.close()


def test_reliable_publishers_are_heard_as_well(start):
    start()
    rig = Rig(ReliabilityPolicy.RELIABLE)
    try:
        rig.subscribe_output("output/labels")
        rig.wait_for_node()
        rig.send_info()
        rig.drive(ROBOT, 0.6)
        rig.wait(lambda: rig.stamps() == rig.sent["image"], "all labels")
    finally:
        rig.close()


def test_a_required_sensor_that_is_missing_stops_the_labels_and_says_so(rig, start):
    start(lidar__policy="required", matching__silent_after=0.5)
    rig.wait_for_node()
    rig.send_info()
    rig.drive(ROBOT, 0.5)
    rig.wait(lambda: rig.stamps() == rig.sent["image"], "all labels")
    rig.clear()
    rig.drive({name: ROBOT[name] for name in ("image", "depth", "event")}, 1.0)
    rig.wait(lambda: "cannot run: lidar (silent" in rig.status().message, "the diagnostic")
    assert rig.status().level == b"\x02"
    assert len(rig.outputs()) <= 1  # the LiDAR's last reading may still suit the first image


def test_every_third_set_fails_and_the_others_come_through(rig, start):
    node = start(environment={"FAKE_FAILS": "3"})
    rig.wait_for_node()
    rig.send_info()
    rig.drive(ROBOT, 1.2)
    wanted = [stamp for k, stamp in enumerate(rig.sent["image"], 1) if k % 3]
    rig.wait(lambda: rig.stamps() == wanted, lambda: f"{rig.stamps()} for {wanted}")
    assert node.log.count("model: failed on the set of") == 1
    rig.wait(lambda: "sets failed in the model" in rig.status().message, "the diagnostic")


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
        assert share < 0.15
    finally:
        rig.close()


def cpu_seconds(pid: int) -> float:
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def test_simulated_time_that_stands_still_and_starts_over(rig, start):
    start(use_sim_time=True, matching__deadline=0.1)
    clock = rig.node.create_publisher(ClockMessage, "/clock", 10)
    rig.wait_for_node()
    rig.wait(lambda: "/clock says nothing" in rig.status().message, "the diagnostic")
    rig.send_info()

    def drive(seconds: float) -> None:
        """Ten sets a second of simulated time, whatever the wall says; the LiDAR is missing."""
        rig.clear()
        images = rig.sent["image"]
        for k in range(int(seconds * 100)):
            now = S + k * 10 * MS
            clock.publish(ClockMessage(clock=Outputs(ros_messages).header(now, "").stamp))
            if k % 10 == 0:
                for sensor in ("image", "depth", "event"):
                    rig.send(sensor, now)
            elif k % 10 == 5:  # time only goes on when the node has kept up
                if len(images) > 4:
                    rig.wait(lambda: images[-2] in rig.stamps(), rig.seen)
                else:
                    time.sleep(0.1)
        rig.settle()
        # An image may come before the clock that starts over with it, and is forgotten then.
        assert rig.stamps()[-len(images) + 3 :] == images[3:]
        assert rig.stamps() == sorted(set(rig.stamps()))

    drive(2.0)
    drive(2.0)  # the simulation starts over


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
