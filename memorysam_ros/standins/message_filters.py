"""``Subscriber`` and ``ApproximateTimeSynchronizer`` of message_filters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from memorysam_ros.conversions.headers import SECOND_NS, stamp_ns


class _Filter:
    """Hands on what it is signalled to its callbacks, in the order of their registration."""

    def __init__(self) -> None:
        self._callbacks: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []

    def registerCallback(self, cb: Callable[..., Any], *args: Any) -> int:
        """Adds a callback, called with the messages and then ``args``; returns its number."""
        self._callbacks.append((cb, args))
        return len(self._callbacks) - 1

    def signalMessage(self, *msg: Any) -> None:
        """Calls all callbacks."""
        for callback, args in self._callbacks:
            callback(*msg, *args)


class Subscriber(_Filter):
    """A filter whose source is a subscription: ``Subscriber(node, type, topic, **options)``."""

    def __init__(self, node: Any, msg_type: Any, topic: str, **options: Any) -> None:
        super().__init__()
        options.setdefault("qos_profile", 10)
        self.sub = node.create_subscription(msg_type, topic, self.signalMessage, **options)


class ApproximateTimeSynchronizer(_Filter):
    """Hands on one message of each filter, once their stamps lie within ``slop`` seconds.

    Of each, ``queue_size`` messages are kept, and that nearest to the newest message is taken.
    """

    def __init__(self, fs: Sequence[Any], queue_size: int, slop: float) -> None:
        super().__init__()
        self._size, self._slop_ns = queue_size, round(slop * SECOND_NS)
        self._queues: list[dict[int, Any]] = [{} for _ in fs]
        for source, queue in zip(fs, self._queues, strict=True):
            source.registerCallback(self._add, queue)

    def _add(self, message: Any, queue: dict[int, Any]) -> None:
        stamp = stamp_ns(message)
        queue[stamp] = message
        while len(queue) > self._size:
            del queue[min(queue)]
        if not all(self._queues):
            return
        chosen = [min(q, key=lambda other: abs(other - stamp)) for q in self._queues]
        if max(chosen) - min(chosen) < self._slop_ns:
            self.signalMessage(*(q.pop(s) for q, s in zip(self._queues, chosen, strict=True)))
