"""Timing that can be compared: warmed up, synchronised, and two ways in turn."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

Work = Callable[[], object]


@dataclass(frozen=True)
class Timing:
    """Durations of repeated runs, milliseconds."""

    runs_ms: tuple[float, ...]

    @property
    def p50_ms(self) -> float:
        """Median."""
        return statistics.median(self.runs_ms)

    @property
    def p95_ms(self) -> float:
        """95th percentile (nearest rank)."""
        ordered = sorted(self.runs_ms)
        return ordered[min(len(ordered) - 1, round(0.95 * (len(ordered) - 1)))]


def once_ms(work: Work, device: str) -> float:
    """Milliseconds until the work, and what it started on the device, is done."""
    _synchronise(device)
    start = time.perf_counter()
    work()
    _synchronise(device)
    return (time.perf_counter() - start) * 1e3


def timed(work: Work, device: str, repeats: int, warm_up: int = 1) -> Timing:
    """Repeat the work after a warm-up."""
    for _ in range(warm_up):
        work()
    return Timing(tuple(once_ms(work, device) for _ in range(repeats)))


def in_turn(slow: Work, fast: Work, device: str, repeats: int) -> tuple[float, str]:
    """Median of the ratio slow / fast, pair by pair, and its spread in words.

    The two run in turn, so that a machine whose speed drifts slows both.
    """
    slow(), fast()
    ratios = sorted(once_ms(slow, device) / once_ms(fast, device) for _ in range(repeats))
    spread = f"{ratios[0]:.2f} to {ratios[-1]:.2f} in {repeats} pairs"
    return statistics.median(ratios), spread


def _synchronise(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize(device)
