"""CameraInfo messages to :class:`memorysam_core.frames.camera.Camera` and back."""

from __future__ import annotations

from typing import Any

from memorysam_core.frames.camera import Camera
from memorysam_ros.conversions.errors import ConversionError
from memorysam_ros.conversions.headers import frame_id


def camera(message: Any, rectified: bool = False) -> Camera:
    """The camera whose images the CameraInfo goes with.

    ``rectified`` says which: ``image_rect`` is described by P without distortion, ``image_raw`` by
    K and D. Binning and region of interest are applied. Raises ConversionError where the camera is
    not calibrated (all-zero K) or the model is unknown.
    """
    roi = message.roi
    try:
        return Camera.from_info(
            width=int(message.width),
            height=int(message.height),
            k=message.k,
            d=message.d,
            p=message.p,
            distortion_model=str(message.distortion_model),
            binning=(int(message.binning_x), int(message.binning_y)),
            roi=(int(roi.x_offset), int(roi.y_offset), int(roi.width), int(roi.height)),
            rectified=rectified,
        )
    except ValueError as error:
        raise ConversionError(f"camera_info in frame {frame_id(message)!r}: {error}") from error
