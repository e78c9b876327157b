"""From a sensor's reading to the frame a model eats: one call for training, replay and live use."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from memorysam_core.contract import Modality
from memorysam_core.frames import depth, events, lidar, resize
from memorysam_core.frames.arrays import DeviceLike, tensor_of
from memorysam_core.frames.camera import Camera
from memorysam_core.frames.readings import (
    DepthReading,
    EventsReading,
    ImageReading,
    PointsReading,
    Reading,
    RenderedReading,
)
from memorysam_core.representations import (
    EventPolarity,
    Hha,
    LidarRange,
    LogDepth,
    Representation,
    Rgb,
)


@dataclass(frozen=True)
class Frame:
    """What the model sees of one reading."""

    pixels: Tensor
    """uint8 ``(H, W, 3)``."""
    point_index: Tensor | None = None
    """For LiDAR, the index of the point drawn in each pixel, int32 ``(H, W)``, -1 for none."""


def draw(
    what: Modality | Representation,
    reading: Reading,
    camera: Camera | None,
    size: tuple[int, int],
    stamp_ns: int = 0,
    device: DeviceLike = "cpu",
) -> Frame:
    """Draws a reading as the contract's representation, at ``size`` (height, width), on ``device``.

    ``camera`` is the colour camera at its native size; its intrinsics are scaled to ``size`` here.
    LiDAR, HHA and depth of another camera need it. Events are those of the window that ends at
    ``stamp_ns``. A rendered reading passes for any representation: it was drawn elsewhere.

    Raises ValueError where reading and representation do not belong together, or no camera is given
    to a frame that needs one.
    """
    how = what.representation if isinstance(what, Modality) else what
    height, width = size
    scaled = camera.resized(width, height) if camera is not None else None
    if isinstance(reading, RenderedReading):
        return Frame(resize.nearest(tensor_of(reading.pixels, device, torch.uint8), size))
    if isinstance(how, Rgb) and isinstance(reading, ImageReading):
        return Frame(resize.smooth(tensor_of(reading.pixels, device, torch.uint8), size))
    if isinstance(how, (LogDepth, Hha)) and isinstance(reading, DepthReading):
        if scaled is None:
            scaled = Camera(width, height, width / 2, width / 2, width / 2, height / 2)
        grey = depth.grey_from_metres(depth.register(reading, scaled, device), how)
        return Frame(grey[..., None].expand(-1, -1, 3).contiguous())
    if isinstance(how, LidarRange) and isinstance(reading, PointsReading):
        if scaled is None:
            raise ValueError("a LiDAR frame needs the colour camera, got None")
        return Frame(*lidar.draw_lidar(lidar.look(reading, scaled, device), how))
    if isinstance(how, EventPolarity) and isinstance(reading, EventsReading):
        return Frame(events.draw_polarity(reading, how, size, stamp_ns, device))
    raise ValueError(f"{type(reading).__name__} cannot be drawn as {how.name!r}")
