"""LiDAR: where each return falls in the camera's image, and the frames drawn of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from memorysam_core.frames.arrays import DeviceLike, tensor_of
from memorysam_core.frames.camera import Camera
from memorysam_core.frames.raster import nearest_per_pixel
from memorysam_core.frames.readings import PointsReading
from memorysam_core.representations import LidarRange


@dataclass(frozen=True)
class PointsInView:
    """The returns of a scan that fall in an image, occluded ones included."""

    index: Tensor
    """int64 ``(K,)``: which points of the scan these are, rising."""
    pixel: Tensor
    """int64 ``(K,)``: the flat pixel ``row * width + column`` of each."""
    xyz: Tensor
    """float ``(K, 3)``, in the camera's optical frame."""
    visible: Tensor
    """bool ``(K,)``: False where the camera sees a nearer surface in its place."""
    size: tuple[int, int]
    """Height and width of the image."""


def xyz_of(points: Any) -> np.ndarray | Tensor:
    """Coordinates ``(N, 3)`` of plain, organised or structured points."""
    names = getattr(getattr(points, "dtype", None), "names", None)
    if names is not None:
        flat = points.reshape(-1)
        dtype = np.result_type(np.float32, *(flat[c].dtype for c in "xyz"))
        return np.stack([flat[c].astype(dtype) for c in "xyz"], -1)
    return points.reshape(-1, 3)


def look(reading: PointsReading, camera: Camera, device: DeviceLike = "cpu") -> PointsInView:
    """Projects a scan into the camera: what is behind or beside the image is cut."""
    points = tensor_of(xyz_of(reading.xyz), device)
    camera_from_lidar = tensor_of(reading.camera_from_lidar, device, torch.float64).to(points.dtype)
    xyz = points @ camera_from_lidar[:3, :3].T + camera_from_lidar[:3, 3]
    uv, inside = camera.project(xyz)
    index = inside.nonzero().squeeze(1)
    column, row = uv[index].long().unbind(-1)
    pixel = row * camera.width + column
    visible = torch.ones_like(pixel, dtype=torch.bool)
    return PointsInView(index, pixel, xyz[index], visible, (camera.height, camera.width))


def draw_lidar(view: PointsInView, how: LidarRange) -> tuple[Tensor, Tensor]:
    """The frame, uint8 ``(H, W, 3)``, and each pixel's point, int32 ``(H, W)``, -1 for none."""
    distance = view.xyz[:, 2] if how.distance == "z" else view.xyz.norm(dim=1)
    drawn = (distance <= how.max_range_m) & (view.visible | (not how.remove_occluded))
    chosen = drawn.nonzero().squeeze(1)
    height, width = view.size
    nearest = nearest_per_pixel(view.pixel[chosen], distance[chosen], height * width).long()
    hit = nearest >= 0
    point_index = torch.full_like(nearest, -1, dtype=torch.int32)
    grey = torch.zeros_like(nearest, dtype=torch.uint8)
    winners = chosen[nearest[hit]]
    point_index[hit] = view.index[winners].int()
    grey[hit] = (distance[winners] / how.metres_per_level).floor().clamp(1, 255).to(torch.uint8)
    frame = grey.view(height, width, 1).expand(-1, -1, 3).contiguous()
    return frame, point_index.view(height, width)
