"""Depth: metres to DELIVER's logarithmic grey and back."""

from __future__ import annotations

import torch
from torch import Tensor

from memorysam_core.frames.arrays import DeviceLike, tensor_of
from memorysam_core.frames.camera import Camera
from memorysam_core.frames.raster import nearest_in_pixel
from memorysam_core.frames.readings import DepthReading
from memorysam_core.frames.resize import nearest
from memorysam_core.representations import Hha, LogDepth


def grey_from_metres(metres: Tensor, how: LogDepth | Hha) -> Tensor:
    """Depth along the optical axis to grey levels, uint8 of the same shape.

    ``floor(255 * clamp(1 + ln(z / far_m) / log_range, floor, 1))``; what is not a positive finite
    number becomes ``invalid_level``. Plus infinity is no measurement either (REP-117).
    """
    valid = (metres > 0) & torch.isfinite(metres)
    fraction = 1 + torch.log(metres.where(valid, 1.0) / how.far_m) / how.log_range
    level = (255 * fraction.clamp(how.floor, 1)).floor()
    return level.where(valid, float(how.invalid_level)).to(torch.uint8)


def metres_from_grey(grey: Tensor, how: LogDepth | Hha) -> Tensor:
    """Grey levels to metres, float32: the middle of what each stands for; NaN if invalid."""
    level = grey.float()
    metres = how.far_m * torch.exp(((level + 0.5) / 255 - 1) * how.log_range)
    return metres.where(grey != how.invalid_level, torch.nan)


def register(reading: DepthReading, camera: Camera, device: DeviceLike = "cpu") -> Tensor:
    """Depth as the colour camera would have taken it, float32 ``(H, W)``, NaN for none."""
    metres = tensor_of(reading.metres, device, torch.float32)
    if reading.camera is None:
        return nearest(metres, (camera.height, camera.width))
    rays = tensor_of(reading.camera.rays(), device)
    xyz = (rays * metres[..., None]).reshape(-1, 3)
    if reading.camera_from_depth is not None:
        camera_from_depth = tensor_of(reading.camera_from_depth, device, torch.float32)
        xyz = xyz @ camera_from_depth[:3, :3].T + camera_from_depth[:3, 3]
    uv, inside = camera.project(xyz)
    column, row = uv[inside].long().unbind(-1)
    z, pixel = xyz[inside, 2], row * camera.width + column
    winner = nearest_in_pixel(pixel, z, z > 0, camera.height * camera.width)
    registered = torch.full((camera.height * camera.width,), torch.nan, device=device)
    registered[pixel[winner]] = z[winner]
    return registered.view(camera.height, camera.width)
