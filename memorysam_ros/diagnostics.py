"""What happened, counted, and what it means: levels, messages and values for ``/diagnostics``.

Knows nothing of ROS. Times are whole nanoseconds; ages and latencies are taken on the node's
clock, which may be simulated, rates on a clock that never stops.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np

S = 1_000_000_000
MS = 1_000_000


_TOLERATED = 0.1
"""Share of sets that may lack a sensor before its diagnostic warns."""
_PATIENCE_S = 2.0
"""Time beyond its normal silence that a sensor has for its first message."""


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


class StageTimes:
    """Durations of the last ``kept`` runs of each stage."""

    def __init__(self, kept: int = 300) -> None:
        self._kept = kept
        self._stages: dict[str, deque[int]] = {}

    def add(self, stage: str, duration_ns: int) -> None:
        """One run of a stage took so long."""
        self._stages.setdefault(stage, deque(maxlen=self._kept)).append(duration_ns)

    def summary_ms(self) -> dict[str, tuple[float, float, float]]:
        """Of each stage the median, the 95th percentile and the maximum, in milliseconds."""
        return {
            stage: tuple(np.percentile(list(runs), (50, 95, 100)) / MS)  # type: ignore[misc]
            for stage, runs in list(self._stages.items())
        }


class SensorHealth:
    """Arrivals and troubles of one sensor."""

    def __init__(self, name: str, required: bool) -> None:
        self.name = name
        self.required = required
        self.trouble = ""
        """What is wrong with it now; empty if nothing is."""
        self.doubt = ""
        """What seems wrong with it, though it is used; empty if nothing does."""
        self.last_error = ""
        self.note = ""
        """What stands in the way of its messages, such as that nobody publishes them."""
        self.total = 0
        self._arrivals_ns: deque[int] = deque(maxlen=100)
        self._arrived_ns = self._stamp_ns = 0

    def arrived(self, stamp_ns: int, now_ns: int, steady_ns: int) -> None:
        """A message of the sensor arrived."""
        self.total += 1
        self._arrivals_ns.append(steady_ns)
        self._arrived_ns, self._stamp_ns = now_ns, stamp_ns

    def failed(self, trouble: str) -> None:
        """Its last reading could not be used."""
        self.trouble = self.last_error = trouble

    def worked(self, doubt: str = "") -> None:
        """Its last reading was used; ``doubt`` says what seems wrong with it."""
        self.trouble, self.doubt = "", doubt

    def silence_s(self, steady_ns: int) -> float | None:
        """Time since its last message; None if there never was one."""
        return (steady_ns - self._arrivals_ns[-1]) / S if self._arrivals_ns else None

    def rate_hz(self, steady_ns: int, window_ns: int = 5 * S) -> float:
        """Messages a second, over the last seconds."""
        recent = [t for t in self._arrivals_ns if t >= steady_ns - window_ns]
        if len(recent) < 2:
            return 0.0
        return (len(recent) - 1) * S / max(1, recent[-1] - recent[0])

    @property
    def latency_ms(self) -> float:
        """Between the stamp of its last message and its arrival."""
        return (self._arrived_ns - self._stamp_ns) / MS


class Diagnostics:
    """Collects what happens in the node and reports how it is."""

    def __init__(
        self,
        sensors: Mapping[str, bool],
        began_ns: int,
        silent_after_ns: int = S,
        window_ns: int = 10 * S,
    ) -> None:
        """``sensors``: those subscribed, and whether each is required; ``began_ns``: now.

        Shares and counts in a report are those of the last ``window_ns``.
        """
        self.sensors = {name: SensorHealth(name, need) for name, need in sensors.items()}
        self.stages = StageTimes()
        self.counts: Counter[str] = Counter()
        """Beside the matcher's: ``sets published``, ``sets superseded``, ``sets failed: ...``."""
        self.blocked = ""
        """Why there can be no labels at all now; empty if nothing stands in the way."""
        self._began_ns = began_ns
        self._silent_after_s = silent_after_ns / S
        self._window_ns = window_ns
        self._history: deque[tuple[int, Counter[str]]] = deque()

    def report(
        self, steady_ns: int, matched: Mapping[str, int], facts: Mapping[str, str], idle: bool
    ) -> list[Status]:
        """All entries: the whole, each sensor, the latencies.

        ``matched`` are the matcher's counts, ``facts`` what is said of the model, ``idle`` whether
        nobody subscribes and hence nothing is computed.
        """
        recent = self._recent(steady_ns, matched)
        sensors = [self._sensor(health, steady_ns, recent) for health in self.sensors.values()]
        whole = self._whole(sensors, recent, facts, idle)
        return [whole, *sensors, self._latencies()]

    def _recent(self, steady_ns: int, matched: Mapping[str, int]) -> Counter[str]:
        """What was counted within the window."""
        now = Counter(matched) + self.counts
        self._history.append((steady_ns, now))
        while len(self._history) > 2 and self._history[1][0] <= steady_ns - self._window_ns:
            self._history.popleft()
        before = self._history[0][1] if len(self._history) > 1 else Counter()
        return now - before

    def _sensor(self, health: SensorHealth, steady_ns: int, recent: Counter[str]) -> Status:
        silence_s = health.silence_s(steady_ns)
        prefix = f"{health.name}: "
        own = {k.removeprefix(prefix): n for k, n in recent.items() if k.startswith(prefix)}
        rate_hz = health.rate_hz(steady_ns)
        values = {
            "rate (Hz)": f"{rate_hz:.1f}",
            "age (s)": "never" if silence_s is None else f"{silence_s:.2f}",
            "latency (ms)": f"{health.latency_ms:.1f}" if health.total else "unknown",
            "messages": str(health.total),
            **{key: str(own[key]) for key in sorted(own)},
            "last error": health.last_error,
        }
        level, brief, message = self._condition(health, steady_ns, own, _sets(recent))
        logged = level is not Level.OK or health.total > 0
        return Status(f"sensor {health.name}", level, message, values, brief, logged)

    def _condition(
        self, health: SensorHealth, steady_ns: int, own: Mapping[str, int], sets: int
    ) -> tuple[Level, str, str]:
        """Level, brief and full message of a sensor; ``own`` are its counts within the window."""
        silence_s, waited_s = health.silence_s(steady_ns), (steady_ns - self._began_ns) / S
        missing, late = own.get("missing", 0), own.get("late", 0)
        if silence_s is None and waited_s < self._silent_after_s + _PATIENCE_S:
            return Level.OK, "waiting", "waiting for the first message"
        if silence_s is None or silence_s > self._silent_after_s:
            level = Level.ERROR if health.required else Level.STALE
            never = "nothing ever arrived"
            brief = never if silence_s is None else f"silent for {silence_s:.1f} s"
            return level, brief, f"{brief}: {health.note}" if health.note else brief
        if health.trouble:
            return Level.ERROR, "unusable", health.trouble
        if health.doubt:
            return Level.WARN, "doubtful", health.doubt
        if missing > _TOLERATED * sets:
            message = f"missing in {missing} of {sets} sets"
            more = f", {late} of its readings came too late" if late else ""
            return Level.WARN, message, message + more
        rate = f"{health.rate_hz(steady_ns):.1f} Hz"
        return Level.OK, rate, rate

    def _whole(
        self, sensors: list[Status], recent: Counter[str], facts: Mapping[str, str], idle: bool
    ) -> Status:
        sets = _sets(recent)
        # A set closed just before the window may be published within it: then more than all are.
        shares = {
            key: f"{count} ({min(100, 100 * count / sets):.0f} %)" if sets else str(count)
            for key, count in sorted(recent.items())
            if key.startswith(("sets ", "flush"))
        }
        values = {**facts, **shares, "window (s)": f"{self._window_ns / S:.0f}"}
        bad = [s for s in sensors if s.level in (Level.ERROR, Level.STALE)]
        works = f"running on {len(sensors) - len(bad)} of {len(sensors)} sensors"
        failed = sum(n for key, n in recent.items() if key.startswith("sets failed"))
        needed = [s for s in bad if self.sensors[s.name.removeprefix("sensor ")].required]
        if self.blocked:
            level, message = Level.ERROR, self.blocked
        elif sensors and all(s.level is Level.STALE for s in sensors):
            level, message = Level.STALE, "no sensor sends anything"
        elif needed or len(bad) == len(sensors):
            level, message = Level.ERROR, f"cannot run: {_name(needed or bad)}"
        elif failed and not recent["sets published"]:
            level, message = Level.ERROR, f"all of {failed} sets failed in the model"
        elif bad:
            level, message = Level.WARN, f"{works}: {_name(bad)}"
        elif failed:
            level, message = Level.WARN, f"{failed} of {sets} sets failed in the model"
        elif idle:
            level, message = Level.OK, f"{works}; idle, nobody subscribes"
        else:
            level, message = Level.OK, works
        return Status("segmentation", level, message, values)

    def _latencies(self) -> Status:
        summary = self.stages.summary_ms()
        values = {
            f"{stage} p50/p95/max (ms)": f"{p50:.1f} / {p95:.1f} / {largest:.1f}"
            for stage, (p50, p95, largest) in summary.items()
        }
        end = summary.get("camera to labels")
        message = f"{end[0]:.0f} ms from camera to labels" if end else "no labels yet"
        return Status("latency", Level.OK, message, values, logged=False)


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


def _sets(counts: Mapping[str, int]) -> int:
    """All sets that were closed."""
    return sum(
        count
        for key, count in counts.items()
        if key in ("sets complete", "sets partial") or key.startswith("sets dropped")
    )


def _name(statuses: list[Status]) -> str:
    return "; ".join(f"{s.name.removeprefix('sensor ')} ({s.brief})" for s in statuses)
