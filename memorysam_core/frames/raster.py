"""The z-buffer that LiDAR frames and depth registration share."""

from __future__ import annotations

import torch
from torch import Tensor

_EMPTY = torch.iinfo(torch.int64).max


def nearest_per_pixel(pixel: Tensor, distance: Tensor, pixels: int) -> Tensor:
    """For each of ``pixels`` pixels the index of the nearest point in it, int32, -1 where none is.

    ``pixel`` (N,) is each point's flat pixel, int64; ``distance`` (N,) is positive. Of two points
    at the very same distance the one of lower index wins, so the result is the same on any device.
    """
    # A positive float's bits, read as a whole number, rise with it: one minimum over
    # (distance, index) pairs packed in 64 bits does it, without sorting.
    order = torch.arange(len(pixel), device=pixel.device)
    key = (distance.float().view(torch.int32).to(torch.int64) << 32) | order
    nearest = torch.full((pixels,), _EMPTY, dtype=torch.int64, device=pixel.device)
    nearest.scatter_reduce_(0, pixel, key, "amin")
    index = nearest.to(torch.int32)  # the lower half, and -1 where empty
    return index
