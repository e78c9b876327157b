"""segment_node over DDS: what parameters change, each tried on one running node."""

from __future__ import annotations

import io

import numpy as np
import pytest
import scene
from fake_model import CONTRACT, SIZE, FakeModel
from PIL import Image as Picture
from rig import MS, NodeProcess, Rig, S
from sensor_msgs.msg import CameraInfo, CompressedImage

from memorysam_core.frames.camera import Camera
from memorysam_core.frames.draw import draw
from memorysam_core.frames.readings import DepthReading, ImageReading, PointsReading
from memorysam_ros.conversions import Outputs, label_ids, ros_messages

DEFAULTS = {"matching.deadline": 1.0, "matching.silent_after": 5.0}
OUTPUTS = Outputs(ros_messages)


@pytest.fixture(scope="module")
def rig():
    robot = Rig()
    robot.subscribe_output("output/labels")
    yield robot
    robot.close()


@pytest.fixture(scope="module")
def node(rig, tmp_path_factory):
    process = NodeProcess(tmp_path_factory.mktemp("node"), **DEFAULTS)
    rig.wait_for_node()
    yield process
    assert process.stop() == 0, process.log
    assert "Traceback" not in process.log


@pytest.fixture
def configure(rig, node):
    """Parameters for the test, and the former ones afterwards."""
    former = {}

    def change(**changes) -> None:
        values = {name.replace("__", "."): value for name, value in changes.items()}
        former.update(dict.fromkeys(values))
        rig.reconfigure(values)

    yield change
    from memorysam_ros.parameters import table

    given = {"event.source": "image", "lidar.camera_from_lidar": pose(scene.POSE)} | DEFAULTS
    rows = {row.name: row.default for row in table()} | given
    rig.reconfigure({name: rows[name] for name in former})


def pose(matrix: np.ndarray) -> list[float]:
    return [*map(float, matrix[:3, 3]), 0.0, 0.0, 0.0, 1.0]


def labels_of(rig, stamps: dict[str, int], **messages) -> np.ndarray:
    """What is published of one set."""
    rig.clear()
    for sensor, stamp in stamps.items():
        rig.send(sensor, stamp, messages.get(sensor))
    rig.wait(rig.outputs, rig.seen)
    return label_ids(rig.outputs()[0])


def expected(stamps: dict[str, int], size=(96, 160)) -> np.ndarray:
    return FakeModel().segment(scene.frames_at(CONTRACT, SIZE, stamps), size).labels


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Picture.fromarray(pixels).save(stream, "png")
    return stream.getvalue()


def millimetres(stamp: int) -> np.ndarray:
    return (scene.readings_at("depth", stamp) * 600).astype(np.uint16)


def compressed(sensor: str, stamp: int) -> CompressedImage:
    """As image_transport sends it."""
    message = CompressedImage(header=OUTPUTS.header(stamp, "camera"))
    if sensor == "image":
        message.format = "rgb8; png compressed rgb8"
        # The transport's encoder takes BGR.
        message.data.frombytes(png(scene.readings_at("image", stamp)[:, :, ::-1]))
    else:
        message.format = "16UC1; compressedDepth png"
        message.data.frombytes(bytes(12) + png(millimetres(stamp)))
    return message


@pytest.mark.parametrize(("sensor", "how"), [("image", "compressed"), ("depth", "compressedDepth")])
def test_compressed_images_have_a_topic_of_their_own(rig, configure, sensor, how):
    raw = rig.publishers[sensor]
    rig.publishers[sensor] = rig.node.create_publisher(
        CompressedImage, f"{raw.topic_name}/{how}", raw.qos_profile
    )
    try:
        configure(**{f"{sensor}__transport": how})
        stamps = {"depth": S, "event": S, "lidar": S, "image": S}
        labels = labels_of(rig, stamps, **{sensor: compressed(sensor, S)})
        frames = scene.frames_at(CONTRACT, SIZE, stamps)
        if sensor == "depth":  # whole millimetres
            reading = DepthReading(millimetres(S).astype(np.float32) / 1000)
            frames["depth"] = draw(CONTRACT.modality("depth"), reading, scene.CAMERA, SIZE).pixels
        np.testing.assert_array_equal(labels, FakeModel().segment(frames, (96, 160)).labels)
    finally:
        rig.destroy(rig.node.destroy_publisher, rig.publishers[sensor])
        rig.publishers[sensor] = raw


def test_labels_at_the_networks_size_come_with_a_camera_info_to_match(rig, configure):
    rig.subscribe_output("output/camera_info", CameraInfo)
    configure(output_size="network")
    stamps = {"depth": S, "event": S, "lidar": S, "image": S}
    labels = labels_of(rig, stamps)
    np.testing.assert_array_equal(labels, expected(stamps, SIZE))
    rig.wait(lambda: rig.outputs("output/camera_info"), "camera_info")
    (info,) = rig.outputs("output/camera_info")
    assert (info.height, info.width) == SIZE
    np.testing.assert_allclose(info.k, [32, 0, 32, 0, 80 / 3, 16, 0, 0, 1])
    assert info.header == rig.outputs()[0].header
    rig.unsubscribe_output("output/camera_info")


def test_a_calibration_file_has_precedence_over_camera_info(rig, configure, tmp_path):
    other = Camera(160, 96, 60.0, 60.0, 70.0, 50.0)
    path = tmp_path / "rig.yaml"
    path.write_text(
        "intrinsics:\n  image:\n    image_width: 160\n    image_height: 96\n"
        "    camera_matrix: {data: [60, 0, 70, 0, 60, 50, 0, 0, 1]}\n"
        "extrinsics:\n  lidar: 1 0 0 0 0 0 1\n"
    )
    configure(calibration_file=str(path), lidar__camera_from_lidar=[0.0] * 7)
    labels = labels_of(rig, {"lidar": S, "image": S})
    shifted = np.eye(4)
    shifted[0, 3] = 1.0
    readings = {
        "image": ImageReading(scene.readings_at("image", S)),
        "lidar": PointsReading(scene.readings_at("lidar", S), shifted),
    }
    frames = {n: draw(CONTRACT.modality(n), r, other, SIZE).pixels for n, r in readings.items()}
    np.testing.assert_array_equal(labels, FakeModel().segment(frames, (96, 160)).labels)


def test_a_held_scan_serves_at_once_until_it_is_too_old(rig, configure):
    configure(lidar__policy="hold", lidar__max_age=0.35)
    for age_ms in (0, 100, 200, 300, 400):
        image = S + age_ms * MS
        stamps = {"depth": image, "event": image, "image": image}
        if age_ms == 0:
            stamps = {"lidar": S, **stamps}
        labels = labels_of(rig, stamps)
        if age_ms == 300:  # until then nothing was waited for, where the deadline is a second
            rig.count()
            times = rig.values("latency")["matching p50/p95/max (ms)"]
            assert float(times.split(" / ")[1]) < 500, times
        if age_ms < 400:
            stamps["lidar"] = S
        np.testing.assert_array_equal(labels, expected(stamps))


def test_an_offset_moves_a_sensors_readings(rig, configure):
    configure(lidar__offset=-0.2)
    stamps = {"depth": S, "event": S, "lidar": S + 200 * MS, "image": S}
    np.testing.assert_array_equal(labels_of(rig, stamps), expected(stamps))
