"""What four sensors see at any moment: as messages, and as the frames that must come of them."""

from __future__ import annotations

import numpy as np
import sensor_messages

from memorysam_core.frames.camera import Camera
from memorysam_core.frames.draw import draw
from memorysam_core.frames.readings import (
    DepthReading,
    ImageReading,
    PointsReading,
    RenderedReading,
)
from memorysam_ros.conversions import Outputs, ros_messages

CAMERA = Camera(160, 96, 80.0, 80.0, 80.0, 48.0)
POSE = np.eye(4)
POSE[:3, 3] = (0.1, -0.2, 0.3)


def readings_at(sensor: str, stamp_ns: int):
    """What a sensor measures at a time: random, but the same each time."""
    rng = np.random.default_rng([stamp_ns // 1000, len(sensor)])
    if sensor == "image":
        return rng.integers(0, 256, (CAMERA.height, CAMERA.width, 3), np.uint8)
    if sensor == "event":
        return rng.integers(0, 2, (24, 40, 3), np.uint8) * np.uint8(255)
    if sensor == "depth":
        return rng.uniform(1, 100, (48, 80)).astype(np.float32)
    return rng.uniform((-5, -3, 1), (5, 3, 60), (500, 3)).astype(np.float32)


def message_at(sensor: str, stamp_ns: int, make=ros_messages):
    """The message of what a sensor measures at a time."""
    data = readings_at(sensor, stamp_ns)
    frame = "lidar" if sensor == "lidar" else "camera"
    header = Outputs(make).header(stamp_ns, frame)
    if sensor == "lidar":
        points = data.view([("x", "<f4"), ("y", "<f4"), ("z", "<f4")])[:, 0]
        return sensor_messages.cloud(make, points, header=header)
    encoding = "32FC1" if sensor == "depth" else "rgb8"
    return sensor_messages.image(make, data, encoding, header=header)


def frames_at(contract, size, stamps: dict[str, int]):
    """What the model must see of these sensors' messages, made by the core alone."""
    make = {
        "image": ImageReading,
        "depth": DepthReading,
        "event": RenderedReading,
        "lidar": lambda xyz: PointsReading(xyz, POSE),
    }
    return {
        sensor: draw(
            contract.modality(sensor), make[sensor](readings_at(sensor, stamp)), CAMERA, size
        ).pixels
        for sensor, stamp in stamps.items()
    }


def camera_info(make=ros_messages, camera: Camera = CAMERA):
    """The camera's CameraInfo."""
    outputs = Outputs(make)
    return outputs.camera_info(outputs.header(0, "camera"), camera)
