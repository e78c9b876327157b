"""What the node does with packages of the distribution: LabelInfo, EventPacket and TF, over topics.

The messages are generated here where the distribution's are not installed, and so is a small tf2.
"""

from __future__ import annotations

import dataclasses
import importlib
import re
import sys
import time

import numpy as np
import pytest
import scene
from fake_model import CONTRACT, SIZE, FakeModel
from rclpy.qos import DurabilityPolicy, QoSProfile
from rig import MS, NodeProcess, Rig, S
from sensor_msgs.msg import CameraInfo

from memorysam_core.frames.draw import draw
from memorysam_core.frames.readings import DepthReading, EventsReading, PointsReading
from memorysam_core.labels import DELIVER
from memorysam_ros.conversions import Outputs, label_ids, ros_messages, stamp_ns

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
OUTPUTS = Outputs(ros_messages)


@pytest.fixture(scope="module")
def packages(distribution):
    """Folders for PYTHONPATH; ours, too, for as long as this module is tested."""
    sys.path[:0] = distribution
    importlib.invalidate_caches()
    yield distribution
    sys.path[:] = [folder for folder in sys.path if folder not in distribution]


@pytest.fixture
def kinds():
    return {}


@pytest.fixture
def rig(packages, kinds):
    robot = Rig(**{name: kind() for name, kind in kinds.items()})
    robot.subscribe_output("output/labels")
    yield robot
    robot.close()


@pytest.fixture
def start(rig, packages, tmp_path):
    processes = []

    def started(**parameters) -> NodeProcess:
        values = {name.replace("__", "."): value for name, value in parameters.items()}
        processes.append(NodeProcess(tmp_path, packages=packages, **values))
        return processes[-1]

    yield started
    for process in processes:
        assert process.stop() == 0, process.log
        assert "Traceback" not in process.log
        assert "is not installed" not in process.log


def test_whoever_comes_late_gets_the_names_of_the_labels_once(rig, start):
    from vision_msgs.msg import LabelInfo

    start()
    rig.wait_for_node()
    rig.send_info()
    rig.send("image", S)
    rig.wait(rig.outputs, "labels")
    infos = rig.received["info"]
    rig.node.create_subscription(
        LabelInfo, "/segment_node/output/label_info", infos.append, LATCHED
    )
    rig.wait(lambda: infos, "the label info")
    (info,) = infos
    named = {entry.class_id: entry.class_name for entry in info.class_map}
    assert named == dict(enumerate(DELIVER.classes))


