import dataclasses

import numpy as np
import pytest

from memorysam_ros.bags.types import typestore
from memorysam_ros.conversions import events as event_conversions
from memorysam_ros.conversions import headers
from memorysam_training.simulation import bag
from memorysam_training.simulation.conditions import Fault
from memorysam_training.simulation.drive import STAMP_0_NS, Drive

SECONDS = 0.5
rosbags = pytest.importorskip("rosbags.highlevel")


def recorded(path, rig, faults=(), processes=1):
    bag.record(path, 5, SECONDS, ("night",), faults, rig, processes)
    messages = {}
    with rosbags.AnyReader([path], default_typestore=typestore()) as reader:
        for connection, time_ns, data in reader.messages():
            message = reader.deserialize(data, connection.msgtype)
            messages.setdefault(connection.topic, []).append((time_ns, message))
    return messages


@pytest.fixture(scope="module")
def messages(tmp_path_factory, rig):
    return recorded(tmp_path_factory.mktemp("bag") / "drive.mcap", rig)


def test_a_bag_holds_every_sensor_and_the_truth(messages):
    assert set(messages) == {
        "/camera/image", "/camera/camera_info", "/depth/image", "/depth/camera_info",
        "/lidar/points", "/events/packets", "/events/image", "/tf_static",
        "/ground_truth/labels", "/ground_truth/condition",
    }  # fmt: skip


def test_each_sensor_has_its_own_rate_phase_jitter_and_latency(messages, rig):
    for topic, sensor in (
        ("/camera/image", "camera"), ("/depth/image", "depth"), ("/lidar/points", "lidar"),
    ):  # fmt: skip
        timing = rig.timing[sensor]
        stamps = np.array([headers.stamp_ns(m) for _, m in messages[topic]])
        beat = (stamps - STAMP_0_NS) * 1e-9 - timing.phase_s
        error = beat - np.round(beat * timing.rate_hz) / timing.rate_hz
        assert np.abs(error).max() < 4 * timing.jitter_s
        assert np.abs(error).max() > 0
        late = np.array([time for time, _ in messages[topic]]) - stamps
        turn = 0.5 / timing.rate_hz if sensor == "lidar" else 0.0
        assert late.mean() * 1e-9 - turn == pytest.approx(timing.latency_s, rel=0.2)
        assert len(stamps) == pytest.approx((SECONDS - timing.phase_s) * timing.rate_hz, abs=1.1)


def test_truth_comes_at_the_cameras_stamps(messages, rig):
    images, labels = messages["/camera/image"], messages["/ground_truth/labels"]
    assert [headers.stamp_ns(m) for _, m in images] == [headers.stamp_ns(m) for _, m in labels]
    drive = Drive(5, SECONDS, ("night",), (), rig)
    t = (headers.stamp_ns(images[0][1]) - STAMP_0_NS) * 1e-9
    shot = drive.camera(round(t, 6))
    np.testing.assert_array_equal(images[0][1].data.reshape(shot.image.shape), shot.image)
    np.testing.assert_array_equal(labels[0][1].data.reshape(shot.labels.shape), shot.labels)
    assert {m.data for _, m in messages["/ground_truth/condition"]} == {"night"}


def test_packets_decode_to_the_events_that_the_camera_saw(messages, rig):
    drive = Drive(5, SECONDS, ("night",), (), rig)
    stream = event_conversions.EventStream()
    for index, (_, message) in enumerate(messages["/events/packets"]):
        decoded = stream.decode(message)
        timing = rig.timing["events"]
        events = drive.events(round(timing.phase_s + index / timing.rate_hz, 6))
        np.testing.assert_array_equal(decoded.t_ns, events.t_ns)
        np.testing.assert_array_equal(decoded.x, events.x)
        np.testing.assert_array_equal(decoded.p, events.p)
    assert stream.lost_packets == 0


def test_transforms_say_where_the_sensors_sit(messages, rig):
    edges = {
        t.child_frame_id: (t.header.frame_id, t.transform.translation)
        for t in messages["/tf_static"][0][1].transforms
    }
    parent, lidar = edges["lidar"]
    assert parent == "base_link"
    assert (lidar.x, lidar.z) == pytest.approx(tuple(rig.vehicle_from_lidar[[0, 2], 3]))
    assert edges["depth_optical_frame"][1].x == pytest.approx(rig.depth_baseline_m)


def test_a_dead_sensor_is_silent_for_its_time_and_the_others_are_not(tmp_path, rig):
    messages = recorded(tmp_path / "drive", rig, (Fault("lidar", 0.1, 0.3),))
    times = [(headers.stamp_ns(m) - STAMP_0_NS) * 1e-9 for _, m in messages["/lidar/points"]]
    assert times
    assert not [t for t in times if 0.1 <= t < 0.3]
    assert len(messages["/camera/image"]) >= 4


@pytest.mark.slow  # starts processes, each of which imports everything
def test_the_number_of_processes_does_not_show(tmp_path, rig):
    fast = dataclasses.replace(rig, rings=2, columns=16)
    one = recorded(tmp_path / "one.db3", fast)
    two = recorded(tmp_path / "two.db3", fast, processes=2)
    assert list(one) == list(two)
    for topic, rows in one.items():
        assert [time for time, _ in rows] == [time for time, _ in two[topic]]
        for (_, a), (_, b) in zip(rows, two[topic], strict=True):
            np.testing.assert_array_equal(getattr(a, "data", 0), getattr(b, "data", 0))
