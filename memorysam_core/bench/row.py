"""One line of a benchmark."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """A measured value. Speed is best given as a ratio of two things timed in the same run."""

    name: str
    """What was measured, as a reader who has not seen the code would say it."""
    value: float
    unit: str
    """Such as ms, sets/s, MB, or x for a ratio."""
    detail: str = ""
    """Sizes, what it is compared with, and the spread."""
