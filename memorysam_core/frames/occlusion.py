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
dense tensor operations without sorting, on any device. The windows slide over nearness in 16 bits,
floating, which is exact to 0.05 %: far below the noise of any sensor, and a third of the time.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from memorysam_core.frames.arrays import (
    divided,
    elsewhere,
    filled,
    known,
    number,
    on_host,
)
from memorysam_core.frames.camera import Camera
from memorysam_core.frames.sliding import slide

_CLOSE_GAPS = (2.6, 3.0)
"""Height and width of the closing's window, in gaps between returns."""
_REACH_GAPS = (0.3, 0.4)
"""How far a surface reaches past its last return, in gaps, vertically and horizontally."""
_NEAREST_PLANE_M = 1.0
"""Planes that pass the camera at this distance or farther do not hide themselves."""
_PARALLAX_PX = 3.0
_RANGE_NOISE = 0.03
"""Part of the distance within which two returns count as one surface."""
_CELLS_PER_GAP = 5
"""Resolution of the grid on which the closing is computed."""
_MOST_CELLS, _MOST_REACH = 14, 4
"""Bounds of the closing's radius and of the reach in cells, of which a gap has less than 10."""
_GAP_QUANTILE = 0.9
_LINES = 32
"""So many columns of the image, and rows, are enough to measure gaps along; at most twice that."""
_SAME_RING_PX = 3
"""Returns closer than this in the vertical may be of one ring, which is bent in the image."""
_DROPPED_BITS = 12
_FARTHEST = (116 << 11) - 1
"""The upper bits of the float 2^-11, less 1: that is left for cells without a return."""
_NEAREST = 32767


def visible(
    xyz: Tensor,
    row: Tensor,
    column: Tensor,
    inside: Tensor,
    camera: Camera,
    lidar_in_camera: Tensor,
) -> Tensor:
    """For each point whether the camera can see it, bool ``(K,)``.

    ``xyz`` ``(K, 3)`` are points in the camera's optical frame, of which those that are ``inside``
    ``(K,)`` its image count, ``row`` and ``column`` ``(K,)`` their pixels, int32 (0 of the others),
    ``lidar_in_camera`` ``(3,)`` the place of the LiDAR.
    """
    if len(row) == 0:
        return inside
    # Planes are affine in 1 / z in all but fisheye images, where z goes to 0 within the image.
    distance = xyz.norm(dim=1) if camera.model == "equidistant" else xyz[:, 2]
    nearness = distance.reciprocal()
    cells, radius, reach = _windows(_gaps(row, column, inside, camera))
    closed, reaching = _surfaces(nearness, row, column, inside, camera, cells, radius, reach)

    margin = _PARALLAX_PX / _parallax(row, column, camera, lidar_in_camera)
    reach_px = (reach + 1) * cells
    slope = number(torch.maximum(reach_px[0] / camera.fy, reach_px[1] / camera.fx))
    covering = torch.maximum(
        closed * (1 - _RANGE_NOISE) - margin,
        reaching * (1 - _RANGE_NOISE) - margin.clamp(min=slope / _NEAREST_PLANE_M),
    )
    return (nearness >= covering) & inside


