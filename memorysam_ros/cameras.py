"""What the cameras see: intrinsics from CameraInfo messages or from the user."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from memorysam_core.frames.camera import Camera
from memorysam_ros import conversions
from memorysam_ros.calibration import CalibrationError

_TOPICS = {"image": "~/input/camera_info", "depth": "~/input/depth_camera_info"}
_SAME_VIEW = 0.01
"""Cameras whose focal lengths and centres differ by less than this share of the image agree."""


class Cameras:
    """The cameras by sensor name. What the user gives has precedence over CameraInfo."""

    def __init__(self, given: Mapping[str, Camera], rectified: bool) -> None:
        self._given = given
        self._rectified = rectified
        self._infos: dict[str, Any] = {}
        self._made: dict[str, tuple[tuple[Any, ...], Camera]] = {}

    def add_info(self, sensor: str, message: Any) -> None:
        """A CameraInfo of ``image`` or ``depth`` arrived; it is read when it is needed."""
        self._infos[sensor] = message

    def known(self, sensor: str) -> bool:
        """Whether :meth:`camera` has something to read."""
        return sensor in self._given or sensor in self._infos

    def frame_id(self, sensor: str) -> str:
        """Name of the optical frame, as CameraInfo says; empty where none arrived."""
        info = self._infos.get(sensor)
        return conversions.frame_id(info) if info is not None else ""

    def camera(self, sensor: str, size: tuple[int, int] | None = None) -> Camera:
        """The camera, for images of ``size`` (height, width).

        Raises CalibrationError where it is not known, ConversionError where it is uncalibrated, and
        CalibrationError where the images show another section than it describes.
        """
        camera = self._given.get(sensor) or self._from_info(sensor)
        if size is None or size == (camera.height, camera.width):
            return camera
        height, width = size
        if abs(width * camera.height / (height * camera.width) - 1) > _SAME_VIEW:
            raise CalibrationError(
                f"images of {sensor} are {width} x {height}, but their calibration is for "
                f"{camera.width} x {camera.height}, another shape; publish the camera_info that "
                "belongs to these images (binning and roi included)"
            )
        return camera.resized(width, height)

    def _from_info(self, sensor: str) -> Camera:
        info = self._infos.get(sensor)
        if info is None:
            raise CalibrationError(
                f"no intrinsics of {sensor}: nothing arrived on {_TOPICS[sensor]}; publish its "
                "camera_info, remap the topic, or give them in calibration_file"
            )
        roi = info.roi
        key = (
            info.width, info.height, info.distortion_model, *info.k, *info.d, *info.p,
            info.binning_x, info.binning_y, roi.x_offset, roi.y_offset, roi.width, roi.height,
        )  # fmt: skip
        if sensor not in self._made or self._made[sensor][0] != key:
            self._made[sensor] = key, conversions.camera(info, self._rectified)
        return self._made[sensor][1]


def same_view(one: Camera, other: Camera) -> bool:
    """Whether two cameras at one place take the same picture, but for its resolution."""
    scaled = other.resized(one.width, one.height)
    apart = (one.fx - scaled.fx, one.fy - scaled.fy, one.cx - scaled.cx, one.cy - scaled.cy)
    return max(map(abs, apart)) < _SAME_VIEW * one.width
