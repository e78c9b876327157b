"""Arrays to messages, of rclpy or of rosbags.

Headers are those of the camera's message, unchanged, or made by :meth:`Outputs.header`.
"""

from __future__ import annotations

import array
import functools
import importlib
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from memorysam_ros.conversions.headers import SECOND_NS

if TYPE_CHECKING:
    from memorysam_core.frames.camera import Camera
    from memorysam_core.labels import LabelSpace

_FLOAT32, _UINT32, _UINT8 = 7, 6, 2  # sensor_msgs/PointField's constants
_LABELLED_POINT = np.dtype(
    {
        # The usual order, types and names of PCL, so that RViz and Foxglove colour by rgb at once.
        "names": ["x", "y", "z", "rgb", "label", "confidence"],
        "formats": ["<f4", "<f4", "<f4", "<u4", "<u4", "u1"],
        "offsets": [0, 4, 8, 12, 16, 20],
        "itemsize": 24,
    }
)
_LABELLED_FIELDS = (
    ("x", 0, _FLOAT32),
    ("y", 4, _FLOAT32),
    ("z", 8, _FLOAT32),
    ("rgb", 12, _FLOAT32),
    ("label", 16, _UINT32),
    ("confidence", 20, _UINT8),
)


class MessageFactory(Protocol):
    """Builds a message from its full type name and all of its fields."""

    def __call__(self, type_name: str, /, **fields: Any) -> Any:
        """The message."""
        ...


def ros_messages(type_name: str, /, **fields: Any) -> Any:
    """A message of rclpy. Raises ModuleNotFoundError where its package is not installed."""
    kind = ros_class(type_name)
    kinds = kind.get_fields_and_field_types()
    return kind(**{name: _ros_value(kinds[name], value) for name, value in fields.items()})


@functools.lru_cache
def ros_class(type_name: str) -> Any:
    """Rclpy's class of a message type such as ``sensor_msgs/msg/Image``.

    Raises ModuleNotFoundError where its package is not installed.
    """
    package, _, name = type_name.split("/")
    return getattr(importlib.import_module(f"{package}.msg"), name)


_CODES = {"sequence<uint8>": "B", "sequence<double>": "d"}


def _ros_value(kind: str, value: Any) -> Any:
    if kind not in _CODES or not isinstance(value, np.ndarray):
        return value
    # Assigning the array itself would check it element by element: 300 ms for a camera image.
    filled = array.array(_CODES[kind])
    filled.frombytes(np.ascontiguousarray(value).data.cast("B"))
    return filled


def bag_messages(typestore: Any) -> MessageFactory:
    """Builds messages of rosbags' type store."""

    def make(type_name: str, /, **fields: Any) -> Any:
        return typestore.types[type_name](**fields)

    return make


