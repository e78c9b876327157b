"""Attention written out, for training on a processor in bfloat16.

The backward pass of torch's fused attention on CPUs does not use the matrix units that processors
have for bfloat16; two matrix products and a softmax do, and compute the same. In float32 the fused
one is the faster.
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
def attention_for(device: torch.device, bf16: bool) -> Iterator[None]:
    """Attention that trains fast on this device, in bf16 or fp32, for what runs inside."""
    if device.type != "cpu" or not bf16:
        yield
        return
    F.scaled_dot_product_attention = written_out
    try:
        yield
    finally:
        F.scaled_dot_product_attention = _fused
