"""Events: accumulated over a window that ends at a camera's stamp, and the frames drawn of them.

Of an event camera with more pixels than the frame, several fall into one; there, too, the last
event wins. One of fewer pixels is drawn at its own resolution and enlarged by nearest neighbour, as
DELIVER does for its low-resolution events. Nothing is ever interpolated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from memorysam_core.frames import resize
from memorysam_core.frames.arrays import (
    DeviceLike,
    between,
    bytes_of,
    elsewhere,
    on_host,
    tensor_of,
    to_bytes,
    to_device,
    where_true,
)
from memorysam_core.frames.camera import Camera
from memorysam_core.frames.kept import keep
from memorysam_core.frames.raster import paint
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
    events = _in_window(reading, grid, stamp_ns, window_ns, device)
    if isinstance(how, EventPolarity):
        increased, decreased = _last_signs(events, grid, window_ns)
    else:
        increased, decreased = _recency(events, grid, how)
    frame = torch.zeros((*size, 3), dtype=torch.uint8, device=increased.device)
    swapped = isinstance(how, EventPolarity) and how.positive == "blue"
    for channel, level in zip((2, 0) if swapped else (0, 2), (increased, decreased), strict=True):
        paint(frame, channel, grid.enlarged(level.view(grid.size), size))
    return frame


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
        """Flat grid pixels, int64, of columns and rows of the event camera."""
        if self.pixel_of_pixel is not None:
            return self.pixel_of_pixel.index_select(0, y * width + x)
        assert self.pixel_of_row is not None and self.column_of_column is not None
        rows = self.pixel_of_row.index_select(0, y)
        return rows.add_(self.column_of_column.index_select(0, x))

    def enlarged(self, level: Tensor, size: tuple[int, int]) -> Tensor:
        """The grid's levels at the frame's size."""
        if self.source is None:
            return resize.nearest(level, size)
        seen = level.view(-1).index_select(0, self.source.clamp(min=0))
        return seen.masked_fill_(self.source < 0, 0).view(size)


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


@keep(most=8)
def _even_grid(source: tuple[int, int], size: tuple[int, int], device: str) -> _Grid:
    height, width = min(source[0], size[0]), min(source[1], size[1])
    rows = torch.arange(source[0], device=device) * height // source[0]
    columns = torch.arange(source[1], device=device) * width // source[1]
    return _Grid((height, width), rows * width, columns)


@keep(most=8)
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


@dataclass(frozen=True)
class _Events:
    """The events that count, in the order of the stream."""

    t_ns: Tensor
    """int64 ``(N,)``."""
    end_ns: int
    """The window's end."""
    pixel: Tensor
    """Of the grid, int64 ``(N,)``; on a device also one past it, for events that do not count."""
    increase: Tensor
    """Of brightness, bool ``(N,)``."""
    in_order: bool
    """Known to be in order of time."""

    @property
    def age_ns(self) -> Tensor:
        """Before the window's end, int64 ``(N,)``."""
        return self.end_ns - self.t_ns


def _in_window(
    reading: EventsReading, grid: _Grid, stamp_ns: int, window_ns: int, device: DeviceLike
) -> _Events:
    t_ns, columns = tensor_of(reading.t_ns, dtype=torch.int64), [reading.x, reading.y, reading.p]
    in_order = on_host(t_ns) and _rising(t_ns.numpy())
    if in_order:
        ends = torch.tensor((stamp_ns - window_ns, stamp_ns))
        first, end = torch.searchsorted(t_ns, ends, right=True).tolist()
        t_ns, *columns = (c[first:end] for c in (t_ns, *columns))
    t_ns = to_device(t_ns, device)
    x, y, p = (to_device(tensor_of(c, dtype=torch.int32), device) for c in columns)
    counts = between(x, 0, reading.width) & between(y, 0, reading.height)
    if not in_order:
        counts &= between(t_ns, stamp_ns - window_ns + 1, stamp_ns + 1)
    t_ns, x, y, p, counts = where_true(counts, t_ns, x, y, p, counts)
    pixel = grid.place(elsewhere(x, counts, 0), elsewhere(y, counts, 0), reading.width)
    if grid.pixel_of_pixel is not None:
        counts = counts & (pixel >= 0)
        t_ns, pixel, p, counts = where_true(counts, t_ns, pixel, p, counts)
    pixel = elsewhere(pixel, counts, grid.size[0] * grid.size[1])
    return _Events(t_ns, stamp_ns, pixel, p > 0, in_order and on_host(pixel))


def _rising(values: np.ndarray) -> bool:
    return bool((values[1:] >= values[:-1]).all())


def _last_signs(events: _Events, grid: _Grid, window_ns: int) -> tuple[Tensor, Tensor]:
    """Levels 0 or 255 of each pixel: whether its last event was an increase; a decrease."""
    pixels = grid.size[0] * grid.size[1]
    if events.in_order:
        last = torch.zeros(pixels, dtype=torch.uint8)
        # Of several values for one element, NumPy keeps the last.
        last.numpy()[events.pixel.numpy()] = (events.increase.view(torch.uint8) + 1).numpy()
        return bytes_of(last == 2), bytes_of(last == 1)
    # The youngest event has the smallest (age, distance from the end of the stream, sign) packed
    # in 63 bits. Windows past 4.3 s are compared in coarser steps than nanoseconds.
    step = 1 + window_ns // (1 << _TIME_BITS)
    age_ns = events.age_ns
    key = (age_ns // step if step > 1 else age_ns) << _INDEX_BITS
    place = torch.arange(len(key), device=key.device)
    key.bitwise_or_((1 << _INDEX_BITS) - 1 - place).bitwise_left_shift_(1)
    key.bitwise_or_(events.increase)
    none = torch.iinfo(torch.int64).max
    youngest = torch.full((pixels + 1,), none, device=key.device)
    youngest = youngest.scatter_reduce_(0, events.pixel, key, "amin")[:pixels]
    rising = (youngest & 1).bool()
    fired = youngest != none
    return bytes_of(fired & rising), bytes_of(fired & ~rising)


def _recency(events: _Events, grid: _Grid, how: EventTimeSurface) -> tuple[Tensor, Tensor]:
    """Levels of each pixel: how recent its last increase is; its last decrease."""
    pixels = grid.size[0] * grid.size[1]
    youngest = torch.full((2 * (pixels + 1),), torch.inf, device=events.pixel.device)
    place = torch.where(events.increase, events.pixel, events.pixel + (pixels + 1))
    youngest.scatter_reduce_(0, place, events.age_ns.float(), "amin")
    level = to_bytes((255 * torch.exp(youngest * (-1e-9 / how.decay_s))).round_())
    increased, decreased = level.view(2, pixels + 1)[:, :pixels]
    return increased, decreased