class Outputs:
    """What the node publishes and replay writes."""

    def __init__(self, make: MessageFactory) -> None:
        self._make = make

    def header(self, stamp_ns: int, frame_id: str) -> Any:
        """A ``std_msgs/Header``."""
        seconds, nanoseconds = divmod(int(stamp_ns), SECOND_NS)
        stamp = self._make("builtin_interfaces/msg/Time", sec=seconds, nanosec=nanoseconds)
        return self._make("std_msgs/msg/Header", stamp=stamp, frame_id=frame_id)

    def image(self, header: Any, pixels: np.ndarray, encoding: str) -> Any:
        """An array ``(H, W)`` or ``(H, W, channels)`` under any encoding that fits it."""
        height, width = pixels.shape[:2]
        little = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<"))
        return self._make(
            "sensor_msgs/msg/Image",
            header=header,
            height=height,
            width=width,
            encoding=encoding,
            is_bigendian=0,
            step=little.nbytes // max(1, height),
            data=little.reshape(-1).view(np.uint8),
        )

    def labels(self, header: Any, labels: np.ndarray) -> Any:
        """Label ids ``(H, W)``: uint8 as ``mono8``, uint16 as ``mono16``."""
        return self.image(header, labels, {"u1": "mono8", "u2": "mono16"}[labels.dtype.str[1:]])

    def confidence(self, header: Any, confidence: np.ndarray) -> Any:
        """Confidence, uint8 ``(H, W)``, 0 to 255, as ``mono8``."""
        return self.image(header, confidence, "mono8")

    def rgb(self, header: Any, pixels: np.ndarray) -> Any:
        """Colours, uint8 ``(H, W, 3)``, as ``rgb8``: ``color``, ``overlay`` and debug frames."""
        return self.image(header, pixels, "rgb8")

    def depth(self, header: Any, metres: np.ndarray) -> Any:
        """Depth, float32 ``(H, W)`` in metres, NaN where there is none, as ``32FC1`` (REP-118)."""
        return self.image(header, metres.astype("<f4", copy=False), "32FC1")

    def labelled_points(
        self,
        header: Any,
        xyz: np.ndarray,
        labels: np.ndarray,
        confidence: np.ndarray,
        label_space: LabelSpace,
    ) -> Any:
        """Points ``(N, 3)`` in the header's frame with label ids and confidence ``(N,)``, 0 to 255.

        A PointCloud2 with the fields x, y, z, rgb (packed as PCL does), label, confidence.
        """
        points = np.zeros(len(xyz), _LABELLED_POINT)
        for axis, name in enumerate("xyz"):
            points[name] = xyz[:, axis]
        red, green, blue = label_space.palette[labels].astype(np.uint32).T
        points["rgb"] = (red << 16) | (green << 8) | blue
        points["label"] = labels
        points["confidence"] = confidence
        return self._cloud(header, points[None], _LABELLED_FIELDS, is_dense=True)

    def organised_points(self, header: Any, xyz: np.ndarray) -> Any:
        """Points ``(H, W, 3)`` in the camera's frame, NaN without depth, as an organised cloud."""
        return self._cloud(header, _packed(xyz), _LABELLED_FIELDS[:3], is_dense=False)

    def points(self, header: Any, xyz: np.ndarray, intensity: np.ndarray | None = None) -> Any:
        """A scan ``(N, 3)`` with intensity ``(N,)`` where given, as an unorganised cloud."""
        columns = [xyz] if intensity is None else [xyz, np.reshape(intensity, (-1, 1))]
        rows = np.concatenate(columns, axis=1)
        fields = (*_LABELLED_FIELDS[:3], ("intensity", 12, _FLOAT32))[: rows.shape[1]]
        return self._cloud(header, _packed(rows[None]), fields, is_dense=True)

    def camera_info(self, header: Any, camera: Camera) -> Any:
        """The CameraInfo of images that ``camera`` took."""
        k = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]], np.float64)
        pinhole = camera.model == "pinhole"
        return self._make(
            "sensor_msgs/msg/CameraInfo",
            header=header,
            height=camera.height,
            width=camera.width,
            distortion_model="plumb_bob" if pinhole else camera.model,
            d=np.array([0.0] * 5 if pinhole else camera.distortion, np.float64),
            k=k.reshape(-1),
            r=np.eye(3).reshape(-1),
            p=np.hstack([k, np.zeros((3, 1))]).reshape(-1),
            binning_x=0,
            binning_y=0,
            roi=self._make(
                "sensor_msgs/msg/RegionOfInterest",
                x_offset=0,
                y_offset=0,
                height=0,
                width=0,
                do_rectify=False,
            ),
        )

    def label_info(self, header: Any, label_space: LabelSpace) -> Any:
        """The names of the ids, a ``vision_msgs/LabelInfo``.

        Raises ModuleNotFoundError, or KeyError from a type store, where there is no vision_msgs.
        """
        classes = [
            self._make("vision_msgs/msg/VisionClass", class_id=index, class_name=name)
            for index, name in enumerate(label_space.classes)
        ]
        return self._make(
            "vision_msgs/msg/LabelInfo", header=header, class_map=classes, threshold=0.0
        )

    def transforms(self, edges: list[tuple[int, str, str, np.ndarray]]) -> Any:
        """A TFMessage of ``(stamp_ns, parent, child, parent_from_child)``, 4 x 4 matrices."""
        return self._make(
            "tf2_msgs/msg/TFMessage", transforms=[self._transform(*edge) for edge in edges]
        )

    def _transform(self, stamp_ns: int, parent: str, child: str, matrix: np.ndarray) -> Any:
        x, y, z = (float(v) for v in matrix[:3, 3])
        qx, qy, qz, qw = quaternion_from_matrix(matrix)
        make = self._make
        return make(
            "geometry_msgs/msg/TransformStamped",
            header=self.header(stamp_ns, parent),
            child_frame_id=child,
            transform=make(
                "geometry_msgs/msg/Transform",
                translation=make("geometry_msgs/msg/Vector3", x=x, y=y, z=z),
                rotation=make("geometry_msgs/msg/Quaternion", x=qx, y=qy, z=qz, w=qw),
            ),
        )

    def _cloud(
        self,
        header: Any,
        points: np.ndarray,  # one item for each point, (height, width)
        fields: tuple[tuple[str, int, int], ...],
        is_dense: bool,
    ) -> Any:
        height, width = points.shape
        step = points.dtype.itemsize
        return self._make(
            "sensor_msgs/msg/PointCloud2",
            header=header,
            height=height,
            width=width,
            fields=[
                self._make(
                    "sensor_msgs/msg/PointField",
                    name=name,
                    offset=offset,
                    datatype=datatype,
                    count=1,
                )
                for name, offset, datatype in fields
            ],
            is_bigendian=False,
            point_step=step,
            row_step=step * width,
            data=points.reshape(-1).view(np.uint8),
            is_dense=is_dense,
        )


