"""NumPy or torch in, the same kind out."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

T = TypeVar("T", np.ndarray, Tensor)

DeviceLike = str | torch.device


def tensor_of(
    array: Any, device: DeviceLike | None = None, dtype: torch.dtype | None = None
) -> Tensor:
    """A tensor of any array: big-endian, strided, read-only and integer arrays included.

    Without ``dtype``, float64 stays and everything else becomes float32. Shares memory if it can.
    """
    if isinstance(array, Tensor):
        tensor = array
    else:
        values = np.asarray(array)
        values = np.ascontiguousarray(values.astype(values.dtype.newbyteorder("="), copy=False))
        if not values.flags.writeable:
            values = values.copy()
        tensor = torch.from_numpy(values)
    if dtype is None:
        dtype = torch.float64 if tensor.dtype == torch.float64 else torch.float32
    return tensor.to(device=device, dtype=dtype)


def like(tensor: Tensor, example: T) -> T:
    """The tensor as the kind of ``example``: a NumPy array if that is one."""
    return tensor if isinstance(example, Tensor) else tensor.cpu().numpy()


# On the CPU, NumPy compares numbers and finds the true ones several times faster than torch.


def between(values: Tensor, low: float, high: float) -> Tensor:
    """Where ``low <= values < high``, bool of the same shape; NaN is nowhere."""
    if values.device.type == "cpu":
        array = values.numpy()
        return torch.from_numpy((array >= low) & (array < high))
    return (values >= low) & (values < high)


def indices_where(mask: Tensor) -> Tensor:
    """Where a mask ``(N,)`` is true, int64, rising."""
    if mask.device.type == "cpu":
        return torch.from_numpy(np.flatnonzero(mask.numpy()))
    return mask.nonzero().squeeze(1)


def bytes_of(mask: Tensor) -> Tensor:
    """255 where a mask is true, else 0; uint8 of the same shape."""
    return mask.view(torch.uint8).neg()


def where_true(mask: Tensor, *columns: Tensor) -> tuple[Tensor, ...]:
    """The entries of each column ``(N,)`` where a mask is true; the columns if it is everywhere."""
    if bool(mask.numpy().all() if mask.device.type == "cpu" else mask.all()):
        return columns
    return selected(indices_where(mask), *columns)


def selected(index: Tensor, *columns: Tensor) -> tuple[Tensor, ...]:
    """The entries ``index`` ``(K,)`` of each column ``(N,)``."""
    return tuple(column.index_select(0, index) for column in columns)
