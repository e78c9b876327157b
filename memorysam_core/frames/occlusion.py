"""Which LiDAR returns can the camera see? Those that it cannot are found and left out.

LiDAR and camera stand apart, so the LiDAR sees surfaces that nearer ones hide from the camera.
Their returns fall between the sparse returns of the nearer surface and would be drawn through it.

The method works on *nearness* ``1 / z``, because any plane, the road at a grazing angle included,
is an affine function of the pixel there:

1. The nearest return of each cell is drawn; empty cells have nearness 0.
2. A morphological closing (a sliding maximum, then a sliding minimum) with a window somewhat larger
   than the gaps between returns fills each surface between its returns. What lies *between* nearer
   returns is covered; what lies beside them is not, and a plane is not covered by its own nearer
   part, since some window around each return reaches only its far side.
3. A nearer surface reaches, on average, half a gap past its last return. A second minimum over a
   smaller window adds that, and allows for the slope of any plane that passes no nearer to the
   camera than ``_NEAREST_PLANE_M``.
4. A return is hidden where the covering surface is nearer by more than noise, and by so much that
   the distance between the sensors could have moved the two apart by ``_PARALLAX_PX`` in the image:
   without parallax, what the LiDAR sees the camera sees too.

Gaps are measured in each scan, so rings, pixels and mounting need no parameters. All steps are
dense tensor operations without sorting, on any device. The windows slide over nearness in 8 bits,
floating and rounded down: a surface may be taken to be up to 3 % farther than it is, as if it were
noisier, and never to hide what it does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from memorysam_core.frames.arrays import (
    Array,
    as_type,
    at_least,
    at_most,
    bits_of,
    divided,
    double,
    elsewhere,
    known,
    of_bits,
    on_host,
    rounded,
    selected,
    sqrt,
    to_bytes,
    zero_bytes,
)
from memorysam_core.frames.camera import Camera
from memorysam_core.frames.raster import keep_greatest
from memorysam_core.frames.sliding import slide

_CLOSE_GAPS = (2.6, 3.0)
"""Height and width of the closing's window, in gaps between returns."""
_REACH_GAPS = (0.3, 0.4)
"""How far a surface reaches past its last return, in gaps, vertically and horizontally."""
_NEAREST_PLANE_M = 1.0
"""Planes that pass the camera at this distance or farther do not hide themselves."""
_PARALLAX_PX = 3.0
_RANGE_NOISE = 0.02
"""Part of the distance within which two returns count as one surface, beside what 8 bits lose."""
_CELLS_PER_GAP = 5
"""Resolution of the grid on which the closing is computed."""
_MOST_CELLS, _MOST_REACH = 14, 4
"""Bounds of the closing's radius and of the reach in cells, of which a gap has less than 10."""
_GAP_QUANTILE = 0.9
_LINES = 32
"""So many columns of the image, and rows, are enough to measure gaps along; at most twice that."""
_SAME_RING_PX = 3
"""Returns closer than this in the vertical may be of one ring, which is bent in the image."""
_FARTHEST = 2.0**-8
"""Nearness of what is 256 m away, and of what is farther, where it is compared."""
_DROPPED_BITS = 18
_BELOW_FARTHEST = (119 << 5) - 1
"""The upper bits of that float, less 1: 0 is left for cells without a return."""
_NEAREST = 255


