"""The labels of a set, and every message that can be made of them; each is made when asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from memorysam_core.frames import depth, lidar, resize
from memorysam_core.frames.arrays import tensor_of
from memorysam_core.frames.camera import Camera
from memorysam_core.frames.readings import (
    DepthReading,
    ImageReading,
    PointsReading,
    Reading,
)
from memorysam_core.labels import LabelSpace
from memorysam_core.segmenter import Segmentation
from memorysam_ros.conversions import Outputs, blend, stamp_ns
from memorysam_ros.matching import MatchedSet
from memorysam_ros.range_colours import paint_points


@dataclass(frozen=True)
class Result:
    """What came out of one set."""

    matched: MatchedSet
    segmentation: Segmentation
    label_space: LabelSpace
    readings: Mapping[str, Reading]
    """By sensor, those that could be used."""
    frames: Mapping[str, Tensor]
    """By sensor, what the model saw, uint8 ``(h, w, 3)`` at the network's size."""
    camera: Camera | None
    """The colour camera at its native size, where it is calibrated."""
    camera_frame: str
    troubles: Mapping[str, str]
    """Sensors whose message could not be used, and why."""
    doubts: Mapping[str, str]
    """Sensors whose message was used, though something seems wrong with it."""
    times_ns: Mapping[str, int]
    """How long each stage took."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the labels."""
        height, width = self.segmentation.labels.shape
        return height, width

    def header(self, outputs: Outputs) -> Any:
        """The camera's header, unchanged; where another sensor leads, its stamp in that frame."""
        (leading,) = self.matched.readings[self.matched.leader]
        if self.matched.leader == "image":
            return leading.payload.header
        return outputs.header(stamp_ns(leading.payload), self.camera_frame)

    def view(self) -> Camera | None:
        """The colour camera at the size of the labels."""
        return self.camera.resized(self.size[1], self.size[0]) if self.camera else None

    def colours(self) -> np.ndarray:
        """The labels in their display colours, uint8 ``(H, W, 3)``."""
        return self.label_space.colourise(self.segmentation.labels)

    def overlay(self, opacity: float) -> np.ndarray:
        """The image under the colours; black where there is no image, uint8 ``(H, W, 3)``."""
        image = self.readings.get("image")
        if isinstance(image, ImageReading):
            pixels = resize.smooth(tensor_of(image.pixels, dtype=torch.uint8), self.size).numpy()
        else:
            pixels = np.zeros((*self.size, 3), np.uint8)
        return blend(pixels, self.segmentation.labels, self.label_space, opacity)

    def points(self) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """The scan's visible points in the camera's frame, their labels and confidence.

        ``(N, 3)``, ``(N,)``, ``(N,)``; None without a scan or without the camera's calibration.
        """
        scan, view = self.readings.get("lidar"), self.view()
        if not isinstance(scan, PointsReading) or view is None:
            return None
        seen = lidar.look(scan, view)
        pixel = seen.pixel[seen.visible].numpy()
        labels, confidence = self.segmentation.labels, self.segmentation.confidence
        return (
            seen.xyz[seen.visible].numpy(),
            labels.reshape(-1)[pixel],
            confidence.reshape(-1)[pixel],
        )

    def lidar_overlay(self) -> np.ndarray | None:
        """The scan's visible points over the darkened image (else black), coloured by range.

        uint8 ``(H, W, 3)``, at the image's own size; None as for :meth:`points`.
        """
        scan, image = self.readings.get("lidar"), self.readings.get("image")
        if not isinstance(scan, PointsReading) or self.camera is None:
            return None
        seen = lidar.look(scan, self.camera)
        if isinstance(image, ImageReading):
            picture = np.asarray(image.pixels) // 2
        else:
            picture = np.zeros((*seen.size, 3), np.uint8)
        range_m = torch.linalg.vector_norm(seen.xyz, dim=1)
        paint_points(picture, seen.pixel[seen.visible].numpy(), range_m[seen.visible].numpy())
        return picture

    def organised_points(self) -> np.ndarray | None:
        """A point for each label, in the camera's frame, float32 ``(H, W, 3)``, NaN for none.

        None without depth or without the camera's calibration.
        """
        reading, view = self.readings.get("depth"), self.view()
        if not isinstance(reading, DepthReading) or view is None:
            return None
        metres = depth.register(reading, view).numpy()
        valid = np.isfinite(metres) & (metres > 0)
        return view.rays() * np.where(valid, metres, np.nan)[..., None]


Message = Callable[[Result, Outputs, float], Any]


def _debug(sensor: str) -> Message:
    def message(result: Result, outputs: Outputs, opacity: float) -> Any:
        frame = result.frames.get(sensor)
        return None if frame is None else outputs.rgb(result.header(outputs), frame.cpu().numpy())

    return message


def _labels(result: Result, outputs: Outputs, opacity: float) -> Any:
    return outputs.labels(result.header(outputs), result.segmentation.labels)


def _confidence(result: Result, outputs: Outputs, opacity: float) -> Any:
    return outputs.confidence(result.header(outputs), result.segmentation.confidence)


def _colour(result: Result, outputs: Outputs, opacity: float) -> Any:
    return outputs.rgb(result.header(outputs), result.colours())


def _overlay(result: Result, outputs: Outputs, opacity: float) -> Any:
    return outputs.rgb(result.header(outputs), result.overlay(opacity))


def _points(result: Result, outputs: Outputs, opacity: float) -> Any:
    found = result.points()
    if found is None:
        return None
    return outputs.labelled_points(result.header(outputs), *found, result.label_space)


def _organised(result: Result, outputs: Outputs, opacity: float) -> Any:
    points = result.organised_points()
    return None if points is None else outputs.organised_points(result.header(outputs), points)


def _lidar_overlay(result: Result, outputs: Outputs, opacity: float) -> Any:
    picture = result.lidar_overlay()
    return None if picture is None else outputs.rgb(result.header(outputs), picture)


def _camera_info(result: Result, outputs: Outputs, opacity: float) -> Any:
    view = result.view()
    return None if view is None else outputs.camera_info(result.header(outputs), view)


_IMAGE, _CLOUD = "sensor_msgs/msg/Image", "sensor_msgs/msg/PointCloud2"

TOPICS: dict[str, tuple[str, Message]] = {
    "output/labels": (_IMAGE, _labels),
    "output/confidence": (_IMAGE, _confidence),
    "output/organized_points": (_CLOUD, _organised),
    "output/points": (_CLOUD, _points),
    "output/color": (_IMAGE, _colour),
    "output/overlay": (_IMAGE, _overlay),
    "output/camera_info": ("sensor_msgs/msg/CameraInfo", _camera_info),
    "debug/depth_frame": (_IMAGE, _debug("depth")),
    "debug/events_frame": (_IMAGE, _debug("event")),
    "debug/lidar_frame": (_IMAGE, _debug("lidar")),
    "debug/lidar_overlay": (_IMAGE, _lidar_overlay),
}
"""By topic under the node's name: its type, and how its message is made (None: it cannot be).
Labels come first, since that is what somebody waits for."""

CLOUDS = {
    "depth": ("output/organized_points",),
    "lidar": ("output/points", "debug/lidar_overlay"),
}
"""By sensor the topics that are made of it, whether or not the model is shown it."""
