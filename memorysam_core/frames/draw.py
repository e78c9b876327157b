"""From a sensor's reading to the frame a model eats: one call for training, replay and live use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial

import torch
from torch import Tensor

from memorysam_core.contract import Modality
from memorysam_core.frames import depth, events, hha, lidar, raster, resize
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
    EventTimeSurface,
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
    point_count: Tensor | None = None
    """For LiDAR, how many points are drawn, int64 ``()``: those in view and in reach."""
    _find_points: Callable[[], Tensor] | None = field(default=None, repr=False, compare=False)

    @cached_property
    def point_index(self) -> Tensor | None:
        """For LiDAR, the index of the point drawn in each pixel, int32 ``(H, W)``, -1 for none.

        Made when first asked for.
        """
        return self._find_points() if self._find_points is not None else None


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
    LiDAR, HHA, and depth or events of a camera with a calibration of its own need it. Events are
    those of the window that ends at ``stamp_ns``. A rendered reading passes for any representation:
    it was drawn elsewhere.

    Only colour images are averaged when they change size (bilinear, antialiased); depth and
    rendered frames take the nearest pixel; LiDAR is projected and events are gathered at ``size``.

    Raises ValueError where reading and representation do not belong together, or no camera is given
    to a frame that needs one.
    """
    how = what.representation if isinstance(what, Modality) else what
    height, width = size
    view = camera.resized(width, height) if camera is not None else None
    if isinstance(reading, RenderedReading):
        pixels = tensor_of(reading.pixels, device, torch.uint8)
        return Frame(_own(resize.nearest(pixels, size), pixels))
    if isinstance(reading, ImageReading) and isinstance(how, Rgb):
        pixels = tensor_of(reading.pixels, device, torch.uint8)
        return Frame(_own(resize.smooth(pixels, size), pixels))
    if isinstance(reading, DepthReading) and isinstance(how, LogDepth):
        metres = _registered(reading, view, size, device)
        return Frame(raster.grey_to_rgb(depth.grey_from_metres(metres, how)))
    if isinstance(reading, DepthReading) and isinstance(how, Hha):
        needed = _needed(view, how)
        return Frame(hha.draw_hha(depth.register(reading, needed, device), needed, how))
    if isinstance(reading, PointsReading) and isinstance(how, LidarRange):
        seen = lidar.look(reading, _needed(view, how), device, find_occluded=how.remove_occluded)
        return Frame(*lidar.draw_lidar(seen, how), partial(lidar.find_points, seen, how))
    if isinstance(reading, EventsReading) and isinstance(how, (EventPolarity, EventTimeSurface)):
        return Frame(events.draw_events(reading, how, view, size, stamp_ns, device))
    raise ValueError(
        f"{type(reading).__name__} cannot be drawn as {how.name!r}, which takes {how.reading}; "
        "give the sensor that the checkpoint was trained with, or RenderedReading if it is drawn"
    )


def _own(pixels: Tensor, source: Tensor) -> Tensor:
    """A frame that nobody else holds, so that its user may write to it."""
    return pixels.clone() if pixels is source else pixels


def _needed(view: Camera | None, how: Representation) -> Camera:
    if view is None:
        raise ValueError(
            f"a frame of {how.name!r} needs the colour camera's intrinsics, got None: "
            "wait for its camera_info, or give its calibration"
        )
    return view


def _registered(
    reading: DepthReading, view: Camera | None, size: tuple[int, int], device: DeviceLike
) -> Tensor:
    if reading.camera is not None:
        if view is None:
            raise ValueError(
                "depth of another camera needs the colour camera's intrinsics, got None: "
                "wait for its camera_info, or register the depth in its driver"
            )
        return depth.register(reading, view, device)
    return resize.nearest(tensor_of(reading.metres, device, torch.float32), size)
