"""A simulated drive through segment_node and a real model, over DDS: labels equal the offline ones.

All four sensors have other rates, phases, resolutions and latencies.
"""

from __future__ import annotations

import dataclasses
import importlib
import sys
import time

import numpy as np
import pytest
import torch
from rig import MS, NodeProcess, Rig
from sensor_msgs.msg import CameraInfo, Image
from torch.nn.functional import interpolate

from memorysam_core.architecture import Architecture
from memorysam_core.checkpoint import build_model, save_checkpoint
from memorysam_core.contract import InputContract, deliver_modalities
from memorysam_core.frames.draw import draw
from memorysam_core.frames.readings import (
    DepthReading,
    ImageReading,
    PointsReading,
    RenderedReading,
)
from memorysam_core.labels import DELIVER
from memorysam_core.segmenter import Segmenter
from memorysam_ros import conversions
from memorysam_ros.bags import Bag
from memorysam_ros.calibration import parse_transform
from memorysam_ros.conversions.outputs import quaternion_from_matrix

pytest.importorskip("open3d")

from memorysam_training.simulation import rig as simulated
from memorysam_training.simulation.bag import record

SECONDS = 2.0
SIZE = (64, 96)
CONTRACT = InputContract(deliver_modalities("log_depth"), DELIVER, SIZE)
SENSORS = simulated.Rig(
    image_size=(120, 80),
    depth_size=(96, 64),
    event_size=(60, 40),
    rings=32,
    columns=512,
    timing={
        "camera": simulated.Timing(15.0, 0.060, 0.0006, 0.030),
        "depth": simulated.Timing(30.0, 0.051, 0.0008, 0.010),
        "lidar": simulated.Timing(10.0, 0.072, 0.0010, 0.050),
        "events": simulated.Timing(20.0, 0.050, 0.0, 0.004),
    },
)
EVENTS = {"image": "/events/image", "packets": "/events/packets"}
TOPICS = {
    "/camera/image": "image",
    "/depth/image": "depth",
    "/lidar/points": "lidar",
    "/camera/camera_info": "image info",
    "/depth/camera_info": "depth info",
}
TOLERANCES = {"depth": 50 * MS, "event": 30 * MS, "lidar": 60 * MS}


def pose(matrix: np.ndarray) -> list[float]:
    """As the node's parameters take it."""
    return [*map(float, matrix[:3, 3]), *quaternion_from_matrix(matrix)]


POSES = {
    "depth": pose(SENSORS.camera_from_depth),
    "lidar": pose(SENSORS.camera_from_lidar),
}


@pytest.fixture(scope="module")
def drive(tmp_path_factory):
    path = tmp_path_factory.mktemp("drive") / "drive.mcap"
    record(path, 3, SECONDS, ("sun",), (), SENSORS, 1)
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "nano.safetensors"
    return save_checkpoint(path, build_model(Architecture("nano", num_classes=25)), CONTRACT)


def frames_of(drive, topics: dict[str, str], source: str) -> dict[str, dict[int, torch.Tensor]]:
    """By sensor and stamp, what the model must see, made by the core alone."""
    camera_from = {name: parse_transform(values) for name, values in POSES.items()}
    stream = conversions.EventStream()
    make = {
        "image": lambda m: ImageReading(conversions.rgb(m)),
        "depth": lambda m: DepthReading(
            conversions.depth_m(m), SENSORS.depth_camera, camera_from["depth"]
        ),
        "event": lambda m: RenderedReading(conversions.rgb(m)),
        "lidar": lambda m: PointsReading(conversions.returns(m), camera_from["lidar"]),
    }
    frames, pieces = {sensor: {} for sensor in make}, []
    with Bag(drive) as bag:
        for raw in bag.messages({t for t, sensor in topics.items() if sensor in make}):
            sensor, message = topics[raw.topic], bag.deserialise(raw)
            if sensor == "event" and source == "packets":
                pieces.append(stream.decode(message))
                continue
            drawn = draw(CONTRACT.modality(sensor), make[sensor](message), SENSORS.camera, SIZE)
            frames[sensor][conversions.stamp_ns(message)] = drawn.pixels
    if pieces:
        columns = ("t_ns", "x", "y", "p")
        joined = {name: np.concatenate([getattr(p, name) for p in pieces]) for name in columns}
        events = dataclasses.replace(pieces[0], **joined)
        for stamp in frames["image"]:  # those of the window that ends at the image
            drawn = draw(CONTRACT.modality("event"), events, SENSORS.camera, SIZE, stamp)
            frames["event"][stamp] = drawn.pixels
    return frames


