"""segment_node in a process of its own, over DDS: sensors that come, go, and misbehave."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scene
from fake_model import CONTRACT, SIZE, FakeModel
from rig import MS, NodeProcess, Rig, S, Sensor

TOLERANCE = {"depth": 50 * MS, "event": 30 * MS, "lidar": 60 * MS}
ROBOT = {
    "image": Sensor(15, phase=0.011, latency=0.03),
    "depth": Sensor(30, phase=0.004, latency=0.01),
    "event": Sensor(20, phase=0.021, latency=0.02),
    "lidar": Sensor(10, phase=0.033, latency=0.05),
}


@pytest.fixture(scope="module")
def rig():
    robot = Rig()
    robot.subscribe_output("output/labels")
    yield robot
    robot.close()


@pytest.fixture(scope="module")
def node(rig, tmp_path_factory):
    process = NodeProcess(tmp_path_factory.mktemp("node"), **{"matching.silent_after": 0.5})
    rig.wait_for_node()
    rig.send_info()
    yield process
    assert process.stop() == 0, process.log
    assert "Traceback" not in process.log


@pytest.fixture
def patient(rig, node):
    """Settings under which no reading is late on a slow machine."""
    rig.reconfigure({"matching.deadline": 2.0, "matching.silent_after": 5.0})
    yield
    rig.reconfigure({"matching.deadline": 0.1, "matching.silent_after": 0.5})
    rig.drive(ROBOT, 0.3)  # a sensor can only fall silent if it was heard


def partners(sent: dict[str, list[int]], stamp: int) -> dict[str, int]:
    """For an image the readings that belong to it: nearest, within tolerance."""
    chosen = {"image": stamp}
    for sensor, tolerance in TOLERANCE.items():
        nearest = min(sent[sensor], key=lambda s: abs(s - stamp), default=None)
        if nearest is not None and abs(nearest - stamp) <= tolerance:
            chosen[sensor] = nearest
    return chosen


def labels_of(message) -> np.ndarray:
    return np.frombuffer(message.data, np.uint8).reshape(message.height, message.width)


def disagreements(rig, without: str = "") -> list[int]:
    """Which of the published labels differ from the model's on sets made here from the stamps."""
    differ = []
    for number, (message, stamp) in enumerate(zip(rig.outputs(), rig.stamps(), strict=True)):
        chosen = partners(rig.sent, stamp)
        chosen.pop(without, None)
        frames = scene.frames_at(CONTRACT, SIZE, chosen)
        wanted = FakeModel().segment(frames, (message.height, message.width)).labels
        if not np.array_equal(labels_of(message), wanted):
            differ.append(number)
    return differ


def label_all(rig, sensors, seconds: float, lost: int = 0, start_ns=None) -> None:
    """Drives until all images but ``lost`` are labelled, once and in order, and nothing else."""
    rig.settle()
    rig.clear()
    rig.drive(sensors, seconds, start_ns)
    images = rig.sent["image"]
    rig.wait(
        lambda: len(rig.outputs()) >= len(images) - lost,
        lambda: (
            f"no labels of {[k for k, t in enumerate(images) if t not in rig.stamps()]}; seen "
            f"in diagnostics: {rig.seen()}"
        ),
        seconds=3.0,
    )
    stamps = rig.stamps()
    assert stamps == sorted(set(stamps))
    assert set(stamps) <= set(images)


def test_every_image_is_labelled_once_in_order_with_its_header(rig, patient):
    label_all(rig, ROBOT, 3.0)
    assert rig.stamps() == rig.sent["image"]
    assert {m.header.frame_id for m in rig.outputs()} == {"camera"}
    assert {(m.height, m.width, m.encoding) for m in rig.outputs()} == {(96, 160, "mono8")}
    assert disagreements(rig) == []


def garbage(t, message):
    message.data = message.data[: len(message.data) // 2]
    return message


def an_hour_ahead(t, message):
    message.header.stamp.sec += 3600
    return message


FAULTS = {
    "silent": ({"silent": (0.0, 9.0)}, ("silent for", b"\x03")),
    "late": ({"latency": 0.5}, ("missing in", b"\x01")),
    "garbage": ({"change": garbage}, ("bytes", b"\x02")),
    "jumping": ({"change": an_hour_ahead}, ("missing in", b"\x01")),
}


@pytest.mark.parametrize(
    ("fault", "sensor"),
    [*itertools.product(FAULTS, ("depth", "event", "lidar")), ("garbage", "image")],
)
def test_a_faulty_sensor_is_named_costs_nothing_else_and_recovers(rig, node, sensor, fault):
    changes, (says, level) = FAULTS[fault]
    broken = Sensor(ROBOT[sensor].rate, ROBOT[sensor].phase, **changes)
    label_all(rig, ROBOT | {sensor: broken}, 1.2, lost=1)
    named = f"sensor {sensor}"
    rig.wait(
        lambda: says in rig.status(named).message and rig.status(named).level == level,
        lambda: rig.status(named),
    )
    others = [s for s in ROBOT if s != sensor]
    assert all(rig.status(f"sensor {s}").level != b"\x03" for s in others)
    # At both ends of the drive all sensors pause; one late reading in between is the machine's.
    assert len([k for k in disagreements(rig, sensor) if 3 <= k < 15]) <= 1

    label_all(rig, ROBOT, 0.8)
    recovered = [k for k in range(4, 10) if k not in disagreements(rig)]
    assert len(recovered) >= 4
    assert all(sensor in partners(rig.sent, rig.stamps()[k]) for k in recovered)


@pytest.mark.parametrize("sensor", ["image", "depth", "event", "lidar"])
def test_a_driver_that_restarts_is_found_again(rig, node, sensor):
    label_all(rig, ROBOT, 0.4)
    rig.restart(sensor)
    label_all(rig, ROBOT, 0.6)
    assert sensor in partners(rig.sent, rig.stamps()[-1])
    rig.wait(lambda: rig.status(f"sensor {sensor}").level in (b"\x00", b"\x01"), "its recovery")


def test_with_only_the_camera_left_labels_keep_their_rate(rig, node):
    label_all(rig, ROBOT, 0.3)
    label_all(rig, {"image": ROBOT["image"]}, 1.5, lost=2)
    rig.wait(lambda: "running on 1 of 4 sensors" in rig.status().message, "the right diagnostic")
    for sensor in ("depth", "event", "lidar"):
        assert sensor in rig.status().message


def test_while_the_camera_is_silent_depth_leads(rig, node):
    label_all(rig, ROBOT, 0.3)
    rig.settle()
    rig.clear()
    blind = {name: sensor for name, sensor in ROBOT.items() if name != "image"}
    rig.drive(blind, 2.0)
    rig.wait(lambda: "image (silent" in rig.status().message, "the right diagnostic")
    rig.wait(lambda: len(rig.outputs()) > 20, "labels led by depth")
    assert set(rig.stamps()) <= set(rig.sent["depth"])
    rig.drive(ROBOT, 0.6)  # until the camera is back, depth still leads
    rig.wait(lambda: len(set(rig.stamps()) & set(rig.sent["image"])) >= 6, "the camera leading")
    label_all(rig, ROBOT, 0.6)


def test_a_bag_that_loops_is_labelled_in_every_round(rig, node):
    for _ in range(3):
        label_all(rig, ROBOT, 0.8, start_ns=1000 * S)