def _packed(points: np.ndarray) -> np.ndarray:
    """``(H, W, channels)`` as one item of that many float32 for each point, ``(H, W)``."""
    flat = np.ascontiguousarray(points, "<f4")
    return flat.view(np.dtype(("V", flat.shape[2] * 4)))[:, :, 0]


def blend(
    image: np.ndarray, labels: np.ndarray, label_space: LabelSpace, alpha: float
) -> np.ndarray:
    """The image, uint8 ``(H, W, 3)``, tinted by the colours of its labels ``(H, W)``.

    ``alpha`` 0 is the image, 1 the colours. In whole numbers, since this is done for each frame.
    """
    weight = int((1.0 - alpha) * 256)  # rounded down, as the colours are: the sum stays below 256
    blended = np.multiply(image, np.uint16(weight), dtype=np.uint16)
    blended += 128
    blended >>= 8
    result = blended.astype(np.uint8)
    tint = torch.from_numpy((label_space.palette * alpha).astype(np.uint8))
    ids = torch.from_numpy(np.asarray(labels, np.int32).reshape(-1))
    result += tint.index_select(0, ids).numpy().reshape(image.shape)  # 4 times as fast as NumPy
    return result


def quaternion_from_matrix(matrix: np.ndarray) -> tuple[float, float, float, float]:
    """The rotation of a rigid transform ``(4, 4)`` or ``(3, 3)`` as ``(x, y, z, w)``, w >= 0."""
    r = matrix[:3, :3]
    # Symmetric 4 x 4 whose eigenvector of the largest eigenvalue is the quaternion (Bar-Itzhack,
    # 2000): without the case distinctions of the trace formula, and exact near half turns.
    k = np.array(
        [
            [r[0, 0] - r[1, 1] - r[2, 2], 0, 0, 0],
            [r[0, 1] + r[1, 0], r[1, 1] - r[0, 0] - r[2, 2], 0, 0],
            [r[0, 2] + r[2, 0], r[1, 2] + r[2, 1], r[2, 2] - r[0, 0] - r[1, 1], 0],
            [r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1], r.trace()],
        ]
    )
    x, y, z, w = np.linalg.eigh(k, UPLO="L")[1][:, -1]
    sign = -1.0 if w < 0 else 1.0
    return float(x * sign), float(y * sign), float(z * sign), float(w * sign)
