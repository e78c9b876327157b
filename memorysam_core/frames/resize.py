"""How frames change size: colour is averaged, measurements never are.

Colour images: bilinear, antialiased, half-pixel centres (``align_corners=False``). Depth, labels
and drawn events: nearest, the source pixel whose area holds the target pixel's centre.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def smooth(image: Tensor, size: tuple[int, int]) -> Tensor:
    """A colour image, uint8 ``(H, W, 3)``, to ``size`` (height, width)."""
    if tuple(image.shape[:2]) == tuple(size):
        return image
    planes = image[None].permute(0, 3, 1, 2)  # in this order of steps, pixels stay together
    if image.device.type != "cpu":  # only there torch averages bytes, ten times as fast as floats
        planes = planes.float()
    planes = functional.interpolate(
        planes, size=size, mode="bilinear", align_corners=False, antialias=True
    )
    if planes.is_floating_point():
        planes = planes.round().clamp(0, 255).to(torch.uint8)
    return planes[0].permute(1, 2, 0).contiguous()


def nearest(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Measurements or labels ``(H, W, ...)`` of any type to ``size`` (height, width)."""
    height, width = image.shape[:2]
    if (height, width) == tuple(size):
        return image
    rows = _centres(height, size[0], image.device)
    columns = _centres(width, size[1], image.device)
    return image.index_select(1, columns).index_select(0, rows)


def _centres(source: int, target: int, device: torch.device) -> Tensor:
    return (2 * torch.arange(target, device=device) + 1) * source // (2 * target)
