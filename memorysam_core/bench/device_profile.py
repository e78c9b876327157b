"""What the time of a GPU is made of, by the names of its kernels."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable

import torch

KINDS = {
    "attention": ("flash", "fmha", "attention", "softmax"),
    "convolutions": ("conv", "cudnn", "implicit", "winograd"),
    "matrix products": ("gemm", "cutlass", "cublas", "nvjet", "gemv", "splitk"),
    "copies to and from the device": ("memcpy htod", "memcpy dtoh"),
    "copies within the device": ("memcpy", "memset", "copy"),
}
"""A kernel is of the first kind whose words its name holds; the rest are elementwise or fused."""
FUSED = "elementwise and fused"


def device_profile(work: Callable[[], object]) -> dict[str, float]:
    """Shares of the wall time of ``work``, run once: kinds of kernels, and gaps between them."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        torch.cuda.synchronize()
        begin = time.perf_counter()
        work()
        torch.cuda.synchronize()
        wall_us = (time.perf_counter() - begin) * 1e6
    spent: dict[str, float] = defaultdict(float)
    for event in profiler.key_averages():
        spent[kind_of(event.key)] += event.self_device_time_total
    shares = {kind: us / wall_us for kind, us in spent.items() if us}
    return shares | {"gaps": max(0.0, 1 - sum(shares.values()))}


def kind_of(kernel: str) -> str:
    """The kind of a kernel by its name."""
    name = kernel.lower()
    if name.startswith("triton_"):  # named after all the operations that it fuses
        return FUSED
    for kind, words in KINDS.items():
        if any(word in name for word in words):
            return kind
    return FUSED