def events_in(seed: int, begin_ns: int, length_ns: int, count: int = 200) -> EventsReading:
    """Random events, in the order of time, whole microseconds apart."""
    rng = np.random.default_rng(seed)
    micros = np.sort(rng.integers(0, length_ns // 1000, count))
    micros[0] = 0
    return EventsReading(
        begin_ns + micros * 1000,
        rng.integers(0, SIZE[1], count).astype(np.uint16),
        rng.integers(0, SIZE[0], count).astype(np.uint16),
        rng.integers(0, 2, count).astype(np.uint8),
        SIZE[1],
        SIZE[0],
    )


def event_packet():
    """The message type, which may only just have been made."""
    from event_camera_msgs.msg import EventPacket

    return EventPacket


def packet_of(events: EventsReading, seq: int):
    """The events in the encoding ``mono``."""
    begin = int(events.t_ns[0])
    words = (events.t_ns - begin).astype(np.uint64)
    for values, shift in ((events.x, 32), (events.y, 48), (events.p, 63)):
        words |= values.astype(np.uint64) << np.uint64(shift)
    message = event_packet()(header=OUTPUTS.header(begin, "camera"), seq=seq, encoding="mono")
    message.height, message.width = SIZE
    message.events.frombytes(words.tobytes())
    return message


@pytest.mark.parametrize("kinds", [{"event": event_packet}])
def test_event_packets_at_twenty_a_second_are_labelled_with_the_images(rig, start):
    node = start(event__source="packets", matching__deadline=2.0, matching__silent_after=5.0)
    rig.wait_for_node()
    rig.send_info()
    pieces = [events_in(seq, S + seq * 50 * MS, 50 * MS) for seq in range(30)]
    images = [S + k * 66 * MS + 7 * MS for k in range(1, 20)]
    packets = [(p.t_ns[-1], "event", packet_of(p, seq)) for seq, p in enumerate(pieces)]
    sends = [(at, "image", scene.message_at("image", at)) for at in images]
    begin = time.monotonic()
    for at, sensor, message in sorted([*packets, *sends], key=lambda entry: entry[0]):
        time.sleep(max(0.0, begin + (at - S) / S - time.monotonic()))
        rig.send(sensor, stamp_ns(message), message)
    received = rig.received["/segment_node/output/labels"]

    def accounted() -> int:  # where this process was held up, sets close together and one goes
        return len(received) + rig.told_total("sets superseded")

    rig.wait(lambda: accounted() == len(images), lambda: f"{rig.seen()} {node.log}")
    assert len(received) >= len(images) // 2
    joined = dataclasses.replace(
        pieces[0],
        **{f: np.concatenate([getattr(p, f) for p in pieces]) for f in ("t_ns", "x", "y", "p")},
    )
    modality = CONTRACT.modality("event")
    stamps = [stamp_ns(message) for message in received]
    assert stamps == sorted(set(stamps)) and set(stamps) <= set(images)
    for message, stamp in zip(received, stamps, strict=True):
        frames = scene.frames_at(CONTRACT, SIZE, {"image": stamp})
        frames["event"] = draw(modality, joined, scene.CAMERA, SIZE, stamp).pixels
        assert frames["event"].any()
        np.testing.assert_array_equal(
            label_ids(message), FakeModel().segment(frames, (96, 160)).labels
        )


@pytest.mark.parametrize("kinds", [{"event": event_packet}])
def test_event_packets_where_images_are_listened_to_are_told_as_that(rig, start):
    start(event__source="image")
    says = (
        "/segment_node/input/events is published as event_camera_msgs/msg/EventPacket, where "
        "sensor_msgs/msg/Image is listened to: set event.source to what it is"
    )
    rig.wait(lambda: rig.told("sensor event", says, b"\x03"), lambda: rig.status("sensor event"))


def translation(stamp: int, child: str, x: float) -> tuple:
    matrix = np.eye(4)
    matrix[:3, 3] = scene.POSE[:3, 3] + [x, 0, 0]
    return stamp, "base", child, matrix


def expected(image_at: int, lidar_at: int, x: float) -> np.ndarray:
    """Labels of a set whose LiDAR is so far from where it normally is."""
    pose = scene.POSE.copy()
    pose[0, 3] += x
    frames = scene.frames_at(CONTRACT, SIZE, {"image": image_at})
    scan = PointsReading(scene.readings_at("lidar", lidar_at), pose)
    frames["lidar"] = draw(CONTRACT.modality("lidar"), scan, scene.CAMERA, SIZE).pixels
    return FakeModel().segment(frames, (96, 160)).labels


@pytest.fixture
def tf(rig):
    """Publishers of /tf_static and /tf."""
    from tf2_msgs.msg import TFMessage

    static = rig.node.create_publisher(TFMessage, "/tf_static", LATCHED)
    return static, rig.node.create_publisher(TFMessage, "/tf", 10)


FROM_TF = {"lidar__camera_from_lidar": [0.0] * 7, "tf_timeout": 2.0}
"""With a wait that is long enough for TF to arrive on any machine."""


def label(rig, image_at: int, lidar_at: int) -> np.ndarray:
    """Labels of one image and a scan."""
    rig.clear()
    rig.deliver("lidar", lidar_at)
    rig.send("image", image_at)
    rig.wait(rig.outputs, rig.seen)
    return label_ids(rig.outputs()[-1])


def test_extrinsics_come_from_static_transforms_told_before_the_start(rig, start, tf):
    static, _ = tf
    edges = [(0, "base", "camera", np.eye(4)), translation(0, "lidar", 1.0)]
    static.publish(OUTPUTS.transforms(edges))
    start(**FROM_TF)
    rig.wait_for_node()
    rig.send_info()
    np.testing.assert_array_equal(label(rig, S, S + 5 * MS), expected(S, S + 5 * MS, 1.0))


def test_a_static_transform_that_is_told_anew_counts_at_once(rig, start, tf):
    static, _ = tf
    start(**FROM_TF)
    rig.wait_for_node()
    rig.wait(static.get_subscription_count, "the node's TF")
    rig.send_info()
    for k, x in enumerate((0.0, 1.0)):
        at = S + k * 500 * MS
        edges = [(0, "base", "camera", np.eye(4)), translation(0, "lidar", x)]
        static.publish(OUTPUTS.transforms(edges))
        rig.count()  # by then it has arrived
        np.testing.assert_array_equal(label(rig, at, at + 5 * MS), expected(at, at + 5 * MS, x))


def test_when_time_starts_anew_old_motion_is_forgotten(rig, start, tf):
    """tf2 would take what it is told then for news from ten seconds ago, and drop it."""
    static, moving = tf
    static.publish(OUTPUTS.transforms([(0, "base", "camera", np.eye(4))]))
    start(**FROM_TF)
    rig.wait_for_node()
    rig.wait(moving.get_subscription_count, "the node's TF")
    rig.send_info()

    def move(start_ns: int, x: float) -> None:
        for stamp in (start_ns - 100 * MS, start_ns + 100 * MS):
            moving.publish(OUTPUTS.transforms([translation(stamp, "lidar", x)]))
        rig.count()

    move(20 * S, 0.0)
    np.testing.assert_array_equal(label(rig, 20 * S, 20 * S), expected(20 * S, 20 * S, 0.0))
    rig.clear()
    rig.send("image", 5 * S)  # the bag loops
    rig.wait(rig.outputs, rig.seen)
    move(5 * S, 2.0)
    at = 5 * S + 50 * MS
    np.testing.assert_array_equal(label(rig, at, at), expected(at, at, 2.0))


def test_depth_of_another_camera_is_placed_by_tf(rig, start, tf):
    static, _ = tf
    edges = [(0, "base", "camera", np.eye(4)), translation(0, "depth_camera", 0.5)]
    static.publish(OUTPUTS.transforms(edges))
    start(**FROM_TF)
    rig.wait_for_node()
    rig.send_info()
    camera = scene.CAMERA.resized(80, 48)
    infos = rig.node.create_publisher(CameraInfo, "/segment_node/input/depth_camera_info", 10)
    rig.wait(infos.get_subscription_count, "depth_camera_info")
    info = scene.camera_info(camera=camera)
    rig.node.create_timer(0.05, lambda: infos.publish(info))  # as cameras do
    message = scene.message_at("depth", S)
    message.header.frame_id = "depth_camera"
    rig.clear()
    rig.deliver("depth", S, message)
    rig.send("image", S)
    rig.wait(rig.outputs, rig.seen)
    pose = scene.POSE.copy()
    pose[0, 3] += 0.5
    frames = scene.frames_at(CONTRACT, SIZE, {"image": S})
    reading = DepthReading(scene.readings_at("depth", S), camera, pose)
    frames["depth"] = draw(CONTRACT.modality("depth"), reading, scene.CAMERA, SIZE).pixels
    np.testing.assert_array_equal(
        label_ids(rig.outputs()[-1]), FakeModel().segment(frames, (96, 160)).labels
    )


def test_a_lidar_that_moves_is_placed_at_its_own_stamp(rig, start, tf):
    static, moving = tf
    static.publish(OUTPUTS.transforms([(0, "base", "camera", np.eye(4))]))
    node = start(**FROM_TF)
    rig.wait_for_node()
    rig.wait(moving.get_subscription_count, "the node's TF")
    rig.send_info()
    for stamp, x in ((S - 100 * MS, 0.0), (S + 100 * MS, 2.0)):
        moving.publish(OUTPUTS.transforms([translation(stamp, "lidar", x)]))
    np.testing.assert_array_equal(label(rig, S, S + 20 * MS), expected(S, S + 20 * MS, 1.2))

    # A scan after the last transform: left out, with both frames and the time between.
    label(rig, 6 * S, 6 * S)
    says = "no transform from frame 'lidar' to 'camera' at 6.000 s: the latest is 4.900 s older"

    def last_error() -> str:
        values = {v.key: v.value for v in rig.status("sensor lidar").values}
        return values["last error"]

    rig.wait(lambda: says in last_error(), last_error)
    assert node.log.count(says) == 1


def test_a_frame_that_tf_does_not_know_is_told_once(rig, start, tf):
    static, _ = tf
    static.publish(OUTPUTS.transforms([(0, "base", "camera", np.eye(4))]))
    node = start(**FROM_TF | {"tf_timeout": 0.02})
    rig.wait_for_node()
    rig.send_info()
    for k in range(4):
        label(rig, S + k * 100 * MS, S + k * 100 * MS)
    says = "no transform from frame 'lidar' to 'camera'"
    rig.wait(lambda: says in rig.status("sensor lidar").message, lambda: rig.status("sensor lidar"))
    assert rig.status("sensor lidar").level == b"\x02"
    assert node.log.count(says) == 1
    assert re.search("TF knows (base, camera|camera, base): correct the frame_id", node.log)
