"""segment_node in a process of its own, over DDS: sensors that come, go, and misbehave.

What is due is counted, not timed: of what the node has heard of the leading sensor, and its model
had time for, labels of nine tenths must come, however busy the machine; and of those, nine tenths
must be of the readings that belong together, but for what DDS lost before the node heard it.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import scene
from fake_model import CONTRACT, SIZE, FakeModel
from rig import MS, NodeProcess, Rig, S, Sensor

from memorysam_ros.conversions import stamp_ns

TOLERANCE = {"depth": 50 * MS, "event": 30 * MS, "lidar": 60 * MS}
ROBOT = {
    "image": Sensor(15, phase=0.011, latency=0.03),
    "depth": Sensor(30, phase=0.004, latency=0.01),
    "event": Sensor(20, phase=0.021, latency=0.02),
    "lidar": Sensor(10, phase=0.033, latency=0.05),
}
DEADLINE, SILENT_AFTER = 0.4, 0.8
"""Such that nothing is late only because the machine is busy."""
EDGE = 3
"""Images at each end of a drive whose partners it cannot be known that the node waits for: there,
all sensors pause together."""


@pytest.fixture(scope="module")
def rig():
    robot = Rig()
    robot.subscribe_output("output/labels")
    yield robot
    robot.close()


@pytest.fixture(scope="module")
def node(rig, tmp_path_factory):
    settings = {"matching.deadline": DEADLINE, "matching.silent_after": SILENT_AFTER}
    settings["diagnostics_period"] = 0.1  # a report then tells of one second
    process = NodeProcess(tmp_path_factory.mktemp("node"), **settings)
    rig.wait_for_node()
    rig.send_info()
    yield process
    assert process.stop() == 0, process.log
    assert "Traceback" not in process.log


@pytest.fixture
def patient(rig, node):
    """Settings under which no reading is late on any machine."""
    rig.reconfigure({"matching.deadline": 2.0, "matching.silent_after": 5.0})
    yield
    rig.reconfigure({"matching.deadline": DEADLINE, "matching.silent_after": SILENT_AFTER})


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


def agreeing(rig, without: str = "") -> tuple[list[dict[str, int]], list[str]]:
    """The sets whose labels equal the model's on the readings that belong together, but for one
    sensor, away from both ends of the drive, each by its sensors' stamps; and of every other label
    there, what it was made of.
    """
    sets, others = [], []
    for message in rig.outputs():
        place = rig.sent["image"].index(stamp_ns(message))
        if not EDGE <= place < len(rig.sent["image"]) - EDGE:
            continue
        chosen = partners(rig.sent, stamp_ns(message))
        chosen.pop(without, None)
        if made_of(message, chosen):
            sets.append(chosen)
        else:
            others.append(f"image {place} lacks {lacking(message, chosen)}")
    return sets, others


def lacking(message, chosen: dict[str, int]) -> str:
    """Which of these sensors the labels were made without."""
    for count in range(1, len(chosen)):
        for names in combinations(chosen, count):
            if made_of(message, {k: v for k, v in chosen.items() if k not in names}):
                return ", ".join(names)
    return "nothing, but is of other readings"


def made_of(message, chosen: dict[str, int]) -> bool:
    """Whether these labels are the model's on readings of these stamps."""
    frames = scene.frames_at(CONTRACT, SIZE, chosen)
    wanted = FakeModel().segment(frames, (message.height, message.width)).labels
    return np.array_equal(labels_of(message), wanted)


def agree(rig, without: str = "", spare: int = 0) -> list[dict[str, int]]:
    """:func:`agreeing` sets, asserted to be at most a tenth fewer than the labels away from both
    ends of the drive, and than the images to which belongs what the node never heard.
    """
    sets, others = agreeing(rig, without)
    lost = {name: count for name, count in rig.unheard.items() if name != "image" and count > 0}
    assert all(count < len(rig.sent[name]) / 3 for name, count in lost.items()), lost
    spare += 2 * sum(lost.values())  # a scan belongs to up to two images
    assert len(sets) >= 0.9 * (len(rig.outputs()) - 2 * EDGE - spare), (others, lost)
    return sets


def test_every_image_is_labelled_once_in_order_with_its_header(rig, patient):
    before = rig.count()
    rig.label_all(ROBOT, 3.0)
    assert len(rig.outputs()) == rig.due(before)  # all that the model had time for
    assert {m.header.frame_id for m in rig.outputs()} == {"camera"}
    assert {(m.height, m.width, m.encoding) for m in rig.outputs()} == {(96, 160, "mono8")}
    middle = rig.sent["image"][EDGE:-EDGE]
    assert len(agreeing(rig)[0]) == len(set(rig.stamps()) & set(middle)) > 20


