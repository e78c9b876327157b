"""Where a model runs and in which arithmetic."""

from __future__ import annotations

from typing import Literal, get_args

import torch

Precision = Literal["auto", "fp32", "bf16", "fp16"]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(device: str | torch.device) -> torch.device:
    """``auto`` to CUDA where there is one, else the CPU. Raises ValueError for an unusable one."""
    if device == "auto":
        return _numbered(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device is {device!r}; accepted are auto, cpu, cuda, cuda:N") from error
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"device is {device!r}, but this torch ({torch.__version__}) sees no CUDA device; "
            "use cpu, or install a CUDA build of torch and a driver"
        )
    return _numbered(chosen)


def _numbered(device: torch.device) -> torch.device:
    """The device with its number, so that one device has one name."""
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return device


def choose_precision(precision: str, device: torch.device) -> str:
    """``auto`` to bf16 where the device computes it fast, else fp16 on a GPU and fp32 on a CPU."""
    if precision not in get_args(Precision):
        raise ValueError(
            f"precision is {precision!r}; accepted are {', '.join(get_args(Precision))}"
        )
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    fast = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return "bf16" if fast else "fp32"
