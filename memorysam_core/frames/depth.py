"""Depth: metres to DELIVER's logarithmic grey and back, and into the colour camera's view."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from memorysam_core.frames import resize, warping
from memorysam_core.frames.arrays import (
    DeviceLike,
    between,
    bytes_of,
    log_,
    on_host,
    tensor_of,
    to_bytes,
)
from memorysam_core.frames.camera import Camera
from memorysam_core.frames.readings import DepthReading
from memorysam_core.representations import Hha, LogDepth

_LEAST_M = 1e-30
"""Above 0, and far below any depth."""
_BLOCK = 1 << 17
"""Pixels that are worked on at a time on a processor, whose cache all steps then find them in."""


def grey_from_metres(metres: Tensor, how: LogDepth | Hha) -> Tensor:
    """Depth along the optical axis to grey levels, uint8 of the same shape.

    ``floor(255 * clamp(1 + ln(z / far_m) / log_range, floor, 1))``; what is not a positive finite
    number (REP-117) becomes ``invalid_level``.
    """
    grey = torch.empty(metres.shape, dtype=torch.uint8, device=metres.device)
    block = _BLOCK if on_host(metres) else max(1, metres.numel())
    blocks = zip(metres.reshape(-1).split(block), grey.view(-1).split(block), strict=True)
    for part, level in blocks:
        # The logarithm of what is no number would take ten times as long.
        number = part.nan_to_num(nan=1, posinf=1, neginf=1).clamp_(min=_LEAST_M)
        grown = log_(number.mul_(1 / how.far_m)).mul_(255 / how.log_range).add_(255)
        valid = bytes_of(between(part, _LEAST_M, math.inf))
        torch.bitwise_and(to_bytes(grown.clamp_(255 * how.floor, 255)), valid, out=level)
        if how.invalid_level:
            level |= ~valid & how.invalid_level
    return grey


def metres_from_grey(grey: Tensor, how: LogDepth | Hha) -> Tensor:
    """Grey levels to metres, float32: the middle of what each stands for; NaN if invalid."""
    level = grey.float().add_(0.5).clamp_(max=255)
    metres = how.far_m * torch.exp((level / 255 - 1) * how.log_range)
    return metres.masked_fill_(grey == how.invalid_level, torch.nan)


def register(reading: DepthReading, camera: Camera, device: DeviceLike = "cpu") -> Tensor:
    """Depth as the colour camera would have taken it, float32 ``(H, W)``, NaN for none.

    Depth that is registered already is only resized, by nearest neighbour. Depth of another camera
    is carried over point by point, the nearest of each pixel wins; where the colour camera resolves
    more, surfaces are sampled more densely first, and never joined across a step in depth. How
    densely is seen on the host: depth that comes on a GPU is waited for.
    """
    metres = tensor_of(reading.metres, device, torch.float32)
    size = (camera.height, camera.width)
    if reading.camera is None or _same_view(reading, camera):
        metres = metres.masked_fill(~between(metres, _LEAST_M, math.inf), torch.nan)
        return resize.nearest(metres, size)
    camera_from_depth = torch.eye(4)
    if reading.camera_from_depth is not None:
        camera_from_depth = tensor_of(reading.camera_from_depth, "cpu", torch.float32)
    pair = reading.camera, camera_from_depth, camera
    samples = warping.samples_needed(reading.metres, *pair)
    depth = warping.carried_over(warping.nearness_of(metres), *pair, samples)
    return (depth - depth).add_(depth)  # infinity less infinity is no number


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
