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

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from memorysam_core.frames.camera import Camera

_CLOSE_GAPS = (2.4, 3.5)
"""Height and width of the closing's window, in gaps between returns."""
_REACH_GAPS = (0.4, 0.4)
"""How far a surface reaches past its last return, in gaps, vertically and horizontally."""
_NEAREST_PLANE_M = 1.0
"""Planes that pass the camera at this distance or farther do not hide themselves."""
_PARALLAX_PX = 3.0
_RANGE_NOISE = 0.04
"""Part of the distance within which two returns count as one surface."""
_CELLS_PER_GAP = 5
"""Resolution of the grid on which the closing is computed."""
_GAP_QUANTILE = 0.9
_SAME_RING_PX = 3
"""Returns closer than this in the vertical may be of one ring, which is bent in the image."""
_DROPPED_BITS = 12
_FARTHEST = (116 << 11) - 1
"""The upper bits of the float 2^-11, less 1: that is left for cells without a return."""
_NEAREST = 32767


def visible(
    xyz: Tensor, row: Tensor, column: Tensor, camera: Camera, lidar_in_camera: Tensor
) -> Tensor:
    """For each point whether the camera can see it, bool ``(K,)``.

    ``xyz`` ``(K, 3)`` are points in the camera's optical frame that fall in its image, ``row`` and
    ``column`` ``(K,)`` their pixels, int32, ``lidar_in_camera`` ``(3,)`` the place of the LiDAR.
    """
    if len(row) == 0:
        return torch.ones_like(row, dtype=torch.bool)
    # Planes are affine in 1 / z in all but fisheye images, where z goes to 0 within the image.
    distance = xyz.norm(dim=1) if camera.model == "equidistant" else xyz[:, 2]
    nearness = distance.reciprocal()
    gaps = _gaps(row, column, camera)
    cells = [max(1, gap // _CELLS_PER_GAP) for gap in gaps]
    radius = [
        max(1, round(c * g / s / 2)) for c, g, s in zip(_CLOSE_GAPS, gaps, cells, strict=True)
    ]
    reach = [
        min(round(c * g / s), r)
        for c, g, s, r in zip(_REACH_GAPS, gaps, cells, radius, strict=True)
    ]
    closed, reaching = _surfaces(nearness, row, column, cells, radius, reach)

    margin = _PARALLAX_PX / _parallax(row, column, camera, lidar_in_camera)
    slope = max((reach[0] + 1) * cells[0] / camera.fy, (reach[1] + 1) * cells[1] / camera.fx)
    covering = torch.maximum(
        closed * (1 - _RANGE_NOISE) - margin,
        reaching * (1 - _RANGE_NOISE) - margin.clamp(min=slope / _NEAREST_PLANE_M),
    )
    return nearness >= covering


def _surfaces(
    nearness: Tensor, row: Tensor, column: Tensor,
    cells: list[int], radius: list[int], reach: list[int],
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Nearness of what covers each point: between returns, and with surfaces reaching past them."""
    i, j = (row - row.min()) // cells[0], (column - column.min()) // cells[1]
    height, width = int(i.max()) + 1, int(j.max()) + 1
    cell = (i * width + j).long()
    nearest = torch.zeros(height * width, dtype=torch.int16, device=cell.device)
    nearest.scatter_reduce_(0, cell, _short(nearness), "amax")
    widened = _slide(nearest.view(height, width), radius, torch.maximum, 0)
    less = [r - e for r, e in zip(radius, reach, strict=True)]
    reaching = _slide(widened, less, torch.minimum, _NEAREST)
    closed = _slide(reaching, reach, torch.minimum, _NEAREST)
    return _long(closed.view(-1).index_select(0, cell)), _long(
        reaching.view(-1).index_select(0, cell)
    )


def _short(nearness: Tensor) -> Tensor:
    """Nearness as int16 of the same order: the float's exponent and upper 11 bits of its fraction.

    1 for what is 2 km away or farther, the greatest for what is within 3 cm.
    """
    bits = nearness.float().view(torch.int32)
    return ((bits >> _DROPPED_BITS) - _FARTHEST).clamp_(1, _NEAREST).to(torch.int16)


def _long(short: Tensor) -> Tensor:
    """The inverse of :func:`_short`, rounded down, float32; 0 stays 0."""
    bits = (short.int() + _FARTHEST) << _DROPPED_BITS
    return bits.masked_fill_(short == 0, 0).view(torch.float32)


def _parallax(row: Tensor, column: Tensor, camera: Camera, lidar_in_camera: Tensor) -> Tensor:
    """Pixels by which LiDAR and camera see two points apart, per difference in nearness (1 / m)."""
    tx, ty, tz = lidar_in_camera.unbind()
    x = (column + (0.5 - camera.cx)) * (1 / camera.fx)
    y = (row + (0.5 - camera.cy)) * (1 / camera.fy)
    across, down = (x * tz - tx) * camera.fx, (y * tz - ty) * camera.fy
    return (across * across + down * down).sqrt().clamp(min=1e-6)


def _gaps(row: Tensor, column: Tensor, camera: Camera) -> tuple[int, int]:
    """Pixels from a return to the next one below it and to the next one beside it, mostly."""
    strip = max(2, camera.width // 128)
    below = _next_occupied(column // strip, row, camera.height, _SAME_RING_PX)
    vertical = _quantile(below, camera.height // 8)
    band = max(_SAME_RING_PX, vertical)
    beside = _next_occupied(row // band, column, camera.width, 1)
    return max(vertical, _SAME_RING_PX), _quantile(beside, camera.width // 8)


def _next_occupied(line: Tensor, place: Tensor, places: int, skip: int) -> Tensor:
    """How far along its line the next point is, at least ``skip`` on; large where there is none."""
    length = places + skip
    lines = int(line.max()) + 1
    # Places run backwards, so that a running minimum looks ahead.
    slot = (line * length + (places - 1 - place)).long()
    following = torch.full((lines * length,), 4 * places, dtype=torch.int32, device=line.device)
    following.scatter_(0, slot + skip, place)
    following = following.view(lines, length).cummin(1).values.view(-1)
    return following.index_select(0, slot) - place


def _quantile(gap: Tensor, limit: int) -> int:
    """The gap that most stay within, of those up to ``limit``; 1 where there are none."""
    counts = torch.bincount(gap.clamp(max=limit + 1), minlength=limit + 2)
    running = counts[: limit + 1].cumsum(0)
    return max(1, int(torch.searchsorted(running, (running[-1] * _GAP_QUANTILE).ceil())))


def _slide(
    image: Tensor, radius: list[int], combine: Callable[[Tensor, Tensor], Tensor], outside: int
) -> Tensor:
    """Maximum or minimum over ``2 * radius + 1`` cells each way around each cell, by doubling."""
    r, s = radius
    padded = functional.pad(image, (s, s, r, r), value=outside)
    for dim, length in ((0, 2 * r + 1), (1, 2 * s + 1)):
        done = 1
        while done < length:
            shift = min(done, length - done)
            count = padded.shape[dim] - shift
            padded = combine(padded.narrow(dim, 0, count), padded.narrow(dim, shift, count))
            done += shift
    return padded
