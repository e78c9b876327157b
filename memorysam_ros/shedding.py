"""Doing with less when the device's memory does not suffice for all sensors."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TypeVar

from memorysam_core.engines.memory_use import give_back

T = TypeVar("T")

TOLERATED = 2
"""Sets in a row that may run out of memory before a modality is given up."""


class Shedding:
    """Gives up the last modality of the sequence that is not required, when sets repeatedly run
    out of memory.
    """

    def __init__(self, required: Collection[str] = ()) -> None:
        """``required``: modalities that are never given up."""
        self.given_up: list[str] = []
        """Modalities that are left out from now on, in the order in which they were given up."""
        self._required = frozenset(required)
        self._failures = 0

    def keep(self, frames: Mapping[str, T]) -> dict[str, T]:
        """The frames that are still shown to the model."""
        return {name: frame for name, frame in frames.items() if name not in self.given_up}

    def failed(self, names: list[str]) -> bool:
        """The model ran out of memory with these modalities, in order; whether less can be tried,
        or the same once more.
        """
        self._failures += 1
        give_back()
        if self._failures < TOLERATED:
            return True
        spare = [name for name in names if name not in self._required]
        if len(names) == 1 or not spare:
            return False
        self.given_up.append(spare[-1])
        self._failures = 0
        return True

    def worked(self) -> None:
        """The model had enough memory."""
        self._failures = 0
