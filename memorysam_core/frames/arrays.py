"""NumPy or torch in, the same kind out."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

T = TypeVar("T", np.ndarray, Tensor)

Array = Any
"""A NumPy array or a torch tensor."""

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


def array_of(array: Any, device: DeviceLike) -> Array:
    """As :func:`tensor_of`, but where it is to lie on the host NumPy's, and of any layout."""
    if isinstance(array, np.ndarray) and torch.device(device).type == "cpu":
        return array.astype(np.float64 if array.dtype.char == "d" else np.float32, copy=False)
    (values,) = plain(tensor_of(array, device))
    return values


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


def on_host(values: Array) -> bool:
    """Whether these numbers can be looked at without a wait for a device.

    Where they cannot, numbers that depend on the data (how many points are in view, how far apart
    they are) stay on the device, and buffers are as large as they may have to be.
    """
    return isinstance(values, np.ndarray) or values.device.type == "cpu"


def known(value: Any, most: int) -> int:
    """A number that a buffer's size depends on, or its bound where it cannot be looked at."""
    return most if isinstance(value, Tensor) and not on_host(value) else int(value)


# What follows takes and gives arrays of either kind. On the host NumPy does the work: it compares,
# divides and converts numbers, finds the true ones and takes logarithms several times faster than
# torch, does so in one thread (torch would wake more, which after a pause takes longer than they
# save), and a call of it costs less, by far where a pause has left the caches to others.


def plain(*values: Array) -> Any:
    """NumPy's views of what lies on the host; what does not, as it is."""
    return tuple(_plain(v) if on_host(v) else v for v in values)


def tensors(*values: Array) -> Any:
    """Tensors of either kind, without a copy."""
    return tuple(torch.from_numpy(v) if isinstance(v, np.ndarray) else v for v in values)


def _plain(values: Array) -> np.ndarray:
    return values if isinstance(values, np.ndarray) else values.numpy()


def _same(array: np.ndarray, example: Array) -> Array:
    return array if isinstance(example, np.ndarray) else torch.from_numpy(array)


_FEW = 1 << 18
"""Elements that one thread works on as quickly as several that wait to be woken."""


def _in_one_thread(values: Array) -> bool:
    return isinstance(values, np.ndarray) or (on_host(values) and values.numel() <= _FEW)


def transformed(points: Array, rotation: Array, origin: Array) -> Array:
    """Points ``(3, N)`` of another frame: turned by ``(3, 3)``, then moved by ``(3,)``."""
    if isinstance(points, np.ndarray):
        if points.flags.c_contiguous:
            moved = np.einsum("ij,jn->in", rotation, points)
        else:  # BLAS is quicker then, in more threads
            moved = (tensor_of(rotation) @ tensor_of(points.T).T).numpy()
        return np.add(moved, origin[:, None], out=moved)
    # A product of matrices may be computed with fewer bits there (TF32).
    x, y, z = points
    moved = rotation[:, :1] * x + rotation[:, 1:2] * y + rotation[:, 2:] * z
    return moved.add_(origin[:, None])


def inverse(values: Array) -> Array:
    """``1 / values``; infinite of 0."""
    if _in_one_thread(values):
        with np.errstate(divide="ignore", over="ignore"):
            return _same(np.reciprocal(_plain(values)), values)
    return values.reciprocal()


def product_plus(values: Array, others: Array, factor: float, offset: float) -> Array:
    """``values * others * factor + offset``."""
    if _in_one_thread(values):
        with np.errstate(invalid="ignore", over="ignore"):
            product = _plain(values) * _plain(others)
            np.multiply(product, factor, out=product)
            return _same(np.add(product, offset, out=product), values)
    # Filled on the device: a number that is brought there would be waited for.
    start = torch.full((), offset, dtype=values.dtype, device=values.device)
    return torch.addcmul(start, values, others, value=factor)


def sqrt(values: Array) -> Array:
    """Square roots."""
    return np.sqrt(values) if isinstance(values, np.ndarray) else values.sqrt()


def at_least(values: Any, low: Any) -> Any:
    """The greater of each two, of an array and an array or number, or of two numbers."""
    if isinstance(values, np.ndarray):
        return np.maximum(values, low)
    return values.clamp(min=low) if isinstance(values, Tensor) else max(values, low)


