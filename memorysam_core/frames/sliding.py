"""Maximum and minimum over a window that slides over an image, by doubling.

A maximum over 2 cells, taken of maxima over 2, is one over 4: a window of any length takes a few
passes, the last of which overlap. The window's radius may be a number that only the device knows.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from memorysam_core.frames.arrays import on_host

Combine = Callable[[Tensor, Tensor], Tensor]


def slide(image: Tensor, radius: Tensor, most: int, combine: Combine, outside: int) -> Tensor:
    """Over ``2 * radius + 1`` cells each way around each cell of an image ``(H, W)``.

    ``radius`` ``(2,)``, int64, is that of rows and of columns and ``most`` their bound; ``combine``
    is ``torch.maximum`` or ``torch.minimum``, to which cells beside the image are ``outside``.
    """
    if on_host(image):
        rows, columns = radius.tolist()
        padded = functional.pad(image, (columns, columns, rows, rows), value=outside)
        return _along(_along(padded, 0, rows, combine), 1, columns, combine)
    padded = functional.pad(image, (most,) * 4, value=outside)
    for dim in (0, 1):
        padded = _along_unknown(padded, dim, radius[dim], most, combine)
    return padded


def _along(padded: Tensor, dim: int, radius: int, combine: Combine) -> Tensor:
    length, done = 2 * radius + 1, 1
    while done < length:
        shift = min(done, length - done)
        count = padded.shape[dim] - shift
        padded = combine(padded.narrow(dim, 0, count), padded.narrow(dim, shift, count))
        done += shift
    return padded


def _along_unknown(padded: Tensor, dim: int, radius: Tensor, most: int, combine: Combine) -> Tensor:
    """:func:`_along` of an image that is padded for the greatest radius, in as many passes as that
    takes: past the window's length they combine each cell with itself.
    """
    length, done = 2 * radius + 1, torch.ones_like(radius)
    count = padded.shape[dim]
    place = torch.arange(count, device=padded.device)
    for _ in range((2 * most).bit_length()):
        shift = torch.minimum(done, length - done)
        padded = combine(padded, padded.index_select(dim, (place + shift).clamp_(max=count - 1)))
        done = done + shift
    return padded.index_select(dim, place[: count - 2 * most] + (most - radius))
