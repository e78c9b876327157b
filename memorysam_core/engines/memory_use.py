"""How much memory there is in use, and giving back what is not."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import torch

STATM = Path("/proc/self/statm")
RECORDING = threading.Lock()
"""Held while a run is recorded as a CUDA graph, by whichever thread: PyTorch takes memory that is
given back meanwhile for an error.
"""


def memory_mb(device: torch.device) -> float:
    """What torch needs of a CUDA device, or the resident memory of this process, in 2^20 bytes.

    NaN on a system without ``/proc``.
    """
    if device.type == "cuda":
        give_back()
        return torch.cuda.memory_reserved(device) / 2**20
    if not STATM.exists():
        return float("nan")
    resident_pages = int(STATM.read_text(encoding="ascii").split()[1])
    return resident_pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def give_back() -> None:
    """Gives memory of CUDA devices that nothing refers to back to the driver; waits while anything
    is recorded.
    """
    if torch.cuda.is_available():
        with RECORDING:
            torch.cuda.empty_cache()
