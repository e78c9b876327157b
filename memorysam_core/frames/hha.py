"""Horizontal distance, height, angle: the three-channel depth frame of DELIVER's ``hha`` folder.

R is the logarithmic depth of :mod:`memorysam_core.frames.depth`, known to a grey level. G, height
above the ground, and B, the angle between the surface and gravity, follow the published frames in
kind only (after Gupta et al., ECCV 2014). Gravity is taken to be the camera's own down, as the
published frames must have had it: they come without an attitude.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from memorysam_core.frames.arrays import between, bytes_of, cleared, to_bytes
from memorysam_core.frames.camera import Camera, ray_tensor
from memorysam_core.frames.depth import grey_from_metres
from memorysam_core.frames.kept import keep
from memorysam_core.frames.raster import paint
from memorysam_core.representations import Hha

_COARSE = 2
"""Slopes are taken of means over this many pixels each way: single pixels are noisy."""
_GROUND_TILT_DEG = 15.0
"""Surfaces less inclined than this may be ground."""
_GROUND_SHARE = 0.01
"""Of all pixels, how many must look like ground before its height is trusted."""
_GROUND_BIN_M = 0.05
_WITHOUT_SIGN = 0x7FFFFFFE
_DEEPEST_M = 10.0
"""The ground is looked for down to this far below the camera."""


def draw_hha(metres: Tensor, camera: Camera, how: Hha) -> Tensor:
    """The frame, uint8 ``(H, W, 3)``, of depth along the optical axis ``(H, W)``, NaN for none.

    ``camera`` is the one the depth is registered to, of the same size. Pixels without depth are
    ``invalid_level`` in R and 0 in G and B.
    """
    valid = bytes_of(between(metres, 0, math.inf))
    rays = _plane_coordinates(camera, str(metres.device))
    down = metres * rays.down
    tilt_deg = surface_tilt_deg(metres, camera)
    below = slice(rays.horizon, None)
    squares = down[::_COARSE, ::_COARSE]
    least = _GROUND_SHARE * squares.numel()
    ground = _ground_below_camera(squares[below], tilt_deg[below], least, how)

    height = torch.add(ground * how.levels_per_metre, down, alpha=-how.levels_per_metre)
    angle = to_bytes((tilt_deg + how.angle_offset).clamp_(0, 255).nan_to_num_(0))
    frame = torch.empty((*metres.shape, 3), dtype=torch.uint8, device=metres.device)
    paint(frame, 0, grey_from_metres(metres, how))
    paint(frame, 1, to_bytes(height.clamp_(0, 255)) & valid)
    paint(frame, 2, _enlarged(angle, metres.shape) & valid)
    return frame


def surface_tilt_deg(metres: Tensor, camera: Camera) -> Tensor:
    """Angle between each surface's normal and the camera's up, degrees; at half the resolution.

    0 is a floor, 90 a wall, 180 a ceiling. On a plane, nearness ``w = 1 / z`` is an affine function
    of the ray's x and y, and the normal follows from its two slopes and its value.
    """
    rays = _plane_coordinates(camera, str(metres.device))
    w = _mean_nearness(metres)
    w_x, w_y = rays.slopes(_slope(w, 1), _slope(w, 0))
    w_z = w - rays.x * w_x - rays.y * w_y
    return torch.rad2deg(torch.atan2(torch.hypot(w_x, w_z), w_y))


def _mean_nearness(metres: Tensor) -> Tensor:
    """Mean of 1 / z over the valid pixels of each square; NaN where there are none."""
    valid = between(metres, 0, math.inf).view(torch.uint8)
    nearness = metres.reciprocal().nan_to_num_(nan=0)
    return _sum_of_squares(nearness) / _sum_of_squares(valid)


def _sum_of_squares(image: Tensor) -> Tensor:
    """Sums over squares of ``_COARSE`` pixels each way; what the edge cuts off counts as 0."""
    missing = [-length % _COARSE for length in image.shape]
    if any(missing):
        image = functional.pad(image, (0, missing[1], 0, missing[0]))
    rows = sum(image[k::_COARSE] for k in range(1, _COARSE)) + image[::_COARSE]
    return sum(rows[:, k::_COARSE] for k in range(1, _COARSE)) + rows[:, ::_COARSE]


def _enlarged(cells: Tensor, size: Sequence[int]) -> Tensor:
    """Bytes of the squares of :func:`_sum_of_squares`, for each pixel."""
    columns = (cells.to(torch.int16) * 0x0101).view(torch.uint8)  # each byte twice
    rows = columns[:, None].expand(-1, _COARSE, -1).reshape(-1, columns.shape[1])
    return rows[: size[0], : size[1]]


def _slope(w: Tensor, dim: int) -> Tensor:
    """Change per cell: of the steps to both neighbours the smaller, which stays on the surface."""
    step = w.diff(dim=dim).view(torch.int32)
    # As integers, floats without their sign are ordered and NaN is the largest. The sign takes the
    # place of the last bit meanwhile.
    size = (step >> 31).bitwise_and_(1).bitwise_or_(step & _WITHOUT_SIGN)
    smaller, last = torch.empty_like(w, dtype=torch.int32), size.shape[dim] - 1
    before, after = size.narrow(dim, 0, last), size.narrow(dim, 1, last)
    torch.minimum(before, after, out=smaller.narrow(dim, 1, last))
    smaller.select(dim, 0).copy_(size.select(dim, 0))
    smaller.select(dim, -1).copy_(size.select(dim, -1))
    return (smaller << 31).bitwise_or_(smaller.bitwise_and_(_WITHOUT_SIGN)).view(torch.float32)


@dataclass(frozen=True)
class _Plane:
    """Where the rays through the squares meet the plane ``z = 1``."""

    x: Tensor
    y: Tensor
    down: Tensor
    """y, but of each pixel."""
    horizon: int
    """The first row of squares that looks down."""
    u_x: Tensor | float
    """du/dx, in squares."""
    v_x: Tensor | None
    """dv/dx; None for a camera that bends nothing."""
    u_y: Tensor | None
    v_y: Tensor | float

    def slopes(self, along_u: Tensor, along_v: Tensor) -> tuple[Tensor, Tensor]:
        """Change along the columns and rows as change along x and y."""
        if self.v_x is None or self.u_y is None:
            return along_u.mul_(self.u_x), along_v.mul_(self.v_y)
        return along_u * self.u_x + along_v * self.v_x, along_u * self.u_y + along_v * self.v_y


@keep(most=4)
def _plane_coordinates(camera: Camera, device: str) -> _Plane:
    rays = ray_tensor(camera, device)
    x, y = rays[::_COARSE, ::_COARSE, 0].contiguous(), rays[::_COARSE, ::_COARSE, 1].contiguous()
    down = rays[..., 1].contiguous()
    looks_down = np.flatnonzero((ray_tensor(camera)[::_COARSE, :, 1] > 0).any(1).numpy())
    horizon = int(looks_down[0]) if len(looks_down) else 0
    if not camera.distorted:
        return _Plane(x, y, down, horizon, camera.fx / _COARSE, None, None, camera.fy / _COARSE)
    (x_v, x_u), (y_v, y_u) = torch.gradient(x), torch.gradient(y)
    determinant = x_u * y_v - x_v * y_u
    steps = y_v / determinant, -y_u / determinant, -x_v / determinant, x_u / determinant
    return _Plane(x, y, down, horizon, *steps)


def _ground_below_camera(down: Tensor, tilt_deg: Tensor, least: float, how: Hha) -> Tensor:
    """How far below the camera most level surfaces are, metres, float ``()``, where there are at
    least so many.
    """
    level = between(tilt_deg, 0, _GROUND_TILT_DEG) & between(down, 1e-9, _DEEPEST_M)
    bins = round(_DEEPEST_M / _GROUND_BIN_M)
    # The first one is for surfaces that are none.
    which = down.nan_to_num(0, 0, 0).div_(_GROUND_BIN_M).clamp_(0, bins - 1).add_(1)
    which = cleared(which, level).long().view(-1)
    counts = torch.zeros(1 + bins, dtype=torch.int64, device=down.device)
    counts = counts.scatter_add_(0, which, torch.ones_like(which))[1:]
    # Neighbouring bins count half: a height on the border of two is one height.
    around = functional.pad(counts, (1, 1))
    smooth = 2 * counts + around[:-2] + around[2:]
    ground = (smooth.argmax() + 0.5) * _GROUND_BIN_M
    few = counts.sum() < least
    return ground.masked_fill_(few, how.camera_height_m)
