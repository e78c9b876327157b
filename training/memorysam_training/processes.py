"""Sums over the processes of a distributed run; in a single process they do nothing.

DDP *averages* gradients over processes. A loss that is a function of the joint batch therefore has
to come out with gradients ``process_count()`` times too large on each:
:func:`reduced_sum_with_gradient` does that by summing gradients on the way back as well.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor


def process_count() -> int:
    """Number of processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def process_index() -> int:
    """The place of this process among them, from 0."""
    return dist.get_rank() if process_count() > 1 else 0


def reduced_sum(values: Tensor) -> Tensor:
    """The sum over processes, without gradient."""
    values = values.detach()
    if process_count() > 1:
        values = values.clone()
        dist.all_reduce(values)
    return values


def sums(values: Sequence[float], device: torch.device) -> list[float]:
    """Of each number the sum over processes; ``device`` is where the processes exchange tensors."""
    if process_count() == 1:
        return list(values)
    return reduced_sum(torch.tensor(values, dtype=torch.float32, device=device)).tolist()


def reduced_sum_with_gradient(values: Tensor) -> Tensor:
    """The sum over processes; its gradient is summed over processes, too."""
    return _ReducedSum.apply(values) if process_count() > 1 else values


def gathered(values: Tensor) -> Tensor:
    """One-dimensional values of all processes, of any length each, joined, without gradient."""
    values = values.detach()
    if process_count() == 1:
        return values
    length = torch.tensor([values.numel()], device=values.device)
    lengths = [torch.zeros_like(length) for _ in range(process_count())]
    dist.all_gather(lengths, length)
    sizes = [int(n) for n in lengths]
    padded = values.new_zeros(max(sizes))
    padded[: values.numel()] = values
    parts = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(parts, padded)
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])


class _ReducedSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, values: Tensor) -> Tensor:
        return reduced_sum(values)

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        return reduced_sum(gradient)
