"""A thread that works on the newest item only: a mailbox of one slot, and who empties it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Mailbox(Generic[Item]):
    """One slot before one taker. Putting into a full one replaces what was there: newest wins.

    A taker who waits is handed the item at once, so that of two items put in quick succession to an
    idle taker neither is lost, however late its thread wakes.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._slot: Item | None = None
        self._handed: Item | None = None
        self._waiting = False
        self._closed = False

    @property
    def waiting(self) -> bool:
        """Whether the taker waits."""
        return self._waiting

    def put(self, item: Item) -> Item | None:
        """Leaves an item; returns the one that it replaced, which nobody will see."""
        with self._changed:
            if self._waiting:
                self._handed, self._waiting = item, False
                self._changed.notify()
                return None
            replaced, self._slot = self._slot, item
            return replaced

    def take(self) -> Item | None:
        """Waits for an item and takes it out; None once the box is closed."""
        with self._changed:
            item, self._slot = self._slot, None
            if item is None:
                self._waiting = True
                self._changed.wait_for(lambda: not self._waiting or self._closed)
                item, self._handed = self._handed, None
            return None if self._closed else item

    def clear(self) -> Item | None:
        """Empties the slot; returns what was in it."""
        with self._changed:
            item, self._slot = self._slot, None
            return item

    def close(self) -> None:
        """Wakes whoever waits; from now on there is nothing to take."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class Worker(Generic[Item]):
    """Calls ``job`` with the newest item on a thread of its own, one at a time.

    An exception in ``job`` goes to ``failed`` together with its item, and the next item is worked
    on: neither the thread nor a lock is lost to it. An exception in ``failed`` is not caught.
    """

    def __init__(
        self,
        job: Callable[[Item], None],
        failed: Callable[[Item, Exception], None],
        name: str = "inference",
    ) -> None:
        self._job = job
        self._failed = failed
        self._mailbox: Mailbox[Item] = Mailbox()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, item: Item) -> Item | None:
        """Hands over an item; returns the one waiting that it replaced, if any."""
        return self._mailbox.put(item)

    @property
    def idle(self) -> bool:
        """Whether it waits for an item."""
        return self._mailbox.waiting

    def clear(self) -> Item | None:
        """Withdraws the item that waits; returns it."""
        return self._mailbox.clear()

    def stop(self, timeout: float | None = None) -> bool:
        """Lets the item in work finish, drops a waiting one; whether the thread has ended."""
        self._mailbox.close()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (item := self._mailbox.take()) is not None:
            try:
                self._job(item)
            except Exception as error:
                self._failed(item, error)
