"""What is said of the node's health: one status, and the log of how it changes.

Knows nothing of ROS. Times are whole nanoseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

S = 1_000_000_000


class Level(IntEnum):
    """Numbers of ``diagnostic_msgs/DiagnosticStatus``."""

    OK = 0
    WARN = 1
    ERROR = 2
    STALE = 3


@dataclass(frozen=True)
class Status:
    """One entry of a diagnostics message."""

    name: str
    level: Level
    message: str
    values: Mapping[str, str] = field(default_factory=dict)
    brief: str = ""
    """The message in two or three words."""
    logged: bool = True
    """Whether a change into this state is worth a line in the log."""


class StateLog:
    """Says each state once: when it is entered, and again only after ``again_ns`` of repeats."""

    def __init__(self, again_ns: int = 60 * S) -> None:
        self._again_ns = again_ns
        self._states: dict[str, str] = {}
        self._said: dict[tuple[str, str], int] = {}

    def enter(self, key: str, state: str, steady_ns: int) -> bool:
        """Whether ``key`` has just come into ``state`` and that is worth a line in the log."""
        if self._states.get(key) == state:
            return False
        self._states[key] = state
        said = self._said.get((key, state))
        if said is not None and steady_ns - said < self._again_ns:
            return False
        if len(self._said) > 1000:  # texts with numbers in them must not pile up
            self._said.clear()
        self._said[key, state] = steady_ns
        return True