def garbage(t, message):
    message.data = message.data[: len(message.data) // 2]
    return message


def jump(seconds: int):
    """In the middle of a drive of two seconds the stamps jump."""

    def change(t, message):
        if t >= 1.0:
            message.header.stamp.sec += seconds
        return message

    return change


OK, WARN, ERROR, STALE = b"\x00", b"\x01", b"\x02", b"\x03"
LATE = {"latency": 1.0}
FAULTS = {
    "silent": ({"silent": (0.0, 9.0)}, "silent for", STALE),
    "late": (LATE, "of its readings came too late", WARN),
    "garbage": ({"change": garbage}, "bytes", ERROR),
    "ahead": ({"change": jump(3600)}, "its stamps are 3600.0 s ahead of the node's clock", WARN),
    "back": ({"change": jump(-3600)}, "its stamps are 36", WARN),
}
"""What is changed, what is said of the sensor, and how bad that is."""


@pytest.mark.parametrize("sensor", ["depth", "event", "lidar"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_sensor_is_named_costs_nothing_else_and_recovers(rig, node, sensor, fault):
    rig.label_all(ROBOT, 0.5)
    changes, says, level = FAULTS[fault]
    broken = Sensor(ROBOT[sensor].rate, ROBOT[sensor].phase, **changes)
    rig.label_all(ROBOT | {sensor: broken}, 2.0)
    named(rig, sensor, says, level)
    # Readings that came too late or were garbage were sent all the same. Where stamps jump back,
    # those before are forgotten, for which one or two images still waited.
    without, spare = sensor if fault in ("late", "garbage") else "", 2 * (fault == "back")
    agree(rig, without, spare)
    recovers(rig, sensor)


def named(rig, sensor: str, says: str, level: bytes) -> None:
    """The diagnostics said so of the sensor, named it, and blamed no other."""
    reports = rig.told(f"sensor {sensor}", says, level)
    assert reports, rig.status(f"sensor {sensor}")
    others = [f"sensor {name}" for name in ROBOT if name != sensor]
    alone = [r for r in reports if all(r[other].level < ERROR for other in others)]
    assert alone, reports[-1]
    assert f"{sensor} (" in alone[-1]["segmentation"].message
    assert alone[-1]["segmentation"].level == WARN


def recovers(rig, sensor: str) -> None:
    """With a drive without faults, without a restart."""
    rig.label_all(ROBOT, 2.0)
    assert any(sensor in chosen for chosen in agree(rig))
    assert rig.told(f"sensor {sensor}", "Hz", OK), rig.status(f"sensor {sensor}")


def test_a_camera_that_sends_garbage_leaves_labels_of_the_others(rig, node):
    rig.label_all(ROBOT, 0.5)
    rig.label_all(ROBOT | {"image": Sensor(15, 0.011, 0.03, change=garbage)}, 2.0)
    named(rig, "image", "bytes", ERROR)
    agree(rig, "image")
    recovers(rig, "image")


def test_a_camera_that_is_late_finds_the_readings_of_its_time(rig, node):
    rig.label_all(ROBOT, 0.5)
    rig.label_all(ROBOT | {"image": Sensor(15, 0.011, latency=0.4)}, 2.0)
    agree(rig)
    recovers(rig, "image")


@pytest.mark.parametrize("seconds", [3600, -3600])
def test_a_camera_that_jumps_in_time_leads_all_the_same(rig, node, seconds):
    rig.label_all(ROBOT, 0.5)
    rig.settle()
    before = rig.count()
    rig.clear()
    rig.drive(ROBOT | {"image": Sensor(15, 0.011, 0.03, change=jump(seconds))}, 2.0)
    rig.settle()
    side = "ahead of" if seconds > 0 else "behind"
    reports = rig.told("sensor image", f"s {side} the node's clock", WARN)
    assert reports, rig.status("sensor image")
    assert "image (clock" in reports[-1]["segmentation"].message
    received = [stamp_ns(m) for m in rig.received["/segment_node/output/labels"]]
    assert len(received) >= 0.9 * rig.due(before)
    assert received == [stamp for stamp in rig.sent["image"] if stamp in received]
    jumped = [abs(stamp - rig.sent["image"][0]) > 1000 * S for stamp in received]
    assert jumped == sorted(jumped) and {*jumped} == {False, True}
    recovers(rig, "image")


@pytest.mark.parametrize("sensor", ["image", "depth", "event", "lidar"])
def test_a_driver_that_restarts_is_found_again(rig, node, sensor):
    rig.label_all(ROBOT, 0.4)
    rig.restart(sensor)
    recovers(rig, sensor)


def test_with_only_the_camera_left_labels_keep_their_rate(rig, node):
    rig.label_all(ROBOT, 0.5)
    rig.label_all({"image": ROBOT["image"]}, 2.5)
    reports = rig.told("segmentation", "running on 1 of 4 sensors", WARN)
    assert reports, rig.status()
    for sensor in ("depth", "event", "lidar"):
        assert f"{sensor} (silent" in reports[-1]["segmentation"].message


def test_while_the_camera_is_silent_depth_leads(rig, node):
    rig.label_all(ROBOT, 1.0)
    rig.settle()
    before = rig.count()
    rig.clear()
    rig.drive({name: sensor for name, sensor in ROBOT.items() if name != "image"}, 3.0)
    rig.settle()
    reports = rig.told("segmentation", "image (silent", WARN)
    assert "depth" in {v.value for r in reports for v in r["segmentation"].values}  # the leader
    led = rig.stamps()
    assert led == sorted(set(led))
    assert set(led) <= set(rig.sent["depth"])
    # Before depth leads, it has been heard for as long as the camera was not.
    may_lead = rig.sent["depth"][0] + (SILENT_AFTER + 0.4) * S
    due = [stamp for stamp in rig.sent["depth"] if stamp > may_lead]
    superseded = rig.count()["superseded"] - before["superseded"]
    assert len(due) > 40
    assert len(set(due) & set(led)) >= 0.9 * (len(due) - superseded) > 20
    recovers(rig, "image")


def test_a_bag_that_loops_is_labelled_in_every_round(rig, node):
    for _ in range(3):
        rig.label_all(ROBOT, 0.8, start_ns=1000 * S)
