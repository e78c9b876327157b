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
    return (tensor if device is None else to_device(tensor, device)).to(dtype)


def to_device(tensor: Tensor, device: DeviceLike) -> Tensor:
    """The tensor on a device. From the host to a GPU it is copied without a wait, in the order of
    the current stream, through pinned memory that PyTorch uses again once the copy is done.
    """
    if not on_host(tensor) or torch.device(device).type != "cuda":
        return tensor.to(device)
    # Dense, or the copy would wait; and never the caller's own memory, which may change meanwhile.
    staged = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor)
    return staged.to(device, non_blocking=True)


def like(tensor: Tensor, example: T) -> T:
    """The tensor as the kind of ``example``: a NumPy array if that is one."""
    return tensor if isinstance(example, Tensor) else tensor.cpu().numpy()


def on_host(tensor: Tensor) -> bool:
    """Whether its numbers can be looked at without a wait for a device.

    Where they cannot, numbers that depend on the data (how many points are in view, how far apart
    they are) stay on the device, and buffers are as large as they may have to be.
    """
    return tensor.device.type == "cpu"


def known(value: Tensor, most: int) -> int:
    """A number that a buffer's size depends on, or its bound where it cannot be looked at."""
    return int(value) if on_host(value) else most


def number(value: Tensor) -> Any:
    """A tensor ``()`` as a plain number, which computes faster, where it can be looked at."""
    return value.item() if on_host(value) else value


# On the CPU, NumPy compares, divides and converts numbers, finds the true ones and takes logarithms
# several times faster than torch. It does so in one thread: torch would wake more, which after a
# pause takes longer than they save where there are few numbers.

_FEW = 1 << 18


def _few(values: Tensor) -> bool:
    return on_host(values) and values.numel() <= _FEW


def filled(
    shape: tuple[int, ...], value: float, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """A tensor of one number."""
    if device.type == "cpu":
        tensor = torch.empty(shape, dtype=dtype)
        tensor.numpy().fill(value)
        return tensor
    return torch.full(shape, value, dtype=dtype, device=device)


def transformed(points: Tensor, rotation: Tensor, origin: Tensor) -> Tensor:
    """Points ``(3, N)`` of another frame: turned by ``(3, 3)``, then moved by ``(3,)``."""
    if on_host(points):
        if points.is_contiguous():
            moved = np.einsum("ij,jn->in", rotation.numpy(), points.numpy())
        else:  # BLAS is quicker then, in more threads
            moved = (rotation @ points).numpy()
        return torch.from_numpy(np.add(moved, origin.numpy()[:, None], out=moved))
    # A product of matrices may be computed with fewer bits there (TF32).
    x, y, z = points
    moved = rotation[:, :1] * x + rotation[:, 1:2] * y + rotation[:, 2:] * z
    return moved.add_(origin[:, None])


def inverse(values: Tensor) -> Tensor:
    """``1 / values``; infinite of 0."""
    if _few(values):
        with np.errstate(divide="ignore", over="ignore"):
            return torch.from_numpy(np.reciprocal(values.numpy()))
    return values.reciprocal()


def product_plus(values: Tensor, others: Tensor, factor: float, offset: float) -> Tensor:
    """``values * others * factor + offset``."""
    if _few(values):
        with np.errstate(invalid="ignore", over="ignore"):
            product = values.numpy() * others.numpy()
            np.multiply(product, factor, out=product)
            return torch.from_numpy(np.add(product, offset, out=product))
    # Filled on the device: a number that is brought there would be waited for.
    start = torch.full((), offset, dtype=values.dtype, device=values.device)
    return torch.addcmul(start, values, others, value=factor)


def between(values: Tensor, low: float, high: float) -> Tensor:
    """Where ``low <= values < high``, bool of the same shape; NaN is nowhere."""
    if on_host(values):
        array = values.numpy()
        return torch.from_numpy((array >= low) & (array < high))
    return (values >= low) & (values < high)


def less(values: Tensor, others: Tensor) -> Tensor:
    """Where ``values < others``, bool; NaN is nowhere."""
    if on_host(values):
        return torch.from_numpy(values.numpy() < others.numpy())
    return values < others


def divided(values: Tensor, by: int | Tensor) -> Tensor:
    """Whole numbers, int32, from 0, by one above 0, rounded down."""
    if on_host(values):
        return torch.from_numpy(values.numpy() // np.int32(int(by)))
    return values // by


def log_(values: Tensor) -> Tensor:
    """Natural logarithms in place."""
    if on_host(values):
        array = values.numpy()
        np.log(array, out=array)
        return values
    return values.log_()


def to_bytes(values: Tensor) -> Tensor:
    """Floats from 0 to 255 rounded down, uint8 of the same shape; anything for what is none."""
    if on_host(values):
        with np.errstate(invalid="ignore"):
            return torch.from_numpy(values.numpy().astype(np.uint8))
    return values.to(torch.uint8)


def cleared(values: Tensor, mask: Tensor) -> Tensor:
    """Finite floats in place, 0 where a mask is not true."""
    if on_host(values):
        array = values.numpy()
        np.multiply(array, mask.numpy(), out=array)
        return values
    return values.mul_(mask)


def bytes_of(mask: Tensor) -> Tensor:
    """255 where a mask is true, else 0; uint8 of the same shape."""
    return mask.view(torch.uint8).neg()


def chosen(mask: Tensor) -> Tensor:
    """Which entries of a mask ``(N,)`` to go on with, int64, rising: on the host those that are
    true; on a device, where to count them would be to wait, all.
    """
    if on_host(mask):
        return torch.from_numpy(np.flatnonzero(mask.numpy()))
    return torch.arange(len(mask), device=mask.device)


def where_true(mask: Tensor, *columns: Tensor) -> tuple[Tensor, ...]:
    """The entries of each column ``(N,)`` to go on with, as :func:`chosen` has it."""
    if not on_host(mask) or bool(mask.numpy().all()):
        return columns
    return selected(chosen(mask), *columns)


def elsewhere(values: Tensor, mask: Tensor, other: int) -> Tensor:
    """Entries that a mask has :func:`chosen`, or is about to: on a device, ``other`` for those of
    which it is not true; on the host, where those are left out, as they are.
    """
    return values if on_host(values) else values.masked_fill(~mask, other)


def selected(index: Tensor, *columns: Tensor) -> tuple[Tensor, ...]:
    """The entries ``index`` ``(K,)`` of each column ``(N,)``."""
    return tuple(column.index_select(0, index) for column in columns)
