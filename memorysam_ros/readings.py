"""The messages of a set as readings, with the calibration that belongs to them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from memorysam_core.frames.readings import (
    DepthReading,
    EventsReading,
    ImageReading,
    PointsReading,
    RenderedReading,
)
from memorysam_ros import conversions
from memorysam_ros.calibration import Calibration, CalibrationError, Extrinsics, Transforms
from memorysam_ros.cameras import Cameras, same_view


class Readings:
    """Makes readings that are placed in the view of the colour camera."""

    def __init__(
        self, cameras: Cameras, calibration: Calibration, transforms: Transforms | None
    ) -> None:
        self._cameras = cameras
        self._calibration = calibration
        self._extrinsics = Extrinsics(calibration.extrinsics, transforms)
        self._image_frame: str | None = None  # until there was an image

    @property
    def camera_frame(self) -> str:
        """Name of the colour camera's optical frame; empty until a message names it."""
        return self._image_frame or self._cameras.frame_id("image")

    def image(self, message: Any) -> ImageReading:
        """The colour image."""
        self._image_frame = conversions.frame_id(message)
        return conversions.image_reading(message)

    def rendered(self, message: Any) -> RenderedReading:
        """A frame that comes ready drawn."""
        return conversions.rendered_reading(message)

    def depth(self, message: Any) -> DepthReading:
        """Depth, with its camera unless it is registered to the colour camera.

        It is taken to be registered where both have one ``frame_id``, unless its own camera_info
        says that it shows another section. Raises CalibrationError, ConversionError.
        """
        registered = conversions.depth_reading(message)
        frame, camera_frame = conversions.frame_id(message), self.camera_frame
        given = "depth" in self._calibration.extrinsics
        alone = not camera_frame and self._image_frame is None
        if not given and (alone or frame == camera_frame):
            if not (self._cameras.known("depth") and self._cameras.known("image")):
                return registered
            size = np.shape(registered.metres)
            camera = self._cameras.camera("depth", (int(size[0]), int(size[1])))
            if same_view(self._cameras.camera("image"), camera):
                return registered
            return dataclasses.replace(registered, camera=camera)
        self._need_camera_frame("depth", frame)
        size = np.shape(registered.metres)
        camera = self._cameras.camera("depth", (int(size[0]), int(size[1])))
        return DepthReading(registered.metres, camera, self._camera_from("depth", message))

    def points(self, message: Any) -> PointsReading:
        """A scan with its extrinsics at its own stamp. Raises CalibrationError, ConversionError."""
        return conversions.points_reading(message, self._camera_from("lidar", message))

    def events(self, pieces: Sequence[EventsReading]) -> EventsReading:
        """Decoded packets as one reading; the last one says the resolution."""
        last = pieces[-1]
        joined = {
            name: np.concatenate([getattr(piece, name) for piece in pieces])
            for name in ("t_ns", "x", "y", "p")
        }
        return EventsReading(
            **joined,
            width=last.width,
            height=last.height,
            camera=self._calibration.intrinsics.get("event"),
            camera_from_event=self._calibration.extrinsics.get("event"),
        )

    def _camera_from(self, sensor: str, message: Any) -> np.ndarray:
        frame, stamp_ns = conversions.frame_id(message), conversions.stamp_ns(message)
        self._need_camera_frame(sensor, frame)
        return self._extrinsics.camera_from(sensor, self.camera_frame, frame, stamp_ns)

    def _need_camera_frame(self, sensor: str, frame: str) -> None:
        if not self.camera_frame and sensor not in self._calibration.extrinsics:
            why = "as neither an image nor a camera_info arrived"
            if self._image_frame is not None:
                why = "as its images have an empty frame_id; set it in the camera's driver"
            raise CalibrationError(
                f"no extrinsics of the {sensor} (frame {frame!r}): the camera's frame is not known "
                + why
            )
