"""Maximum and minimum over a window that slides over an image, by doubling.

A maximum over 2 cells, taken of maxima over 2, is one over 4: a window of any length takes a few
passes, the last of which overlap. The window's radius may be a number that only the device knows.

On the host NumPy does the passes in one thread, in stripes that stay in the cache. A second thread
would save less than it takes to wake up, where a robot rests between two scans.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from memorysam_core.frames.arrays import Array

Combine = Callable[[Tensor, Tensor], Tensor]
_ON_HOST: dict[Combine, np.ufunc] = {torch.maximum: np.maximum, torch.minimum: np.minimum}
_STRIPE = 1 << 17
"""Cells of a stripe, which with its copy is to stay in a core's cache."""


def slide(
    image: Array, radius: tuple[Any, Any], most: int, combine: Combine, outside: int
) -> Array:
    """Over ``2 * radius + 1`` cells each way around each cell of an image ``(H, W)``.

    ``radius`` is that of rows and of columns, whole numbers, on a device int64 ``()``, and ``most``
    their bound; ``combine`` is ``torch.maximum`` or ``torch.minimum``, to which cells beside the
    image are ``outside``.
    """
    if isinstance(image, np.ndarray):
        return _in_stripes(image, radius, combine, outside)
    padded = functional.pad(image, (most,) * 4, value=outside)
    for dim in (0, 1):
        padded = _along_unknown(padded, dim, radius[dim], most, combine)
    return padded


def _in_stripes(
    image: np.ndarray, radius: tuple[int, int], combine: Combine, outside: int
) -> np.ndarray:
    """:func:`slide` on the host. A stripe is padded and flat, so that a shift by a row is one by
    its width; what runs over from row to row falls on columns that are cut off.
    """
    operation = _ON_HOST[combine]
    (height, width), (rows, columns) = image.shape, radius
    padded_width = width + 2 * columns
    shifts = [*_shifts(columns), *(shift * padded_width for shift in _shifts(rows))]
    stripe = max(1, _STRIPE // padded_width)
    cells = np.empty((min(stripe, height) + 2 * rows) * padded_width, image.dtype)
    others, result = np.empty_like(cells), np.empty_like(image)
    for top in range(0, height, stripe):
        bottom = min(top + stripe, height)
        first, last = max(top - rows, 0), min(bottom + rows, height)
        count = (bottom - top + 2 * rows) * padded_width
        padded = cells[:count].reshape(-1, padded_width)
        padded.fill(outside)
        begin = first - (top - rows)
        padded[begin : begin + last - first, columns : columns + width] = image[first:last]
        for shift in shifts:
            count -= shift
            operation(cells[:count], cells[shift : count + shift], out=others[:count])
            cells, others = others, cells
        whole = cells[: (bottom - top) * padded_width].reshape(-1, padded_width)
        result[top:bottom] = whole[:, :width]
    return result


def _shifts(radius: int) -> Iterator[int]:
    """By how much each pass shifts what the passes before have made."""
    length, done = 2 * radius + 1, 1
    while done < length:
        yield min(done, length - done)
        done += min(done, length - done)


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
