"""A thread that works on the newest item only: a mailbox of one slot, and who empties it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Errand:
    """Something to do while there is no item. It must not raise."""

    def __init__(self, do: Callable[[], None]) -> None:
        self.do = do


class Mailbox(Generic[Item]):
    """One slot before one taker. Putting into a full one replaces what was there: newest wins.

    An idle taker is handed the first item beside the slot, so that of two items put in quick
    succession neither is lost, however late its thread wakes. While there is no item, the taker is
    given errands: things that may be done before the next item, of which the newest of a kind
    replaces the older ones.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._slot: Item | None = None
        self._handed: Item | None = None
        self._errands: dict[str, Errand] = {}
        self._idle = False
        self._closed = False

    @property
    def idle(self) -> bool:
        """Whether the taker works on no item, and none is handed to it."""
        return self._idle and self._handed is None

    def put(self, item: Item) -> Item | None:
        """Leaves an item; returns the one that it replaced, which nobody will see."""
        with self._changed:
            if self.idle:
                self._handed = item
                self._changed.notify()
                return None
            replaced, self._slot = self._slot, item
            return replaced

    def offer(self, kind: str, errand: Errand) -> None:
        """Leaves an errand, in place of an older one of its kind."""
        with self._changed:
            self._errands.pop(kind, None)
            self._errands[kind] = errand
            self._changed.notify()

    def take(self) -> Item | Errand | None:
        """Waits for an item, or else an errand, and takes it out; None once the box is closed."""
        with self._changed:
            self._idle = True
            if self._handed is None:
                self._handed, self._slot = self._slot, None
            self._changed.wait_for(
                lambda: self._handed is not None or self._errands or self._closed
            )
            if self._closed:
                return None
            if self._handed is None:
                return self._errands.pop(next(iter(self._errands)))
            item, self._handed, self._idle = self._handed, None, False
            return item

    def clear(self) -> None:
        """Withdraws everything that is not taken yet."""
        with self._changed:
            self._slot = self._handed = None
            self._errands.clear()

    def close(self) -> None:
        """Wakes whoever waits; from now on there is nothing to take."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class Worker(Generic[Item]):
    """Calls ``job`` with the newest item on a thread of its own, one at a time.

    An exception in ``job`` goes to ``failed`` together with its item, and the next item is worked
    on: neither the thread nor a lock is lost to it. An exception in ``failed`` or in an errand is
    not caught.
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
        self._began_ns = 0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, item: Item) -> Item | None:
        """Hands over an item; returns the one waiting that it replaced, if any."""
        return self._mailbox.put(item)

    @property
    def idle(self) -> bool:
        """Whether it waits for an item."""
        return self._mailbox.idle

    @property
    def working_ns(self) -> int:
        """For how long it has worked on its item; 0 where it has none."""
        began_ns = self._began_ns
        return time.monotonic_ns() - began_ns if began_ns else 0

    def offer(self, kind: str, errand: Callable[[], None]) -> None:
        """Leaves something to do while there is no item, in place of an older one of its kind."""
        self._mailbox.offer(kind, Errand(errand))

    def clear(self) -> None:
        """Withdraws everything that is not in work."""
        self._mailbox.clear()

    def stop(self, timeout: float | None = None) -> bool:
        """Lets the item in work finish, drops a waiting one; whether the thread has ended."""
        self._mailbox.close()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (taken := self._mailbox.take()) is not None:
            if isinstance(taken, Errand):
                taken.do()
                continue
            self._began_ns = time.monotonic_ns()
            try:
                self._job(taken)
            except Exception as error:
                self._failed(taken, error)
            finally:
                self._began_ns = 0
