"""PointCloud2 messages to points, whatever the layout of their fields."""

from __future__ import annotations

from typing import Any

import numpy as np

from memorysam_core.frames.readings import PointsReading
from memorysam_ros.conversions.errors import ConversionError
from memorysam_ros.conversions.headers import frame_id
from memorysam_ros.conversions.rows import unpadded

# sensor_msgs/PointField's datatype constants
DATATYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8"}


def points_reading(message: Any, camera_from_lidar: np.ndarray) -> PointsReading:
    """A LiDAR's PointCloud2 with the extrinsics float64 ``(4, 4)``; see :func:`returns`."""
    return PointsReading(returns(message), camera_from_lidar)


def returns(message: Any) -> np.ndarray:
    """The returns in a PointCloud2: organised or not, either byte order, padded or not.

    Metres in the sensor's frame, float32 ``(N, 3)``, or float64 where the message is, without the
    rows that are NaN, infinite or 0, 0, 0. x, y and z may be anywhere among the fields and of any
    float type; a cloud of zero points is fine.
    Raises ConversionError where x, y or z are missing or the data are too short.
    """
    if int(message.height) * int(message.width) == 0:  # which often has no fields either
        return np.zeros((0, 3), np.float32)
    rows = structured(message)
    names = rows.dtype.names or ()
    unusable = [n for n in "xyz" if n not in names or rows.dtype[n].kind != "f"]
    if unusable:
        raise ConversionError(
            f"cloud in frame {frame_id(message)!r} has the fields {', '.join(names) or 'none'} "
            f"in a point_step of {message.point_step}, with no usable {', '.join(unusable)}; x, y "
            "and z must be FLOAT32 or FLOAT64: set the LiDAR's driver to Cartesian coordinates"
        )
    wide = any(rows.dtype[name].itemsize > 4 for name in "xyz")
    xyz = np.empty((3, len(rows)), np.float64 if wide else np.float32)
    for axis, name in enumerate("xyz"):
        xyz[axis] = rows[name]
    # Ouster's driver and others mark a beam without return by zeros instead of NaN.
    squared = np.einsum("ij,ij->j", xyz, xyz)
    kept = (squared > 0) & (squared < np.inf)
    return (xyz if kept.all() else xyz.compress(kept, axis=1)).T


def structured(message: Any) -> np.ndarray:
    """All points as they are, a structured array ``(N,)`` with a name for each field.

    A read-only view of the message where its rows are not padded. Raises ConversionError where the
    data are too short.
    """
    dtype = _dtype(message)
    height, width = int(message.height), int(message.width)
    row_step = int(message.row_step) if height > 1 else width * dtype.itemsize
    data = np.frombuffer(message.data, np.uint8)
    row = width * dtype.itemsize
    if height * width == 0:
        return np.empty(0, dtype)
    if not row or row_step < row or len(data) < row_step * (height - 1) + row:
        raise ConversionError(
            f"cloud in frame {frame_id(message)!r} is {width} x {height} points of "
            f"{dtype.itemsize} bytes with row_step {row_step} and {len(data)} bytes; that takes "
            f"points of at least 12 bytes, a row_step of at least {row} and "
            f"{max(row_step, row) * height} bytes: the publisher fills the message wrongly"
        )
    return unpadded(data, height, row, row_step).reshape(-1).view(dtype)


def _dtype(message: Any) -> np.dtype:
    order = ">" if message.is_bigendian else "<"
    step = int(message.point_step)
    formats: dict[str, tuple[Any, int]] = {}
    for field in message.fields:
        code, count = DATATYPES.get(int(field.datatype)), max(1, int(field.count))
        if code is None or int(field.offset) + int(code[1]) * count > step:
            continue  # a field nobody can read must not cost the points
        kind = order + code if count == 1 else (order + code, (count,))
        formats.setdefault(str(field.name), (kind, int(field.offset)))
    names = list(formats)
    return np.dtype(
        {
            "names": names,
            "formats": [formats[n][0] for n in names],
            "offsets": [formats[n][1] for n in names],
            "itemsize": step,
        }
    )
