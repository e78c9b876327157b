"""Horizontal distance, height, angle: the three-channel depth frame of DELIVER's ``hha`` folder.

R is the logarithmic depth of :mod:`memorysam_core.frames.depth`, known to a grey level. G, height
above the ground, and B, the angle between the surface and gravity, follow the published frames in
kind only (after Gupta et al., ECCV 2014). Gravity is taken to be the camera's own down, as the
published frames must have had it: they come without an attitude.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from memorysam_core.frames import resize
from memorysam_core.frames.arrays import between, bytes_of
from memorysam_core.frames.camera import Camera, ray_tensor
from memorysam_core.frames.depth import grey_from_metres
from memorysam_core.frames.raster import paint
from memorysam_core.representations import Hha

_COARSE = 2
"""Slopes are taken of means over this many pixels each way: single pixels are noisy."""
_GROUND_TILT_DEG = 15.0
"""Surfaces less inclined than this may be ground."""
_GROUND_SHARE = 0.01
"""Of all pixels, how many must look like ground before its height is trusted."""
_GROUND_BIN_M = 0.05
_DEEPEST_M = 10.0
"""The ground is looked for down to this far below the camera."""


def draw_hha(metres: Tensor, camera: Camera, how: Hha) -> Tensor:
    """The frame, uint8 ``(H, W, 3)``, of depth along the optical axis ``(H, W)``, NaN for none.

    ``camera`` is the one the depth is registered to, of the same size. Pixels without depth are
    ``invalid_level`` in R and 0 in G and B.
    """
    size = (camera.height, camera.width)
    valid = bytes_of(between(metres, 0, math.inf))
    down = metres * ray_tensor(camera, str(metres.device))[..., 1]
    tilt_deg = surface_tilt_deg(metres, camera)
    ground = _ground_below_camera(down[::_COARSE, ::_COARSE], tilt_deg, how)

    height = ((ground - down) * how.levels_per_metre).clamp_(0, 255).nan_to_num_(0)
    angle = (tilt_deg + how.angle_offset).clamp_(0, 255).nan_to_num_(0).to(torch.uint8)
    frame = torch.empty((*size, 3), dtype=torch.uint8, device=metres.device)
    paint(frame, 0, grey_from_metres(metres, how))
    paint(frame, 1, height.to(torch.uint8))
    paint(frame, 2, resize.nearest(angle, size) & valid)
    return frame


def surface_tilt_deg(metres: Tensor, camera: Camera) -> Tensor:
    """Angle between each surface's normal and the camera's up, degrees; at half the resolution.

    0 is a floor, 90 a wall, 180 a ceiling. On a plane, nearness ``w = 1 / z`` is an affine function
    of the ray's x and y, and the normal follows from its two slopes and its value.
    """
    w = _mean_nearness(metres)
    along_u, along_v = _slope(w, 1) / _COARSE, _slope(w, 0) / _COARSE
    x, y, u_x, v_x, u_y, v_y = _plane_coordinates(camera, str(metres.device))
    w_x, w_y = along_u * u_x + along_v * v_x, along_u * u_y + along_v * v_y
    w_z = w - x * w_x - y * w_y
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
    total = image[::_COARSE, ::_COARSE].clone()
    for place in range(1, _COARSE**2):
        total += image[place // _COARSE :: _COARSE, place % _COARSE :: _COARSE]
    return total


def _slope(w: Tensor, dim: int) -> Tensor:
    """Change per cell: of the steps to both neighbours the smaller, which stays on the surface."""
    step = w.diff(dim=dim)
    edge = torch.full_like(w.narrow(dim, 0, 1), torch.nan)
    before, after = torch.cat((edge, step), dim), torch.cat((step, edge), dim)
    smaller = torch.where(before.abs() < after.abs(), before, after)
    return torch.where(torch.isnan(smaller), before, smaller)


@lru_cache(maxsize=4)
def _plane_coordinates(camera: Camera, device: str) -> tuple[Tensor | float, ...]:
    """Coordinates x, y of the rays, and du/dx, dv/dx, du/dy, dv/dy at them."""
    rays = ray_tensor(camera, device)
    x, y = rays[::_COARSE, ::_COARSE, 0], rays[::_COARSE, ::_COARSE, 1]
    if not camera.distorted:
        return x, y, camera.fx, 0.0, 0.0, camera.fy
    x_v, x_u = (g / _COARSE for g in torch.gradient(x))
    y_v, y_u = (g / _COARSE for g in torch.gradient(y))
    determinant = x_u * y_v - x_v * y_u
    return x, y, y_v / determinant, -y_u / determinant, -x_v / determinant, x_u / determinant


def _ground_below_camera(down: Tensor, tilt_deg: Tensor, how: Hha) -> float:
    """How far below the camera most level surfaces are, metres."""
    level = (tilt_deg < _GROUND_TILT_DEG) & (down > 0) & (down < _DEEPEST_M)
    bins = (down[level] / _GROUND_BIN_M).long()
    if len(bins) < _GROUND_SHARE * down.numel():
        return how.camera_height_m
    counts = torch.bincount(bins, minlength=3).float()
    # Neighbouring bins count half: a height on the border of two is one height.
    smooth = counts + (functional.pad(counts, (1, 0))[:-1] + functional.pad(counts, (0, 1))[1:]) / 2
    return (float(smooth.argmax()) + 0.5) * _GROUND_BIN_M
