"""How many threads a model on the CPU may use: those that this process really has."""

from __future__ import annotations

import math
import os
from pathlib import Path

import torch

CGROUP = Path("/sys/fs/cgroup")


def use_available_threads() -> int:
    """Lowers torch's number of threads to the processors that are available; the number in use.

    PyTorch counts the processors of the machine. In a container that is given two of sixteen, its
    threads would wait for each other most of the time. A number that the user has set
    (``OMP_NUM_THREADS``, ``torch.set_num_threads``) is only ever lowered.
    """
    threads = torch.get_num_threads()
    available = available_processors()
    if available < threads:
        torch.set_num_threads(available)
    return min(threads, available)


def available_processors(cgroup: Path = CGROUP) -> int:
    """Processors that this process may run on, and has time on: affinity and cgroup quota."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, math.ceil(min(allowed or 1, _quota(cgroup))))


def _quota(cgroup: Path) -> float:
    """Processors' worth of time per period; infinite where there is no limit."""
    try:  # version 2: "200000 100000" or "max 100000"
        quota, period = (cgroup / "cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        try:  # version 1: -1 where there is no limit
            quota = (cgroup / "cpu/cpu.cfs_quota_us").read_text(encoding="ascii").strip()
            period = (cgroup / "cpu/cpu.cfs_period_us").read_text(encoding="ascii").strip()
        except OSError:
            return math.inf
    if quota == "max" or int(quota) <= 0:
        return math.inf
    return int(quota) / int(period)
