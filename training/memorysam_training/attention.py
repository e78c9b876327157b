"""Attention written out, for training on a processor.

torch's fused attention has a backward pass on CPUs that is slow for many small windows, as Hiera
has them; two matrix products and a softmax train faster there, and compute the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import functional as F

_fused = F.scaled_dot_product_attention


def written_out(query: Tensor, key: Tensor, value: Tensor, dropout_p: float = 0.0) -> Tensor:
    """``softmax(q k^T / sqrt(d)) v`` of ``(..., L, d)``, ``(..., S, d)`` and ``(..., S, d_v)``."""
    weights = torch.softmax((query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1), dim=-1)
    if dropout_p:
        weights = F.dropout(weights, dropout_p)
    return weights @ value


@contextmanager
def attention_for(device: torch.device) -> Iterator[None]:
    """Attention that trains fast on this device, for everything that runs within."""
    if device.type != "cpu":
        yield
        return
    F.scaled_dot_product_attention = written_out
    try:
        yield
    finally:
        F.scaled_dot_product_attention = _fused
