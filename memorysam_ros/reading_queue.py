"""The last readings of one sensor, in the order of their stamps, bounded."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from dataclasses import dataclass
from typing import Any

GAPS = 8
"""Intervals between stamps from which a sensor's rhythm is told."""
RHYTHM = 0.75
"""Share of the shortest recent interval before which no further reading is expected."""


@dataclass(frozen=True)
class Reading:
    """What a sensor said, and when; stamps in nanoseconds, with the sensor's offset."""

    stamp_ns: int
    end_ns: int
    """Equal to ``stamp_ns`` but for a piece of a stream, where it is the time of its last event."""
    payload: Any


class ReadingQueue:
    """At most ``depth`` readings; a stamp more than ``jump_ns`` before the newest starts anew."""

    def __init__(self, depth: int, jump_ns: int) -> None:
        self._depth = depth
        self._jump_ns = jump_ns
        self._readings: list[Reading] = []
        self._stamps: list[int] = []
        self._gaps: deque[int] = deque(maxlen=GAPS)
        self._reach_ns: int | None = None
        self.jumped = False
        """Whether the stamps started anew; whoever has acted on it resets this."""
        self.pushed_out_ns: int | None = None
        """The end of the latest reading that had to go since the queue was full."""

    def __len__(self) -> int:
        return len(self._readings)

    @property
    def readings(self) -> tuple[Reading, ...]:
        """All that is kept, by stamp."""
        return tuple(self._readings)

    @property
    def newest(self) -> Reading | None:
        """The reading with the latest stamp."""
        return self._readings[-1] if self._readings else None

    def clear(self) -> None:
        """Forgets everything."""
        self._readings.clear()
        self._stamps.clear()
        self._gaps.clear()
        self._reach_ns = None
        self.pushed_out_ns = None
        self.jumped = False

    def put(self, reading: Reading) -> list[str]:
        """Keeps a reading; what was wrong with it, in words."""
        problems = []
        stamp = reading.stamp_ns
        if self._stamps and stamp < self._stamps[-1] - self._jump_ns:
            self.clear()
            self.jumped = True
            problems.append("stamps jumped back")
        if self._stamps and stamp < self._stamps[-1]:
            problems.append("out of order")
        elif self._stamps:
            self._gaps.append(stamp - self._stamps[-1])
        slot = bisect_right(self._stamps, stamp)
        self._stamps.insert(slot, stamp)
        self._readings.insert(slot, reading)
        self._reach_ns = max(reading.end_ns, self._reach_ns or reading.end_ns)
        if len(self._readings) > self._depth:
            self.pushed_out_ns = self._readings[0].end_ns
            del self._readings[0], self._stamps[0]
        return problems

    def forget_before(self, stamp_ns: int) -> None:
        """Forgets what cannot be nearest to any time from ``stamp_ns`` on, but not the newest."""
        for _ in range(bisect_right(self._stamps, stamp_ns) - 1):
            del self._readings[0], self._stamps[0]

    def forget_ended(self, stamp_ns: int) -> None:
        """Forgets the pieces of a stream that end until ``stamp_ns``, but not the newest."""
        kept = [r for r in self._readings[:-1] if r.end_ns > stamp_ns] + self._readings[-1:]
        self._readings, self._stamps = kept, [r.stamp_ns for r in kept]

    @property
    def period_ns(self) -> int | None:
        """The shortest interval between recent stamps; None before there was one."""
        return min(self._gaps, default=None)

    def nearest(self, stamp_ns: int) -> Reading | None:
        """The reading nearest in time; of two equally near ones the earlier."""
        slot = bisect_left(self._stamps, stamp_ns)
        around = self._readings[max(0, slot - 1) : slot + 1]
        return min(around, key=lambda r: abs(r.stamp_ns - stamp_ns), default=None)

    def last_until(self, stamp_ns: int) -> Reading | None:
        """The latest reading that is not after ``stamp_ns``."""
        slot = bisect_right(self._stamps, stamp_ns)
        return self._readings[slot - 1] if slot else None

    def touching(self, begin_ns: int, end_ns: int) -> tuple[Reading, ...]:
        """The pieces of a stream that have a part in ``(begin_ns, end_ns]``."""
        until = bisect_right(self._stamps, end_ns)
        return tuple(r for r in self._readings[:until] if r.end_ns > begin_ns)

    def reaches(self, stamp_ns: int) -> bool:
        """Whether the stream is known up to ``stamp_ns``."""
        return self._reach_ns is not None and self._reach_ns >= stamp_ns

    def decided(self, stamp_ns: int) -> bool:
        """Whether the reading nearest to ``stamp_ns`` is known, and need not be waited for.

        It is once a reading at or after that time is here. It also is when the last one before
        it is so near that the next, by the sensor's recent rhythm, must be farther: without
        this, a sensor stamped just before the camera would delay each set by a whole period.
        """
        newest = self.newest
        if newest is None:
            return False
        before_ns = stamp_ns - newest.stamp_ns
        steady = len(self._gaps) == GAPS
        return before_ns <= 0 or (steady and 2 * before_ns < RHYTHM * min(self._gaps))
