"""Messages as drivers send them, for tests of conversions: of rclpy and of rosbags alike."""

from __future__ import annotations

import numpy as np

from memorysam_ros.bags.types import typestore
from memorysam_ros.conversions import MessageFactory, Outputs, bag_messages, ros_messages

STORE = typestore()
FACTORIES: dict[str, MessageFactory] = {"rclpy": ros_messages, "rosbags": bag_messages(STORE)}


def image(make, data: np.ndarray, encoding: str, /, *, padding: int = 0, **changes):
    """An Image whose rows hold ``data (H, W[, C])`` and then ``padding`` bytes of 170."""
    height, width = data.shape[:2]
    rows = np.ascontiguousarray(data).reshape(height, -1).view(np.uint8)
    rows = np.concatenate([rows, np.full((height, padding), 170, np.uint8)], axis=1)
    fields = {
        "header": Outputs(make).header(1_500_000_123, "camera"),
        "height": height,
        "width": width,
        "encoding": encoding,
        "is_bigendian": int(data.dtype.byteorder == ">"),
        "step": rows.shape[1],
        "data": rows.reshape(-1),
    }
    return make("sensor_msgs/msg/Image", **fields | changes)


def compressed(make, data: bytes, how: str):
    """A CompressedImage."""
    return make(
        "sensor_msgs/msg/CompressedImage",
        header=Outputs(make).header(0, "camera"),
        format=how,
        data=np.frombuffer(data, np.uint8),
    )


CODES = {"i1": 1, "u1": 2, "i2": 3, "u2": 4, "i4": 5, "u4": 6, "f4": 7, "f8": 8}


def cloud(make, points: np.ndarray, /, *, padding: int = 0, **changes):
    """A PointCloud2 of a structured array ``(N,)`` or ``(H, W)``, with its rows padded."""
    shaped = points if points.ndim == 2 else points[None]
    height, width = shaped.shape
    step = points.dtype.itemsize
    rows = np.frombuffer(shaped.tobytes(), np.uint8).reshape(height, width * step)
    rows = np.concatenate([rows, np.full((height, padding), 170, np.uint8)], axis=1)
    kinds = {name: points.dtype.fields[name] for name in points.dtype.names}
    fields = {
        "header": Outputs(make).header(0, "lidar"),
        "height": height,
        "width": width,
        "fields": [
            make(
                "sensor_msgs/msg/PointField",
                name=name,
                offset=kind[1],
                datatype=CODES[kind[0].base.str[1:]],
                count=int(np.prod(kind[0].shape)),
            )
            for name, kind in kinds.items()
        ],
        "is_bigendian": any(kind[0].base.str[0] == ">" for kind in kinds.values()),
        "point_step": step,
        "row_step": rows.shape[1],
        "data": rows.reshape(-1),
        "is_dense": False,
    }
    return make("sensor_msgs/msg/PointCloud2", **fields | changes)


def camera_info(make, **changes):
    """A CameraInfo of 640 x 480 whose K, D and P differ, so that a mix-up shows."""
    roi = {"x_offset": 0, "y_offset": 0, "height": 0, "width": 0, "do_rectify": False}
    fields = {
        "header": Outputs(make).header(0, "camera"),
        "height": 480,
        "width": 640,
        "distortion_model": "plumb_bob",
        "d": np.array([-0.3, 0.1, 0.001, 0.002, 0.0]),
        "k": np.array([500.0, 0, 320, 0, 510, 240, 0, 0, 1]),
        "r": np.eye(3).reshape(-1),
        "p": np.array([450.0, 0, 310, 0, 0, 460, 230, 0, 0, 0, 1, 0]),
        "binning_x": 0,
        "binning_y": 0,
        "roi": make("sensor_msgs/msg/RegionOfInterest", **roi | changes.pop("roi", {})),
    }
    return make("sensor_msgs/msg/CameraInfo", **fields | changes)
