"""What is known of one sensor, and what that means: its entry in the diagnostics.

Knows nothing of ROS. Times are whole nanoseconds; latencies are taken on the node's clock, which
may be simulated, rates and silence on a clock that never stops.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from memorysam_ros.status import Level, S, Status

MS = 1_000_000

WAITING, RESTING = "waiting", "not needed"
"""Briefs of a sensor that may still come, and of one that nobody wants anything of."""
_TOLERATED = 0.1
"""Share of sets that may lack a sensor, or of its messages that may be lost, before it warns."""
_PATIENCE_NS = 2 * S
"""Time beyond its normal silence that a sensor has for its first message."""


@dataclass(frozen=True)
class Bounds:
    """What is normal."""

    silent_after_ns: int = S
    ahead_ns: int = 150 * MS
    """A stamp may be so much after the time of arrival: nothing arrives before it was measured."""
    behind_ns: int = S
    """A message may be so old when it arrives, for there are slow sensors and slow networks."""


@dataclass(frozen=True)
class Seen:
    """What the matching says of a sensor, within the window of a report."""

    counts: Mapping[str, int]
    """``missing``, ``late`` and their like."""
    sets: int
    window_ns: int
    reason: str = ""
    """Why it was missing last."""


class SensorHealth:
    """Arrivals and troubles of one sensor."""

    def __init__(self, name: str, required: bool, began_ns: int, bounds: Bounds) -> None:
        self.name = name
        self.required = required
        self.trouble = ""
        """What is wrong with it now; empty if nothing is."""
        self.doubt = ""
        """What seems wrong with it, though it is used; empty if nothing does."""
        self.last_error = ""
        self.note = ""
        """While it is silent, what may be the reason, such as that nobody publishes it."""
        self.obstacle = ""
        """What is set up wrongly on one of its topics, silent or not."""
        self.total = 0
        self.awake_ns = began_ns
        """Since when it is heard without a pause."""
        self._began_ns, self._bounds = began_ns, bounds
        self._arrivals_ns: deque[int] = deque(maxlen=100)
        self._latencies_ns: deque[int] = deque(maxlen=10)

    def may_pause(self, pause_ns: int) -> None:
        """It is slow, and its last reading serves for so long."""
        after_ns = max(self._bounds.silent_after_ns, pause_ns)
        self._bounds = dataclasses.replace(self._bounds, silent_after_ns=after_ns)

    def arrived(self, stamp_ns: int, now_ns: int, steady_ns: int) -> None:
        """A message of the sensor arrived."""
        silence_ns = self.silence_ns(steady_ns)
        if silence_ns is None or silence_ns > self._bounds.silent_after_ns:
            self.awake_ns = steady_ns
        self.total += 1
        self._arrivals_ns.append(steady_ns)
        if stamp_ns:
            self._latencies_ns.append(now_ns - stamp_ns)

    def failed(self, trouble: str) -> None:
        """Its last reading could not be used."""
        self.trouble = self.last_error = trouble

    def worked(self, doubt: str = "") -> None:
        """Its last reading was used; ``doubt`` says what seems wrong with it."""
        self.trouble, self.doubt = "", doubt

    def silence_ns(self, steady_ns: int) -> int | None:
        """Time since its last message; None if there never was one."""
        return steady_ns - self._arrivals_ns[-1] if self._arrivals_ns else None

    def rate_hz(self, steady_ns: int, window_ns: int = 5 * S) -> float | None:
        """Messages a second, over the last seconds; None where there are too few to tell."""
        recent = [t for t in self._arrivals_ns if t >= steady_ns - window_ns]
        if len(recent) < 2:
            return None
        return (len(recent) - 1) * S / max(1, recent[-1] - recent[0])

    @property
    def latency_ns(self) -> int | None:
        """Between stamp and arrival, the median of a few; None where nothing stamped arrived."""
        return round(statistics.median(self._latencies_ns)) if self._latencies_ns else None

    @property
    def clock_error_ns(self) -> int:
        """By how much its stamps are behind the node's clock, ahead if negative; 0 if normal."""
        latency = self.latency_ns or 0
        return 0 if -self._bounds.ahead_ns <= latency <= self._bounds.behind_ns else latency

    def status(self, steady_ns: int, seen: Seen, clock: bool = True, needed: bool = True) -> Status:
        """Its entry; ``clock``: whether its own clock is looked at, ``needed``: whether anybody
        wants what is made of it.
        """
        silence_ns, latency, rate = (
            self.silence_ns(steady_ns), self.latency_ns, self.rate_hz(steady_ns)
        )  # fmt: skip
        values = {
            "rate (Hz)": "unknown" if rate is None else f"{rate:.1f}",
            "age (s)": "never" if silence_ns is None else f"{silence_ns / S:.2f}",
            "latency (ms)": "unknown" if latency is None else f"{latency / MS:.1f}",
            "messages": str(self.total),
            **{key: str(seen.counts[key]) for key in sorted(seen.counts)},
            "last missing": seen.reason,
            "last error": self.last_error,
        }
        level, brief, message = self._condition(steady_ns, seen, clock, needed)
        logged = level is not Level.OK or rate is not None
        return Status(f"sensor {self.name}", level, message, values, brief, logged)

    def _condition(
        self, steady_ns: int, seen: Seen, clock: bool, needed: bool
    ) -> tuple[Level, str, str]:
        """Level, brief and full message."""
        silence_ns, after_ns = self.silence_ns(steady_ns), self._bounds.silent_after_ns
        if not needed:
            return Level.OK, RESTING, "nobody subscribes to what is made of it"
        if silence_ns is None and steady_ns - self._began_ns < after_ns + _PATIENCE_NS:
            return Level.OK, WAITING, "waiting for the first message"
        if silence_ns is None or silence_ns > after_ns:
            level = Level.ERROR if self.required else Level.STALE
            never = "nothing ever arrived"
            brief = never if silence_ns is None else f"silent for {silence_ns / S:.1f} s"
            return level, brief, f"{brief}: {self.note}" if self.note else brief
        if self.trouble:
            return Level.ERROR, "unusable", self.trouble
        doubts = self._doubts(steady_ns, seen, clock)
        if doubts:
            brief, message = doubts[0]
            return Level.WARN, brief, message
        rate = self.rate_hz(steady_ns)
        message = "heard" if rate is None else f"{rate:.1f} Hz"
        return Level.OK, message, message

    def _doubts(self, steady_ns: int, seen: Seen, clock: bool) -> list[tuple[str, str]]:
        """Briefs and messages of what seems wrong though it is heard, the worst first."""
        found: list[tuple[str, str]] = []
        counts = seen.counts
        off = told_clock(self.clock_error_ns) if clock and self.clock_error_ns else ""
        missing, late = counts.get("missing", 0), counts.get("late", 0)
        if missing > _TOLERATED * seen.sets:
            brief = f"missing in {missing} of {seen.sets} sets"
            more = f", {late} of its readings came too late" if late else ""
            why = off or seen.reason
            found.append((brief, brief + more + (f": {why}" if why else "")))
        if off:
            found.append((f"clock {-self.clock_error_ns / S:+.1f} s", off))
        if self.obstacle:
            found.append(("set up wrongly", self.obstacle))
        if self.doubt:
            found.append(("doubtful", self.doubt))
        # Of event packets, DDS may tell of the same ones that their numbers tell of.
        lost = max(counts.get("lost on the way", 0), counts.get("packets lost", 0))
        heard = (self.rate_hz(steady_ns) or 0) * seen.window_ns / S
        if lost > _TOLERATED * (heard + lost):
            brief = f"{lost} messages lost on the way"
            found.append((brief, f"{brief}; see DDS in docs/node.md"))
        return found


def told_clock(behind_ns: int) -> str:
    """In words, how far stamps are from the node's clock."""
    side = "behind the node's clock" if behind_ns > 0 else "ahead of the node's clock"
    return (
        f"its stamps are {abs(behind_ns) / S:.1f} s {side}: synchronise the clocks, or set "
        "use_sim_time where a bag is played"
    )