def at_most(values: Any, high: Any) -> Any:
    """The smaller of each two."""
    if isinstance(values, np.ndarray):
        return np.minimum(values, high)
    return values.clamp(max=high) if isinstance(values, Tensor) else min(values, high)


def double(value: Any) -> Any:
    """A number in 64 bits."""
    return value.double() if isinstance(value, Tensor) else float(value)


def rounded(value: Any) -> Any:
    """The nearest whole number, or the even one of two."""
    return value.round().long() if isinstance(value, Tensor) else round(value)


def between(values: Array, low: float, high: float) -> Array:
    """Where ``low <= values < high``, bool of the same shape; NaN is nowhere."""
    if on_host(values):
        array = _plain(values)
        return _same((array >= low) & (array < high), values)
    return (values >= low) & (values < high)


def less(values: Array, others: Array) -> Array:
    """Where ``values < others``, bool; NaN is nowhere."""
    if on_host(values):
        return _same(_plain(values) < _plain(others), values)
    return values < others


def divided(values: Array, by: int | Tensor) -> Array:
    """Whole numbers, int32, from 0, by one above 0, rounded down."""
    if on_host(values):
        return _same(_plain(values) // np.int32(int(by)), values)
    return values // by


def log_(values: Array) -> Array:
    """Natural logarithms in place."""
    if on_host(values):
        array = _plain(values)
        np.log(array, out=array)
        return values
    return values.log_()


def as_type(values: Array, dtype: Any) -> Array:
    """Numbers of another type: ``int32`` as a string, or the type of an array of the same kind."""
    if isinstance(values, np.ndarray):
        return values.astype(dtype, copy=False)
    return values.to(getattr(torch, dtype) if isinstance(dtype, str) else dtype)


def to_bytes(values: Array) -> Array:
    """Numbers from 0 to 255 rounded down, uint8 of the same shape; anything for what is none."""
    if on_host(values):
        with np.errstate(invalid="ignore"):
            return _same(_plain(values).astype(np.uint8), values)
    return values.to(torch.uint8)


def bits_of(values: Array) -> Array:
    """The bits of floats, taken as float32, int32."""
    values = as_type(values, "float32")
    return values.view(np.int32 if isinstance(values, np.ndarray) else torch.int32)


def of_bits(bits: Array) -> Array:
    """The inverse of :func:`bits_of`, float32."""
    return bits.view(np.float32 if isinstance(bits, np.ndarray) else torch.float32)


def zero_bytes(shape: tuple[int, ...], example: Array) -> Array:
    """Zeros, uint8, of the kind and on the device of an example."""
    if isinstance(example, np.ndarray):
        return np.zeros(shape, np.uint8)
    return torch.zeros(shape, dtype=torch.uint8, device=example.device)


def cleared(values: Array, mask: Array) -> Array:
    """Finite floats in place, 0 where a mask is not true."""
    if on_host(values):
        array = _plain(values)
        np.multiply(array, _plain(mask), out=array)
        return values
    return values.mul_(mask)


def bytes_of(mask: Tensor) -> Tensor:
    """255 where a mask is true, else 0; uint8 of the same shape."""
    return mask.view(torch.uint8).neg()


def chosen(mask: Array) -> Array:
    """Which entries of a mask ``(N,)`` to go on with, int64, rising: on the host those that are
    true; on a device, where to count them would be to wait, all.
    """
    if on_host(mask):
        return _same(np.flatnonzero(_plain(mask)), mask)
    return torch.arange(len(mask), device=mask.device)


def where_true(mask: Array, *columns: Array) -> tuple[Array, ...]:
    """The entries of each column ``(N,)`` to go on with, as :func:`chosen` has it."""
    if not on_host(mask) or bool(_plain(mask).all()):
        return columns
    return selected(chosen(mask), *columns)


def elsewhere(values: Array, mask: Array, other: int) -> Array:
    """Entries that a mask has :func:`chosen`, or is about to: on a device, ``other`` for those of
    which it is not true; on the host, where those are left out, as they are.
    """
    return values if on_host(values) else values.masked_fill(~mask, other)


def selected(index: Array, *columns: Array) -> tuple[Array, ...]:
    """The entries ``index`` ``(K,)`` along the last axis of each column ``(..., N)``."""
    if isinstance(index, np.ndarray):
        return tuple(column.take(index, -1) for column in columns)
    return tuple(column.index_select(-1, index) for column in columns)