def _windows(gaps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of gaps ``(2,)`` in pixels: the size of a cell in pixels, the closing's radius in cells, and
    how far surfaces reach, in cells; int64 ``(2,)`` each, vertically and horizontally.
    """
    cells = (gaps // _CELLS_PER_GAP).clamp(min=1)
    gaps_in_cells = gaps.double() / cells
    radius = [gap * (close / 2) for gap, close in zip(gaps_in_cells, _CLOSE_GAPS, strict=True)]
    reach = [gap * part for gap, part in zip(gaps_in_cells, _REACH_GAPS, strict=True)]
    radius_cells = torch.stack(radius).round_().long().clamp_(1, _MOST_CELLS)
    return cells, radius_cells, torch.stack(reach).round_().long().clamp_(max=radius_cells)


def _surfaces(
    nearness: Tensor, row: Tensor, column: Tensor, inside: Tensor, camera: Camera,
    cells: Tensor, radius: Tensor, reach: Tensor,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Nearness of what covers each point: between returns, and with surfaces reaching past them."""
    i, last_i = _from_first(row, inside, cells[0])
    j, last_j = _from_first(column, inside, cells[1])
    height, width = known(last_i + 1, camera.height), known(last_j + 1, camera.width)
    cell = (i * width + j).long()
    nearest = filled((height * width + 1,), 0, torch.int16, cell.device)
    nearest.scatter_reduce_(0, elsewhere(cell, inside, height * width), _short(nearness), "amax")
    nearest = nearest[:-1].view(height, width)

    beside = None
    if not on_host(nearest):  # the grid is as large as it may be, and its rest is no empty cell
        below = torch.arange(height, device=cell.device) > last_i
        beside = below[:, None] | (torch.arange(width, device=cell.device) > last_j)

    def narrowed(image: Tensor, by: Tensor, most: int) -> Tensor:
        image = image if beside is None else image.masked_fill(beside, _NEAREST)
        return slide(image, by, most, torch.minimum, _NEAREST)

    widened = slide(nearest, radius, _MOST_CELLS, torch.maximum, 0)
    reaching = narrowed(widened, radius - reach, _MOST_CELLS)
    closed = narrowed(reaching, reach, _MOST_REACH)
    cell = elsewhere(cell, inside, 0)
    return _long(closed.view(-1).index_select(0, cell)), _long(
        reaching.view(-1).index_select(0, cell)
    )


def _from_first(place: Tensor, inside: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """Cells of rows or columns, counted from the first that is inside, int32; and the last."""
    first = elsewhere(place, inside, torch.iinfo(torch.int32).max).amin()
    cells = divided(place - first, cell)
    return cells, elsewhere(cells, inside, 0).amax()


def _short(nearness: Tensor) -> Tensor:
    """Nearness as int16 of the same order: the float's exponent and upper 11 bits of its fraction.

    1 for what is 2 km away or farther, the greatest for what is within 3 cm.
    """
    bits = nearness.float().view(torch.int32)
    return ((bits >> _DROPPED_BITS) - _FARTHEST).clamp_(1, _NEAREST).to(torch.int16)


def _long(short: Tensor) -> Tensor:
    """The inverse of :func:`_short`, rounded down, float32. What is empty, 0, is 2 km away."""
    return ((short.int() + _FARTHEST) << _DROPPED_BITS).view(torch.float32)


def _parallax(row: Tensor, column: Tensor, camera: Camera, lidar_in_camera: Tensor) -> Tensor:
    """Pixels by which LiDAR and camera see two points apart, per difference in nearness (1 / m)."""
    tx, ty, tz = lidar_in_camera.unbind()
    x = (column + (0.5 - camera.cx)) * (1 / camera.fx)
    y = (row + (0.5 - camera.cy)) * (1 / camera.fy)
    across, down = (x * tz - tx) * camera.fx, (y * tz - ty) * camera.fy
    return (across * across + down * down).sqrt_().clamp_(min=1e-6)


def _gaps(row: Tensor, column: Tensor, inside: Tensor, camera: Camera) -> Tensor:
    """Pixels from a return to the next one below it and to the next one beside it, mostly; int64
    ``(2,)``.
    """
    strip = max(2, camera.width // 128)
    # Filled on the device: a number that is brought there would be waited for.
    strips = torch.full((), camera.width // strip + 1, device=row.device)
    below = _gap(divided(column, strip), strips, row, inside, camera.height, _SAME_RING_PX)
    vertical = below.clamp(min=_SAME_RING_PX)
    bands = camera.height // vertical + 1
    beside = _gap(divided(row, vertical), bands, column, inside, camera.width, 1)
    return torch.stack((vertical, beside))


def _gap(
    line: Tensor, lines: Tensor, place: Tensor, inside: Tensor, places: int, skip: int
) -> Tensor:
    """How far along its line the next point is, at least ``skip`` on, that most points stay within;
    int64 ``()``, 1 where no point has a next one. Some of the ``lines`` () speak for all.
    """
    if on_host(line):
        return torch.tensor(_gap_on_host(line.numpy(), int(lines), place.numpy(), places, skip))
    every = (lines // _LINES).clamp(min=1)
    group = divided(line, every)
    counted = inside & (group * every == line)  # the first line of each group

    # Places run backwards, so that a running minimum looks ahead. One more line takes the others.
    count, length = 2 * _LINES + 1, places + skip
    slot = (group.masked_fill(~counted, count) * length + (places - 1 - place)).long()
    shape = (count + 1, length)
    following = torch.full(shape, 4 * places, dtype=torch.int32, device=line.device)
    following.view(-1).scatter_(0, slot + skip, place)
    following = following.cummin(1).values.view(-1)
    gap = following.index_select(0, slot) - place

    limit = places // 8
    bins = gap.clamp(max=limit + 1).masked_fill(~counted, limit + 1).long()
    counts = torch.zeros(limit + 2, dtype=torch.int64, device=gap.device)
    running = counts.scatter_add_(0, bins, torch.ones_like(bins))[: limit + 1].cumsum(0)
    return torch.searchsorted(running, (running[-1] * _GAP_QUANTILE).ceil().long()).clamp(min=1)


def _gap_on_host(line: np.ndarray, lines: int, place: np.ndarray, places: int, skip: int) -> int:
    """The same, with fewer and shorter steps."""
    every = max(1, lines // _LINES)
    group = line // np.int32(every)
    counted = np.flatnonzero(group * np.int32(every) == line)
    group, place = group[counted], place[counted]

    length = places + skip
    slot = group * np.int32(length) + (np.int32(places - 1) - place)
    following = np.full((lines // every + 1, length), 4 * places, np.int32)
    following.reshape(-1)[slot + np.int32(skip)] = place
    np.minimum.accumulate(following, axis=1, out=following)
    gap = following.reshape(-1)[slot] - place

    limit = places // 8
    counts = np.bincount(np.minimum(gap, limit + 1), minlength=limit + 2)
    running = counts[: limit + 1].cumsum()
    return max(1, int(np.searchsorted(running, np.ceil(running[-1] * _GAP_QUANTILE))))
