"""Pixels: the z-buffer of LiDAR frames, and grey as three channels."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from memorysam_core.frames.arrays import Array, elsewhere, on_host, tensors, where_true

_INFINITY = 0x7F800000
"""The bits of a float32 infinity."""


def nearest_in_pixel(pixel: Tensor, distance: Tensor, index: Tensor, pixels: int) -> Tensor:
    """The index of each pixel's nearest point, int32 ``(pixels,)``, -1 for none.

    ``pixel`` ``(N,)`` is each point's flat pixel, int64, of which ``pixels`` is outside of the
    image; ``distance`` ``(N,)`` is float32 from 0; ``index`` ``(N,)`` is what to note in the image.
    Of points at the very same distance in one pixel any is noted.
    """
    # Bits of positive floats are ordered as the floats are. The image of indices serves as the
    # z-buffer before: every pixel that a point touched has a nearest one, which overwrites it.
    nearness = _INFINITY - distance.view(torch.int32)
    image = torch.full((pixels + 1,), -1, dtype=torch.int32, device=pixel.device)
    image.scatter_reduce_(0, pixel, nearness, "amax")
    nearest = image.index_select(0, pixel) == nearness
    index, pixel = where_true(nearest, index, elsewhere(pixel, nearest, pixels))
    image.scatter_(0, pixel, index.int())
    return image[:pixels]


def farthest(pixels: int, device: torch.device) -> Tensor:
    """An empty z-buffer: infinite depth, float32 ``(pixels,)``."""
    return torch.full((pixels,), torch.inf, device=device)


def keep_nearest(depth: Tensor, pixel: Tensor, z: Tensor) -> None:
    """Takes the depths ``z`` ``(N,)`` at flat pixels ``(N,)`` into the z-buffer ``depth``."""
    depth.scatter_reduce_(0, pixel, z, "amin")


def keep_greatest(image: Array, place: Array, values: Array) -> None:
    """Takes values ``(N,)`` at flat places ``(N,)`` into an image that keeps the greatest."""
    # NumPy's own maximum.at takes a hundred times as long before 1.25.
    image, place, values = tensors(image, place, values)
    image.scatter_reduce_(0, place, values, "amax")


def paint(frame: Tensor, channel: int, level: Tensor) -> None:
    """Writes levels ``(H, W)`` into a channel of a frame ``(H, W, 3)``."""
    if on_host(frame):  # NumPy again is quicker
        frame.numpy()[..., channel] = level.numpy()
    else:
        frame[..., channel] = level


def paint_pixels(frame: Array, pixel: Array, level: Array) -> None:
    """Writes levels ``(N,)`` at flat pixels ``(N,)`` of a frame ``(pixels, 3)``."""
    if isinstance(frame, np.ndarray):  # three bytes at once
        frame.view("V3").reshape(-1)[pixel] = level.repeat(3).view("V3")
    else:
        frame.index_copy_(0, pixel, level[:, None].expand(-1, 3))


def grey_to_rgb(grey: Tensor) -> Tensor:
    """Grey ``(H, W)`` in three equal channels, ``(H, W, 3)``."""
    frame = grey.new_empty((*grey.shape, 3))
    for channel in range(3):
        paint(frame, channel, grey)
    return frame
