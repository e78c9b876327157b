"""From sensor readings to model frames: cameras, LiDAR, depth and events, without ROS."""

from memorysam_core.frames.camera import Camera
from memorysam_core.frames.draw import Frame, draw
from memorysam_core.frames.kept import drop_kept
from memorysam_core.frames.readings import (
    DepthReading,
    EventsReading,
    ImageReading,
    PointsReading,
    Reading,
    RenderedReading,
)

__all__ = [
    "Camera",
    "DepthReading",
    "EventsReading",
    "Frame",
    "ImageReading",
    "PointsReading",
    "Reading",
    "RenderedReading",
    "draw",
    "drop_kept",
]