def visible(
    xyz: Array,
    row: Array,
    column: Array,
    inside: Array,
    camera: Camera,
    lidar_in_camera: Array,
) -> Array:
    """For each point whether the camera can see it, bool ``(K,)``.

    ``xyz`` ``(3, K)`` are points in the camera's optical frame, of which those that are ``inside``
    ``(K,)`` its image count, ``row`` and ``column`` ``(K,)`` their pixels, int32 (0 of the others),
    ``lidar_in_camera`` ``(3,)`` the place of the LiDAR: NumPy arrays, or tensors of a device.
    """
    if len(row) == 0:
        return inside
    x, y, z = xyz
    # Planes are affine in 1 / z in all but fisheye images, where z goes to 0 within the image.
    distance = sqrt(x * x + y * y + z * z) if camera.model == "equidistant" else z
    nearness = 1 / at_most(distance, 1 / _FARTHEST)
    gaps = _gaps(row, column, inside, camera)
    vertical, horizontal = map(_window, gaps, _CLOSE_GAPS, _REACH_GAPS)
    closed, reaching = _surfaces(nearness, row, column, inside, camera, vertical, horizontal)

    margin = _PARALLAX_PX / _parallax(row, column, camera, lidar_in_camera)
    slope = at_least(vertical.reach_px / camera.fy, horizontal.reach_px / camera.fx)
    covering = at_least(
        closed * (1 - _RANGE_NOISE) - margin,
        reaching * (1 - _RANGE_NOISE) - at_least(margin, slope / _NEAREST_PLANE_M),
    )
    return (nearness >= covering) & inside


@dataclass(frozen=True)
class _Window:
    """Along rows or columns; whole numbers, on a device int64 ``()``."""

    cell: Any
    """Pixels."""
    radius: Any
    """Of the closing, in cells."""
    reach: Any
    """How far surfaces reach, in cells."""

    @property
    def reach_px(self) -> Any:
        """The same, in pixels, and a cell for what rounding leaves."""
        return double(self.reach + 1) * self.cell


