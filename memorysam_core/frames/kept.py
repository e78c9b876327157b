"""Tables that are made once and kept on their device, until they are dropped together."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

_kept: list[Any] = []


def keep(most: int) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorates a function whose ``most`` latest results are kept for the next call."""

    def decorate(make: Callable[P, R]) -> Callable[P, R]:
        cached = lru_cache(maxsize=most)(make)
        _kept.append(cached)
        return cached  # type: ignore[return-value]

    return decorate


def drop_kept() -> None:
    """Frees all tables of all functions; who still needs one makes it anew."""
    for cached in _kept:
        cached.cache_clear()
