"""Timing that can be compared: warmed up, synchronised, and two ways in turn."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
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

    @property
    def spread(self) -> str:
        """The 95th percentile in words, and of how many runs."""
        return f"p95 {self.p95_ms:.1f} ms of {len(self.runs_ms)}"


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


def in_turn(
    slow: Work, fast: Work, device: str, repeats: int, warm_up: bool = True
) -> tuple[float, str]:
    """Median of the ratio slow / fast, pair by pair, and its spread in words."""
    (ratio,) = all_in_turn(slow, [fast], device, repeats, warm_up)
    return ratio


def all_in_turn(
    yardstick: Work, others: Sequence[Work], device: str, repeats: int, warm_up: bool = True
) -> list[tuple[float, str]]:
    """For each of the others as in :func:`in_turn`, all against one yardstick.

    They run in turn, so that a machine whose speed drifts slows all of them.
    """
    works = [yardstick, *others]
    if warm_up:
        for work in works:
            work()
    rounds = [[once_ms(work, device) for work in works] for _ in range(repeats)]
    return [_ratio([times[0] / times[i] for times in rounds]) for i in range(1, len(works))]


def _ratio(pairs: list[float]) -> tuple[float, str]:
    told = (
        "one pair"
        if len(pairs) == 1
        else f"{min(pairs):.2f} to {max(pairs):.2f} in {len(pairs)} pairs"
    )
    return statistics.median(pairs), told


def _synchronise(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize(device)
