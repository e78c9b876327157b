"""LiDAR: where each return falls in the camera's image, and the frames drawn of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from memorysam_core.frames import occlusion
from memorysam_core.frames.arrays import (
    Array,
    DeviceLike,
    array_of,
    as_type,
    at_least,
    at_most,
    chosen,
    elsewhere,
    plain,
    selected,
    sqrt,
    tensors,
    to_bytes,
    transformed,
    where_true,
    zero_bytes,
)
from memorysam_core.frames.camera import Camera
from memorysam_core.frames.raster import keep_greatest, nearest_in_pixel, paint_pixels
from memorysam_core.frames.readings import PointsReading
from memorysam_core.representations import LidarRange


@dataclass(frozen=True)
class PointsInView:
    """The returns of a scan that fall in an image, occluded ones included.

    On a GPU, where to count them would mean to wait, all other returns are there as well: not
    visible, and in the pixel ``height * width``, one past the image.
    """

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


def look(
    reading: PointsReading,
    camera: Camera,
    device: DeviceLike = "cpu",
    *,
    find_occluded: bool = True,
) -> PointsInView:
    """Projects a scan into the camera: what is behind or beside the image is cut.

    Points that the camera cannot see stay, marked, unless they are not to be looked for.
    """
    points = array_of(xyz_of(reading.xyz), device).T
    camera_from_lidar = as_type(array_of(reading.camera_from_lidar, device), points.dtype)
    rotation, origin = camera_from_lidar[:3, :3], camera_from_lidar[:3, 3]
    xyz = transformed(points, rotation, origin)
    u, v, inside, _ = camera.project_parts(*xyz)
    index = chosen(inside)
    u, v, inside, xyz = selected(index, u, v, inside, xyz)
    column, row = (as_type(elsewhere(part, inside, 0), "int32") for part in (u, v))
    pixel = as_type(row * camera.width + column, "int64")
    pixel = elsewhere(pixel, inside, camera.height * camera.width)
    visible = inside
    if find_occluded:
        visible = occlusion.visible(xyz, row, column, inside, camera, origin)
    index, pixel, xyz, visible = tensors(index, pixel, xyz, visible)
    return PointsInView(index, pixel, xyz.T, visible, (camera.height, camera.width))


def draw_lidar(view: PointsInView, how: LidarRange) -> tuple[Tensor, Tensor]:
    """The frame, uint8 ``(H, W, 3)``, and how many points are drawn in it, int64 ``()``."""
    height, width = view.size
    pixels = height * width
    pixel, distance = _drawn(view, how)
    # The nearest return of a pixel has its lowest level. Counted down, none is 0.
    nearness = -to_bytes(at_most(at_least(distance / how.metres_per_level, 1), 255))
    nearest = zero_bytes((pixels + 1,), pixel)
    keep_greatest(nearest, pixel, nearness)
    frame = zero_bytes((pixels + 1, 3), pixel)
    paint_pixels(frame, pixel, -selected(pixel, nearest)[0])
    (frame,) = tensors(frame[:pixels].reshape(height, width, 3))
    if how.densify_px:
        frame = densified(frame, how.densify_px)
    return frame, (tensors(pixel)[0] < pixels).count_nonzero()


def find_points(view: PointsInView, how: LidarRange) -> Tensor:
    """Which point of the scan is drawn in each pixel, int32 ``(H, W)``, -1 for none."""
    height, width = view.size
    pixel, distance, index = tensors(*_drawn(view, how, view.index))
    return nearest_in_pixel(pixel, distance, index, height * width).view(height, width)


def _drawn(view: PointsInView, how: LidarRange, *columns: Tensor) -> tuple[Array, ...]:
    """Pixel, distance and other columns ``(K,)`` of the points that are drawn; on a device, where
    the others are there as well, these are one pixel past the image.
    """
    height, width = view.size
    pixel, xyz, visible, *others = plain(view.pixel, view.xyz, view.visible, *columns)
    x, y, z = xyz.T
    distance = as_type(z if how.distance == "z" else sqrt(x * x + y * y + z * z), "float32")
    drawn = distance <= how.max_range_m
    if how.remove_occluded:
        drawn &= visible
    return where_true(drawn, elsewhere(pixel, drawn, height * width), distance, *others)


def densified(frame: Tensor, radius: int) -> Tensor:
    """Empty pixels of a frame, uint8 ``(H, W, 3)``, take the nearest return around them.

    Around is within ``radius`` pixels each way. Pixels that have a return keep it.
    """
    level = frame[..., 0]
    nearness = (256 - level.float()).masked_fill_(level == 0, 0)
    widest = functional.max_pool2d(nearness[None, None], 2 * radius + 1, 1, radius)[0, 0]
    filling = (256 - widest).masked_fill_(widest == 0, 0).to(torch.uint8)
    return torch.where(level > 0, level, filling)[..., None].expand(-1, -1, 3).contiguous()


def carry_back(view: PointsInView, labels: Tensor, unlabelled: int) -> Tensor:
    """The label of each point in view, ``(K,)`` of the type of ``labels``.

    ``labels`` ``(H, W)`` is an image of the view's camera at any size. Points that the camera
    cannot see get ``unlabelled``.
    """
    height, width = view.size
    pixel = view.pixel.clamp(max=height * width - 1)
    row, column = pixel // width, pixel % width
    row, column = row * labels.shape[0] // height, column * labels.shape[1] // width
    return labels[row, column].masked_fill(~view.visible, unlabelled)
