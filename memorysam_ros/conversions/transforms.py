"""Transforms of ``/tf`` and ``/tf_static`` as 4 x 4 matrices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from memorysam_ros.conversions.errors import ConversionError
from memorysam_ros.conversions.headers import frame_id, stamp_ns


@dataclass(frozen=True)
class StampedTransform:
    """One edge of the tree of frames: ``parent_from_child``, float64 ``(4, 4)``, metres."""

    parent: str
    child: str
    stamp_ns: int
    parent_from_child: np.ndarray


def transforms(message: Any) -> list[StampedTransform]:
    """The edges in a ``tf2_msgs/TFMessage``. Raises ConversionError for a rotation of length 0."""
    return [stamped_transform(transform) for transform in message.transforms]


def stamped_transform(message: Any) -> StampedTransform:
    """One ``geometry_msgs/TransformStamped``, such as tf2's ``lookup_transform`` returns."""
    t, r = message.transform.translation, message.transform.rotation
    child = str(message.child_frame_id).lstrip("/")
    try:
        matrix = matrix_from_quaternion((t.x, t.y, t.z), (r.x, r.y, r.z, r.w))
    except ConversionError as error:
        raise ConversionError(f"transform {frame_id(message)} from {child}: {error}") from None
    return StampedTransform(frame_id(message), child, stamp_ns(message), matrix)


def matrix_from_quaternion(
    translation: tuple[float, float, float], quaternion: tuple[float, float, float, float]
) -> np.ndarray:
    """A rigid transform, float64 ``(4, 4)``, from metres and ``(x, y, z, w)`` of any length."""
    values = np.array([*translation, *quaternion], np.float64)
    length = np.linalg.norm(values[3:])
    if not np.isfinite(values).all() or length < 1e-6:
        raise ConversionError(
            f"translation {tuple(translation)} and quaternion {tuple(quaternion)} (x, y, z, w) are "
            "no rigid transform; give finite numbers and a quaternion that is not zero "
            "(no rotation is 0 0 0 1)"
        )
    x, y, z, w = values[3:] / length
    matrix = np.eye(4)
    matrix[:3, 3] = values[:3]
    matrix[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return matrix
