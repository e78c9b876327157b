"""How fast a drive is played to a node that may not keep up with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

MARGIN = 1.25
"""The node is given this much more time than it is busy with a set."""
SLOWEST = 1 / 12
"""No drive is played more slowly: whoever watches wants to see its end."""
_BUSY = ("convert", "draw", "model", "publish")
"""The stages of a set that keep the node from the next one."""
_STATISTICS = " p50/p95/max (ms)"


@dataclass(frozen=True)
class Pace:
    """How fast a drive is played, and why."""

    busy_s: float
    """The node usually is busy with a set for so long."""
    rate: float
    """Times real time."""

    @classmethod
    def of(cls, busy_s: float, interval_s: float) -> Pace:
        """For a set each ``interval_s`` of the drive."""
        return cls(busy_s, min(1.0, max(SLOWEST, interval_s / (MARGIN * busy_s))))


def busy_s(latency: Mapping[str, str]) -> float | None:
    """How long the node usually is busy with a set; None before it has labelled any.

    ``latency`` is what it says of that on ``/diagnostics``, by stage: ``9.1 / 12.0 / 30.5``.
    """
    told = (latency.get(stage + _STATISTICS) for stage in _BUSY)
    medians_ms = [float(times.partition("/")[0]) for times in told if times]
    return sum(medians_ms) / 1e3 if medians_ms else None
