"""How much memory there is in use."""

from __future__ import annotations

import os
from pathlib import Path

import torch

STATM = Path("/proc/self/statm")


def memory_mb(device: torch.device) -> float:
    """What torch needs of a CUDA device, or the resident memory of this process, in 2^20 bytes.

    NaN on a system without ``/proc``.
    """
    if device.type == "cuda":
        give_back(device)
        return torch.cuda.memory_reserved(device) / 2**20
    if not STATM.exists():
        return float("nan")
    resident_pages = int(STATM.read_text(encoding="ascii").split()[1])
    return resident_pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def give_back(device: torch.device) -> None:
    """Gives memory of a CUDA device that nothing refers to back to the driver."""
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.empty_cache()