def set_at(frames, stamp: int) -> dict[str, torch.Tensor]:
    """The frames that belong to an image: nearest, within tolerance."""
    chosen = {"image": frames["image"][stamp]}
    for sensor, tolerance in TOLERANCES.items():
        nearest = min(frames[sensor], key=lambda other: abs(other - stamp))
        if abs(nearest - stamp) <= tolerance:
            chosen[sensor] = frames[sensor][nearest]
    return chosen


TIE = 1e-4
"""Two scores so near may be ranked the other way by sums of another order: the node and the offline
model need not encode the same frames at once, as a frame that is held is not encoded again."""


def check_labels(labels: np.ndarray, model: Segmenter, frames: dict[str, torch.Tensor]) -> None:
    """The offline model's labels, but for ties, of which there are hardly any."""
    wanted = model.segment(frames, labels.shape).labels
    differing = labels != wanted
    assert differing.mean() < 1e-3
    logits, _ = model.logits(frames)
    scores = interpolate(logits[None], labels.shape, mode="bilinear")[0].numpy()
    best, published = (np.take_along_axis(scores, ids[None], 0)[0] for ids in (wanted, labels))
    assert ((best - published)[differing] < TIE).all()


AHEAD = 3
"""Images that may be unlabelled: so many wait for a scan or for the model."""


def play(drive, topics: dict[str, str], publishers, labelled) -> None:
    """Publishes the bag's own bytes at the bag's times, which wait for a model that is slow.

    ``labelled`` counts the images that are done with.
    """
    sent = 0
    with Bag(drive) as bag:
        begin = time.monotonic() - bag.start_ns / 1e9
        for raw in bag.messages(set(topics)):
            paused = time.monotonic()
            while sent - labelled() > AHEAD and time.monotonic() < paused + 20:
                time.sleep(0.01)
            begin += time.monotonic() - paused
            time.sleep(max(0.0, begin + raw.time_ns / 1e9 - time.monotonic()))
            publishers[topics[raw.topic]].publish(raw.data)
            sent += topics[raw.topic] == "image"


@pytest.fixture
def packages(request, source):
    """Folders for PYTHONPATH with event_camera_msgs, where packets are played; ours, too."""
    folders = request.getfixturevalue("distribution") if source == "packets" else []
    sys.path[:0] = folders
    importlib.invalidate_caches()
    yield folders
    sys.path[:] = [folder for folder in sys.path if folder not in folders]


@pytest.mark.parametrize("source", EVENTS)
def test_labels_of_a_drive_equal_those_of_the_offline_segmenter(
    drive, checkpoint, tmp_path, source, packages
):
    topics = TOPICS | {EVENTS[source]: "event"}
    rig = Rig(event=importlib.import_module("event_camera_msgs.msg").EventPacket
              if source == "packets" else Image)  # fmt: skip
    rig.subscribe_output("output/labels")
    depth_info = rig.node.create_publisher(CameraInfo, "/segment_node/input/depth_camera_info", 10)
    publishers = rig.publishers | {"image info": rig.info_publisher, "depth info": depth_info}
    node = NodeProcess(
        tmp_path,
        str(checkpoint),
        packages=packages,
        precision="fp32",
        diagnostics_period=1.0,
        **{
            "event.source": source,
            "depth.camera_from_depth": POSES["depth"],
            "lidar.camera_from_lidar": POSES["lidar"],
            # What is tested here is which readings meet, not how long they are waited for.
            "matching.deadline": 10.0,
            "matching.silent_after": 60.0,
        },
    )
    frames = frames_of(drive, topics, source)
    model = Segmenter(checkpoint, "cpu", "fp32")
    images = sorted(frames["image"])
    received = rig.received["/segment_node/output/labels"]
    try:
        rig.wait_for_node()
        rig.wait(depth_info.get_subscription_count, "depth_camera_info")

        def done() -> int:
            return len(received) + rig.told_total("sets superseded")

        play(drive, topics, publishers, done)
        rig.wait(
            lambda: done() == len(images),
            lambda: f"{len(received)} labels of {len(images)} images: {rig.seen()}",
            seconds=60.0,
        )
    finally:
        assert node.stop() == 0, node.log
        rig.close()
    assert "Traceback" not in node.log

    stamps = [conversions.stamp_ns(message) for message in received]
    assert stamps == sorted(set(stamps))
    assert set(stamps) <= set(images)
    assert len(stamps) > len(images) / 3, "the model is hardly ever given a set"
    assert {len(set_at(frames, stamp)) for stamp in stamps} == {4}
    for message, stamp in zip(received, stamps, strict=True):
        assert isinstance(message, Image)
        assert message.header.frame_id == "camera_optical_frame"
        check_labels(conversions.label_ids(message), model, set_at(frames, stamp))