def _window(gap: Any, close_gaps: float, reach_gaps: float) -> _Window:
    """For gaps in pixels."""
    cell = at_least(gap // _CELLS_PER_GAP, 1)
    gap_in_cells = double(gap) / cell
    radius = at_most(at_least(rounded(gap_in_cells * (close_gaps / 2)), 1), _MOST_CELLS)
    return _Window(cell, radius, at_most(rounded(gap_in_cells * reach_gaps), radius))


def _surfaces(
    nearness: Array, row: Array, column: Array, inside: Array, camera: Camera,
    vertical: _Window, horizontal: _Window,
) -> tuple[Array, Array]:  # fmt: skip
    """Nearness of what covers each point: between returns, and with surfaces reaching past them."""
    i, last_i = _from_first(row, inside, vertical.cell)
    j, last_j = _from_first(column, inside, horizontal.cell)
    height, width = known(last_i + 1, camera.height), known(last_j + 1, camera.width)
    cell = as_type(i * width + j, "int64")
    nearest = zero_bytes((height * width + 1,), cell)
    keep_greatest(nearest, elsewhere(cell, inside, height * width), _short(nearness))
    nearest = nearest[:-1].reshape(height, width)

    beside = None
    if not on_host(nearest):  # the grid is as large as it may be, and its rest is no empty cell
        below = torch.arange(height, device=cell.device) > last_i
        beside = below[:, None] | (torch.arange(width, device=cell.device) > last_j)

    def narrowed(image: Array, by: tuple[Any, Any], most: int) -> Array:
        image = image if beside is None else image.masked_fill(beside, _NEAREST)
        return slide(image, by, most, torch.minimum, _NEAREST)

    radius = vertical.radius, horizontal.radius
    reach = vertical.reach, horizontal.reach
    rest = vertical.radius - vertical.reach, horizontal.radius - horizontal.reach
    reaching = narrowed(slide(nearest, radius, _MOST_CELLS, torch.maximum, 0), rest, _MOST_CELLS)
    closed = narrowed(reaching, reach, _MOST_REACH)
    found = selected(elsewhere(cell, inside, 0), closed.reshape(-1), reaching.reshape(-1))
    return _long(found[0]), _long(found[1])


def _from_first(place: Array, inside: Array, cell: Any) -> tuple[Array, Any]:
    """Cells of rows or columns, counted from the first that is inside, int32; and the last."""
    cells = divided(place - elsewhere(place, inside, 2**31 - 1).min(), cell)
    return cells, elsewhere(cells, inside, 0).max()


def _short(nearness: Array) -> Array:
    """Nearness as uint8 of the same order: the float's exponent and upper 5 bits of its fraction.

    1 for what is 256 m away or farther, the greatest for what is within 1 m.
    """
    level = (bits_of(nearness) >> _DROPPED_BITS) - _BELOW_FARTHEST
    return to_bytes(at_most(at_least(level, 1), _NEAREST))


def _long(short: Array) -> Array:
    """The inverse of :func:`_short`, rounded down, float32. What is empty, 0, hides nothing."""
    return of_bits((as_type(short, "int32") + _BELOW_FARTHEST) << _DROPPED_BITS)


def _parallax(row: Array, column: Array, camera: Camera, lidar_in_camera: Array) -> Array:
    """Pixels by which LiDAR and camera see two points apart, per difference in nearness (1 / m)."""
    tx, ty, tz = lidar_in_camera
    x = (as_type(column, "float32") + (0.5 - camera.cx)) * (1 / camera.fx)
    y = (as_type(row, "float32") + (0.5 - camera.cy)) * (1 / camera.fy)
    across, down = (x * tz - tx) * camera.fx, (y * tz - ty) * camera.fy
    return at_least(sqrt(across * across + down * down), 1e-6)


def _gaps(row: Array, column: Array, inside: Array, camera: Camera) -> tuple[Any, Any]:
    """Pixels from a return to the next one below it and to the next one beside it, mostly; whole
    numbers, on a device int64 ``()``.
    """
    strip = max(2, camera.width // 128)
    below = _gap(column, camera.width, strip, row, camera.height, inside, _SAME_RING_PX)
    vertical = at_least(below, _SAME_RING_PX)
    return vertical, _gap(row, camera.height, vertical, column, camera.width, inside, 1)


def _gap(
    across: Array, extent: int, thickness: Any, along: Array, places: int, inside: Array, skip: int
) -> Any:
    """How far along its line the next point is, at least ``skip`` on, that most points stay within;
    1 where no point has a next one.

    Lines are so many pixels of ``extent`` thick; some of them speak for all. ``along`` is less than
    ``places``.
    """
    every = at_least((extent // thickness + 1) // _LINES, 1) * thickness
    group = divided(across, every)
    counted = across - group * every < thickness  # the first line of each group
    if on_host(across):
        return _gap_in_groups(group[counted], along[counted], places, skip)

    # Places run backwards, so that a running minimum looks ahead. One more line takes the others.
    counted = counted & inside
    count, length = 2 * _LINES + 1, places + skip
    slot = (group.masked_fill(~counted, count) * length + (places - 1 - along)).long()
    shape = (count + 1, length)
    following = torch.full(shape, 4 * places, dtype=torch.int32, device=group.device)
    following.view(-1).scatter_(0, slot + skip, along)
    following = following.cummin(1).values.view(-1)
    gap = following.index_select(0, slot) - along

    limit = places // 8
    bins = gap.clamp(max=limit + 1).masked_fill(~counted, limit + 1).long()
    counts = torch.zeros(limit + 2, dtype=torch.int64, device=gap.device)
    running = counts.scatter_add_(0, bins, torch.ones_like(bins))[: limit + 1].cumsum(0)
    return torch.searchsorted(running, (running[-1] * _GAP_QUANTILE).ceil().long()).clamp(min=1)


def _gap_in_groups(group: np.ndarray, place: np.ndarray, places: int, skip: int) -> int:
    """The same on the host, of the points that count."""
    length = places + skip
    slot = group * np.int32(length) + (np.int32(places - 1) - place)
    following = np.full((int(group.max(initial=0)) + 1, length), 4 * places, np.int32)
    following.reshape(-1)[slot + np.int32(skip)] = place
    np.minimum.accumulate(following, axis=1, out=following)
    gap = following.reshape(-1)[slot] - place

    limit = places // 8
    counts = np.bincount(np.minimum(gap, limit + 1), minlength=limit + 2)
    running = counts[: limit + 1].cumsum()
    return max(1, int(np.searchsorted(running, np.ceil(running[-1] * _GAP_QUANTILE))))
