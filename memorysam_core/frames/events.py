"""Events: accumulated over a window that ends at a camera's stamp, and the frames drawn of them.

Of an event camera with more pixels than the frame, several fall into one; there, too, the last
event wins. One of fewer pixels is drawn at its own resolution and enlarged by nearest neighbour, as
DELIVER does for its low-resolution events. Nothing is ever interpolated.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from memorysam_core.frames import resize
from memorysam_core.frames.arrays import DeviceLike, between, indices_where, tensor_of
from memorysam_core.frames.camera import Camera
from memorysam_core.frames.readings import EventsReading
from memorysam_core.representations import EventPolarity, EventTimeSurface

_INDEX_BITS = 30
_TIME_BITS = 32


def draw_events(
    reading: EventsReading,
    how: EventPolarity | EventTimeSurface,
    camera: Camera | None,
    size: tuple[int, int],
    stamp_ns: int,
    device: DeviceLike = "cpu",
) -> Tensor:
    """The frame of the events in ``stamp - window < t <= stamp``, uint8 ``(*size, 3)``.

    ``camera`` is the colour camera at ``size``; it is needed only where the event camera has a
    calibration of its own, and events are then placed as if all were far away.
    """
    window_ns = round(how.window_s * 1e9)
    grid = _grid(reading, camera, size, device)
    age_ns, index, pixel, increase = _in_window(reading, grid, stamp_ns, window_ns, device)
    if isinstance(how, EventPolarity):
        frame = _polarity(age_ns, index, pixel, increase, grid, how)
    else:
        frame = _time_surface(age_ns, pixel, increase, grid, how)
    return grid.enlarged(frame.view(*grid.size, 3), size)


@dataclass(frozen=True)
class _Grid:
    """Where events are gathered, and how that becomes the frame."""

    size: tuple[int, int]
    pixel_of_row: Tensor | None = None
    """Flat grid pixel at which each row of the event camera starts."""
    column_of_column: Tensor | None = None
    """Grid column of each column of the event camera."""
    pixel_of_pixel: Tensor | None = None
    """Flat grid pixel of each pixel of a calibrated event camera, -1 outside."""
    source: Tensor | None = None
    """For each pixel of the frame the flat grid pixel it sees, -1 for none; None if evenly."""

    def place(self, x: Tensor, y: Tensor, width: int) -> Tensor:
        if self.pixel_of_pixel is not None:
            return self.pixel_of_pixel.index_select(0, y * width + x)
        assert self.pixel_of_row is not None and self.column_of_column is not None
        rows = self.pixel_of_row.index_select(0, y)
        return rows.add_(self.column_of_column.index_select(0, x))

    def enlarged(self, frame: Tensor, size: tuple[int, int]) -> Tensor:
        if self.source is None:
            return resize.nearest(frame, size).contiguous()
        seen = frame.view(-1, 3)[self.source.clamp(min=0)]
        return seen.masked_fill_((self.source < 0)[:, None], 0).view(*size, 3)


def _grid(
    reading: EventsReading, camera: Camera | None, size: tuple[int, int], device: DeviceLike
) -> _Grid:
    if reading.camera is None:
        return _even_grid((reading.height, reading.width), size, str(device))
    if camera is None:
        raise ValueError(
            "an event camera with a calibration of its own needs the colour camera's, got None"
        )
    turned = np.eye(4) if reading.camera_from_event is None else reading.camera_from_event
    rotation = tensor_of(turned, "cpu", torch.float64)[:3, :3]
    event_camera = reading.camera.resized(reading.width, reading.height)
    return _calibrated_grid(event_camera, camera, tuple(rotation.flatten().tolist()), str(device))


@lru_cache(maxsize=8)
def _even_grid(source: tuple[int, int], size: tuple[int, int], device: str) -> _Grid:
    height, width = min(source[0], size[0]), min(source[1], size[1])
    rows = torch.arange(source[0], device=device) * height // source[0]
    columns = torch.arange(source[1], device=device) * width // source[1]
    return _Grid((height, width), rows * width, columns)


@lru_cache(maxsize=8)
def _calibrated_grid(
    event_camera: Camera, camera: Camera, rotation: tuple[float, ...], device: str
) -> _Grid:
    camera_from_event = np.array(rotation).reshape(3, 3)
    if camera.fx * camera.fy < event_camera.fx * event_camera.fy:  # several events to a pixel
        seen = _pixels_seen(event_camera.rays() @ camera_from_event.T, camera)
        grid = _Grid((camera.height, camera.width), pixel_of_pixel=seen.to(device))
        return grid
    seen = _pixels_seen(camera.rays() @ camera_from_event, event_camera)
    everywhere = torch.arange(event_camera.height * event_camera.width, device=device)
    size = (event_camera.height, event_camera.width)
    return _Grid(size, pixel_of_pixel=everywhere, source=seen.to(device))


def _pixels_seen(rays: np.ndarray, camera: Camera) -> Tensor:
    """The flat pixel of a camera that each ray falls in, int64, -1 for none."""
    uv, inside = camera.project(np.asarray(rays, np.float64).reshape(-1, 3))
    column, row = np.where(inside[:, None], uv, 0).astype(np.int64).T
    return torch.from_numpy(np.where(inside, row * camera.width + column, -1))


def _in_window(
    reading: EventsReading, grid: _Grid, stamp_ns: int, window_ns: int, device: DeviceLike
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Age in ns, place in the stream, grid pixel and sign of the events that count."""
    age_ns = stamp_ns - tensor_of(reading.t_ns, device, torch.int64)
    x, y, p = (tensor_of(c, device, torch.int64) for c in (reading.x, reading.y, reading.p))
    kept = between(age_ns, 0, window_ns) & between(x, 0, reading.width)
    index = indices_where(kept & between(y, 0, reading.height))
    if len(index) < len(kept):
        age_ns, x, y, p = (c.index_select(0, index) for c in (age_ns, x, y, p))
    pixel = grid.place(x, y, reading.width)
    increase = p > 0
    if grid.pixel_of_pixel is not None:
        seen = indices_where(pixel >= 0)
        kept_columns = (c.index_select(0, seen) for c in (age_ns, index, pixel, increase))
        age_ns, index, pixel, increase = kept_columns
    return age_ns, index, pixel, increase


