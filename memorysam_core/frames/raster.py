"""The z-buffer that LiDAR frames and depth registration share."""

from __future__ import annotations

import torch
from torch import Tensor

from memorysam_core.frames.arrays import indices_where

_EMPTY = torch.iinfo(torch.int64).max


def nearest_in_pixel(pixel: Tensor, distance: Tensor, drawn: Tensor, pixels: int) -> Tensor:
    """Indices of the points that are the nearest of their pixel, int64 ``(M,)``, rising.

    ``pixel`` ``(N,)`` is each point's flat pixel below ``pixels``, int64; ``distance`` ``(N,)`` is
    positive; ``drawn`` ``(N,)`` says which take part. Of two points at the very same distance the
    one of lower index wins, so that the result is the same on every device and in every run.
    """
    # A positive float's bits, read as a whole number, rise with it: one minimum over pairs of
    # (distance, index), packed in 64 bits, finds the nearest without sorting.
    bits = distance.to(torch.float32).contiguous().view(torch.int32).to(torch.int64)
    key = (bits << 32).bitwise_or_(torch.arange(len(pixel), device=pixel.device))
    key.masked_fill_(~drawn, _EMPTY)
    nearest = torch.full((pixels,), _EMPTY, dtype=torch.int64, device=pixel.device)
    nearest.scatter_reduce_(0, pixel, key, "amin")
    return indices_where((nearest.index_select(0, pixel) == key) & drawn)
