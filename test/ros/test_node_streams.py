"""segment_node in a process of its own, over DDS: sensors that come, go, and misbehave."""

from __future__ import annotations

import numpy as np
import pytest
import scene
from fake_model import CONTRACT, SIZE, FakeModel
from rig import MS, NodeProcess, Rig, S, Sensor

from memorysam_core.architecture import Architecture
from memorysam_core.checkpoint import build_model, save_checkpoint
from memorysam_core.segmenter import Segmenter

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
    process = NodeProcess(
        tmp_path_factory.mktemp("node"), **{"matching.silent_after": 0.5, "matching.deadline": 0.2}
    )
    rig.wait_for_node()
    rig.send_info()
    yield process
    assert process.stop() == 0, process.log
    assert "Traceback" not in process.log


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


def agreement(rig, model, size=SIZE) -> float:
    """Share of the published labels that equal the model's, on sets made here from the stamps."""
    equal = 0
    for message, stamp in zip(rig.outputs(), rig.stamps(), strict=True):
        frames = scene.frames_at(CONTRACT, size, partners(rig.sent, stamp))
        wanted = model.segment(frames, (message.height, message.width)).labels
        equal += np.array_equal(labels_of(message), wanted)
    return equal / len(rig.outputs())


def all_published(rig, share=1.0):
    """Waits for the labels of all images, or of a share of them; none other, and in order.

    When a sensor is found to be silent, sets that waited for it close together; of more than two at
    once the newest win, which may cost one image.
    """
    wanted = share * len(rig.sent["image"])

    def told() -> str:
        lost = [k for k, stamp in enumerate(rig.sent["image"]) if stamp not in rig.stamps()]
        return f"{wanted} labels; without: {lost}; seen in diagnostics: {rig.seen()}"

    rig.wait(lambda: len(rig.outputs()) >= wanted, told)
    stamps = rig.stamps()
    assert stamps == sorted(set(stamps))
    assert set(stamps) <= set(rig.sent["image"])


def test_every_image_is_labelled_once_in_order_with_its_header(rig, node):
    rig.clear()
    rig.drive(ROBOT, 3.0)
    all_published(rig)
    assert {m.header.frame_id for m in rig.outputs()} == {"camera"}
    assert {(m.height, m.width, m.encoding) for m in rig.outputs()} == {(96, 160, "mono8")}
    # A busy machine may deliver a reading after the deadline; its set then goes out without it.
    assert agreement(rig, FakeModel()) >= 0.9


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


@pytest.mark.parametrize("sensor", ["depth", "event", "lidar"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_sensor_is_named_costs_nothing_else_and_recovers(rig, node, sensor, fault):
    changes, (says, level) = FAULTS[fault]
    rig.clear()
    broken = Sensor(ROBOT[sensor].rate, ROBOT[sensor].phase, **changes)
    rig.drive(ROBOT | {sensor: broken}, 1.2)
    named = f"sensor {sensor}"
    rig.wait(
        lambda: says in rig.status(named).message and rig.status(named).level == level,
        lambda: rig.status(named),
    )
    all_published(rig, share=0.9)
    others = [s for s in ("depth", "event", "lidar") if s != sensor]
    assert not [s for s in others if rig.status(f"sensor {s}").level == b"\x03"]

    rig.clear()
    rig.drive(ROBOT, 0.8)
    all_published(rig)
    recovered = rig.outputs()[-6:-2]
    for message, stamp in zip(recovered, rig.stamps()[-6:-2], strict=True):
        frames = scene.frames_at(CONTRACT, SIZE, partners(rig.sent, stamp))
        assert sensor in frames
        wanted = FakeModel().segment(frames, (96, 160)).labels
        if np.array_equal(labels_of(message), wanted):
            break
    else:
        pytest.fail(f"no set has the {sensor} again")


@pytest.mark.parametrize("sensor", ["image", "depth", "event", "lidar"])
def test_a_driver_that_restarts_is_found_again(rig, node, sensor):
    rig.clear()
    rig.drive(ROBOT, 0.4)
    rig.restart(sensor)
    rig.drive(ROBOT, 0.6)
    all_published(rig)
    rig.wait(lambda: rig.status(f"sensor {sensor}").level in (b"\x00", b"\x01"), "its recovery")


def test_with_only_the_camera_left_labels_keep_their_rate(rig, node):
    rig.clear()
    rig.drive(ROBOT, 0.3)
    all_published(rig)
    rig.clear()
    rig.drive({"image": ROBOT["image"]}, 1.5)
    all_published(rig, share=0.9)
    rig.wait(lambda: "running on 1 of 4 sensors" in rig.status().message, "the right diagnostic")
    for sensor in ("depth", "event", "lidar"):
        assert sensor in rig.status().message


def test_while_the_camera_is_silent_depth_leads(rig, node):
    rig.clear()
    rig.drive(ROBOT, 0.3)
    all_published(rig)
    rig.clear()
    blind = {name: sensor for name, sensor in ROBOT.items() if name != "image"}
    rig.drive(blind, 2.0)
    rig.wait(lambda: "image (silent" in rig.status().message, "the right diagnostic")
    rig.wait(lambda: len(rig.outputs()) > 20, "labels led by depth")
    assert set(rig.stamps()) <= set(rig.sent["depth"])
    rig.clear()
    rig.drive(ROBOT, 0.6)
    all_published_since = [s for s in rig.sent["image"] if s in rig.stamps()]
    assert len(all_published_since) >= len(rig.sent["image"]) - 2


def test_a_bag_that_loops_is_labelled_in_every_round(rig, node):
    rig.settle()
    for _ in range(3):
        rig.clear()
        rig.drive(ROBOT, 0.8, start_ns=1000 * S)
        all_published(rig)


def test_the_real_model_gives_the_labels_of_the_offline_segmenter(rig, node, tmp_path):
    """Last in this file: the node with the fake model makes way."""
    node.stop()
    model = build_model(Architecture("nano", num_classes=25))
    path = save_checkpoint(tmp_path / "nano.safetensors", model, CONTRACT)
    process = NodeProcess(tmp_path, str(path), precision="fp32", **{"matching.deadline": 1.0})
    try:
        rig.clear()
        rig.wait_for_node()
        rig.send_info()
        rig.drive(ROBOT, 2.0)
        rig.wait(lambda: rig.stamps()[-1:] == rig.sent["image"][-1:], "the last image's labels")
        stamps = rig.stamps()
        assert stamps == sorted(set(stamps))
        assert len(stamps) > 3
        assert set(stamps) <= set(rig.sent["image"])
        assert agreement(rig, Segmenter(path, "cpu", "fp32")) >= 0.9
    finally:
        assert process.stop() == 0, process.log
