"""Depth: metres to DELIVER's logarithmic grey and back, and into the colour camera's view."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from memorysam_core.frames import resize
from memorysam_core.frames.arrays import DeviceLike, indices_where, tensor_of
from memorysam_core.frames.camera import Camera, ray_tensor
from memorysam_core.frames.readings import DepthReading
from memorysam_core.representations import Hha, LogDepth

_SPACING_PX = 0.7
"""Depth samples are made to fall at least this dense, so that no pixel between them stays empty."""
_ONE_SURFACE = 0.05
"""Part of the distance within which neighbouring samples are joined by interpolation."""


def grey_from_metres(metres: Tensor, how: LogDepth | Hha) -> Tensor:
    """Depth along the optical axis to grey levels, uint8 of the same shape.

    ``floor(255 * clamp(1 + ln(z / far_m) / log_range, floor, 1))``; what is not a positive finite
    number (REP-117) becomes ``invalid_level``.
    """
    valid = (metres > 0) & torch.isfinite(metres)
    fraction = torch.log(metres * (1 / how.far_m)).mul_(1 / how.log_range).add_(1)
    level = fraction.clamp_(how.floor, 1).mul_(255).to(torch.uint8)
    return level.masked_fill_(~valid, how.invalid_level)


def metres_from_grey(grey: Tensor, how: LogDepth | Hha) -> Tensor:
    """Grey levels to metres, float32: the middle of what each stands for; NaN if invalid."""
    level = grey.float().add_(0.5).clamp_(max=255)
    metres = how.far_m * torch.exp((level / 255 - 1) * how.log_range)
    return metres.masked_fill_(grey == how.invalid_level, torch.nan)


def register(reading: DepthReading, camera: Camera, device: DeviceLike = "cpu") -> Tensor:
    """Depth as the colour camera would have taken it, float32 ``(H, W)``, NaN for none.

    Depth that is registered already is only resized, by nearest neighbour. Depth of another camera
    is carried over point by point, the nearest of each pixel wins; where the colour camera resolves
    more, surfaces are sampled more densely first, and never joined across a step in depth.
    """
    metres = tensor_of(reading.metres, device, torch.float32)
    metres = metres.masked_fill(~((metres > 0) & torch.isfinite(metres)), torch.nan)
    size = (camera.height, camera.width)
    if reading.camera is None or _same_view(reading, camera):
        return resize.nearest(metres, size)

    finer = max(camera.fx / reading.camera.fx, camera.fy / reading.camera.fy) / _SPACING_PX
    factor = max(1, math.ceil(finer))
    height, width = metres.shape
    dense = reading.camera.resized(width * factor, height * factor)
    z = _densified(metres, factor).view(-1)
    xyz = _ray_planes(dense, str(device)) * z  # (3, N); NaN where there is no depth
    if reading.camera_from_depth is not None:
        camera_from_depth = tensor_of(reading.camera_from_depth, device, torch.float32)
        xyz = camera_from_depth[:3, :3] @ xyz + camera_from_depth[:3, 3:]
    u, v, inside, _ = camera.project_parts(*xyz)
    kept = indices_where(inside)
    column, row = u.index_select(0, kept).int(), v.index_select(0, kept).int()
    pixel = (row * camera.width + column).long()
    nearest = torch.full((size[0] * size[1],), torch.inf, device=device)
    nearest.scatter_reduce_(0, pixel, xyz[2].index_select(0, kept), "amin")
    return nearest.masked_fill_(torch.isinf(nearest), torch.nan).view(size)


@lru_cache(maxsize=2)
def _ray_planes(camera: Camera, device: str) -> Tensor:
    """The rays of all pixels, ``(3, N)``."""
    return ray_tensor(camera, device).reshape(-1, 3).T.contiguous()


def _same_view(reading: DepthReading, camera: Camera) -> bool:
    """Whether the depth camera sees what the colour camera sees, pixel for pixel."""
    if reading.camera_from_depth is not None:
        here = torch.eye(4, dtype=torch.float64)
        if not torch.equal(tensor_of(reading.camera_from_depth, "cpu", torch.float64), here):
            return False
    assert reading.camera is not None
    resized = reading.camera.resized(camera.width, camera.height)
    same_lens = (resized.model, resized.distortion) == (camera.model, camera.distortion)
    pairs = zip(_numbers(resized), _numbers(camera), strict=True)
    return same_lens and all(abs(a - b) < 1e-6 * abs(b) + 1e-9 for a, b in pairs)


def _numbers(camera: Camera) -> tuple[float, ...]:
    return (camera.fx, camera.fy, camera.cx, camera.cy, *camera.shift_m)


def _densified(metres: Tensor, factor: int) -> Tensor:
    """A depth image with ``factor`` times the pixels each way; NaN where there is no depth.

    Between pixels of one surface, nearness (1 / z) is interpolated, which is exact on planes;
    across steps, and beside holes, the nearest pixel's depth holds.
    """
    if factor == 1:
        return metres
    repeated = metres.repeat_interleave(factor, 0).repeat_interleave(factor, 1)
    joined = functional.interpolate(
        metres.reciprocal()[None, None], scale_factor=factor, mode="bilinear", align_corners=False
    )[0, 0].reciprocal()
    one_surface = (joined - repeated).abs() < _ONE_SURFACE * repeated
    return torch.where(one_surface, joined, repeated)