def _polarity(
    age_ns: Tensor, index: Tensor, pixel: Tensor, increase: Tensor, grid: _Grid, how: EventPolarity
) -> Tensor:
    # The youngest event has the smallest (age, distance from the end of the stream, sign) packed
    # in 63 bits. Windows past 4.3 s are compared in coarser steps than nanoseconds.
    step = 1 + round(how.window_s * 1e9) // (1 << _TIME_BITS)
    key = (age_ns // step if step > 1 else age_ns) << _INDEX_BITS
    key.bitwise_or_((1 << _INDEX_BITS) - 1 - index).bitwise_left_shift_(1).bitwise_or_(increase)
    none = torch.iinfo(torch.int64).max
    last = torch.full((grid.size[0] * grid.size[1],), none, device=pixel.device)
    last.scatter_reduce_(0, pixel, key, "amin")
    rising = (last & 1).bool()
    fired = last != none
    red = rising if how.positive == "red" else ~rising
    frame = torch.zeros((len(last), 3), dtype=torch.uint8, device=pixel.device)
    frame[:, 0] = (fired & red) * 255
    frame[:, 2] = (fired & ~red) * 255
    return frame


def _time_surface(
    age_ns: Tensor, pixel: Tensor, increase: Tensor, grid: _Grid, how: EventTimeSurface
) -> Tensor:
    pixels = grid.size[0] * grid.size[1]
    youngest = torch.full((2 * pixels,), torch.inf, device=pixel.device)
    youngest.scatter_reduce_(
        0, torch.where(increase, pixel, pixel + pixels), age_ns.float(), "amin"
    )
    level = (255 * torch.exp(youngest * (-1e-9 / how.decay_s))).round().to(torch.uint8)
    frame = level.new_zeros((pixels, 3))
    frame[:, 0], frame[:, 2] = level[:pixels], level[pixels:]
    return frame
