"""What was made of the last few messages, so that nothing is made of one message twice."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

Value = TypeVar("Value")

KEPT = 2
"""Values of a kind: of the reading that serves now, and of the one that will serve next."""


class Recent(Generic[Value]):
    """The values used last, each found by the very object that it was made of."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._entries: list[tuple[object, Any, Value]] = []

    def find(self, source: object, view: Any = None) -> Value | None:
        """The value made of this object in a view that equals this one, or None."""
        for place, (known, seen_in, value) in enumerate(self._entries):
            if known is source and seen_in == view:
                self._entries.append(self._entries.pop(place))
                return value
        return None

    def keep(self, value: Value, source: object, view: Any = None) -> Value:
        """Keeps a value in place of the one that was not used for longest; returns it."""
        self._entries = [*self._entries, (source, view, value)][-self._kept :]
        return value

    def clear(self) -> None:
        """Forgets all."""
        self._entries.clear()
