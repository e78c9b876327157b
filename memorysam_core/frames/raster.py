"""The z-buffer of LiDAR frames."""

from __future__ import annotations

import torch
from torch import Tensor

from memorysam_core.frames.arrays import indices_where


def nearest_in_pixel(pixel: Tensor, distance: Tensor, drawn: Tensor, pixels: int) -> Tensor:
    """Indices of the points that are the nearest of their pixel, int64 ``(M,)``, rising.

    ``pixel`` ``(N,)`` is each point's flat pixel below ``pixels``, int64; ``distance`` ``(N,)`` is
    float32; ``drawn`` ``(N,)`` says which take part. Points at the very same distance in one pixel
    are all given: what is drawn of them is the same.
    """
    nearest = torch.full((pixels,), torch.inf, device=pixel.device)
    nearest.scatter_reduce_(0, pixel, distance.masked_fill(~drawn, torch.inf), "amin")
    return indices_where((nearest.index_select(0, pixel) == distance).logical_and_(drawn))
