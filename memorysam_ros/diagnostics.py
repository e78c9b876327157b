"""What happened, counted, and what it means: levels, messages and values for ``/diagnostics``.

Knows nothing of ROS. Times are whole nanoseconds on a clock that never stops. The inference thread
tells what came of its sets, the executor's thread all else.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np

from memorysam_ros.sensor_health import (
    MS,
    RESTING,
    WAITING,
    Bounds,
    Seen,
    SensorHealth,
    told_clock,
)
from memorysam_ros.status import Level, S, Status

NORMAL = Bounds()
_STALLED_NS = S
"""Time beyond what matching takes that labels may fail to come before that is an error."""
_HANGING_NS, _HANGING_TIMES = 10 * S, 5
"""The model hangs once it works on one set for so long, and so many times longer than ever."""


class StageTimes:
    """Durations of the last ``kept`` runs of each stage. Any thread may use it."""

    def __init__(self, kept: int = 300) -> None:
        self._kept = kept
        self._stages: dict[str, deque[int]] = {}
        self._lock = threading.Lock()

    def add(self, stage: str, duration_ns: int) -> None:
        """One run of a stage took so long."""
        with self._lock:
            self._stages.setdefault(stage, deque(maxlen=self._kept)).append(duration_ns)

    def summary_ms(self) -> dict[str, tuple[float, float, float]]:
        """Of each stage the median, the 95th percentile and the maximum, in milliseconds."""
        with self._lock:
            kept = {stage: list(runs) for stage, runs in self._stages.items()}
        return {
            stage: tuple(np.percentile(runs, (50, 95, 100)) / MS)  # type: ignore[misc]
            for stage, runs in kept.items()
        }


@dataclass(frozen=True)
class Circumstances:
    """What the rest of the node knows when a report is made."""

    counts: Mapping[str, int] = field(default_factory=dict)
    """The matcher's."""
    reasons: Mapping[str, str] = field(default_factory=dict)
    """Why each sensor was missing last."""
    leader: str = "image"
    """The sensor that leads now."""
    led: bool = True
    """Whether it is heard; if not, no other can lead in its place."""
    wanted: bool = True
    """Whether anybody subscribes, without which nothing is computed."""
    working_ns: int = 0
    """For how long the model has worked on its set; 0 if it has none."""
    resting: Collection[str] = ()
    """Sensors of which nobody wants anything."""
    blocked: str = ""
    """What keeps everything from running; empty if nothing does."""


class Diagnostics:
    """Collects what happens in the node and reports how it is."""

    def __init__(
        self,
        sensors: Mapping[str, bool],
        began_ns: int,
        bounds: Bounds = NORMAL,
        deadline_ns: int = 100 * MS,
        window_ns: int = 10 * S,
        counted: Mapping[str, int] | None = None,
    ) -> None:
        """``sensors``: those subscribed, and whether each is required; ``began_ns``: now.

        Shares and counts in a report are those of the last ``window_ns``; ``counted`` is what the
        matcher counted before.
        """
        self.sensors = {
            name: SensorHealth(name, need, began_ns, bounds) for name, need in sensors.items()
        }
        self.stages = StageTimes()
        self._bounds = bounds
        self._patience_ns = bounds.silent_after_ns + deadline_ns + _STALLED_NS
        self._window_ns = window_ns
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._unusable = ""
        self._published_ns = self._wanted_ns = began_ns
        before = Counter(counted or {})
        self._history: deque[tuple[int, Counter[str]]] = deque([(began_ns, before)])
        self._at_labels = before

    # What happens

    def count(self, what: str, times: int = 1) -> None:
        """Something happened, such as ``sets superseded`` or ``lidar: lost on the way``."""
        with self._lock:
            self._counts[what] += times

    def published(self, steady_ns: int) -> None:
        """Labels went out."""
        self.count("sets published")
        self._published_ns = steady_ns

    def unusable(self, why: str) -> None:
        """A set could not be shown to the model."""
        self.count("sets dropped: unusable")
        self._unusable = why

    # What it means

    def report(self, steady_ns: int, facts: Mapping[str, str], now: Circumstances) -> list[Status]:
        """All entries: the whole, each sensor, the latencies. ``facts`` are said of the model."""
        counts = self._counted(now)
        recent = self._recent(steady_ns, counts)
        heard = [s for s in self.sensors.values() if s.silence_ns(steady_ns) is not None]
        common_ns = _common_error([s.clock_error_ns for s in heard], self._bounds)
        statuses = {}
        for name, health in self.sensors.items():
            own = {
                k.removeprefix(f"{name}: "): n
                for k, n in recent.items()
                if k.startswith(f"{name}: ")
            }
            seen = Seen(own, _sets(recent), self._window_ns, now.reasons.get(name, ""))
            needed = name not in now.resting
            statuses[name] = health.status(steady_ns, seen, not common_ns, needed)
        if not now.wanted:
            self._wanted_ns = steady_ns
        if counts["sets published"] > self._at_labels["sets published"]:
            self._at_labels = counts
        level, message = self._whole(steady_ns, statuses, recent, counts, now)
        if level is Level.OK and common_ns:
            level, message = Level.WARN, f"{message}; of all of them, {told_clock(common_ns)}"
        values = {**facts, "leader": now.leader, **_shares(recent, counts)}
        values["window (s)"] = f"{self._window_ns / S:.0f}"
        whole = Status("segmentation", level, message, values)
        return [whole, *statuses.values(), self._latencies()]

    def _counted(self, now: Circumstances) -> Counter[str]:
        with self._lock:
            return Counter(now.counts) + self._counts

    def _recent(self, steady_ns: int, counts: Counter[str]) -> Counter[str]:
        """What was counted within the window."""
        self._history.append((steady_ns, counts))
        while len(self._history) > 2 and self._history[1][0] <= steady_ns - self._window_ns:
            self._history.popleft()
        return counts - self._history[0][1]

    def _whole(
        self,
        steady_ns: int,
        statuses: Mapping[str, Status],
        recent: Counter[str],
        counts: Counter[str],
        now: Circumstances,
    ) -> tuple[Level, str]:
        sensors = {n: s for n, s in statuses.items() if s.brief != RESTING}
        waiting = [n for n, s in sensors.items() if s.brief == WAITING]
        bad = {n: s for n, s in sensors.items() if s.level is not Level.OK}
        dead = {n: s for n, s in bad.items() if s.level is not Level.WARN}
        needed = {n: s for n, s in dead.items() if self.sensors[n].required}
        if now.blocked:
            return Level.ERROR, now.blocked
        if sensors and all(s.level is Level.STALE for s in sensors.values()):
            return Level.STALE, "no sensor sends anything"
        if needed or len(dead) == len(sensors):
            return Level.ERROR, f"cannot run: {_named(needed or dead)}"
        if now.wanted:
            trouble = self._no_labels(steady_ns, statuses, counts, now)
            if trouble:
                return Level.ERROR, trouble
        idle = "" if now.wanted else "; idle, nobody subscribes"
        if len(waiting) == len(sensors):
            return Level.OK, f"waiting for the first message of {', '.join(waiting)}{idle}"
        running = len(sensors) - len(waiting) - len(bad)
        works = f"running on {running} of {len(sensors)} sensors"
        failed = sum(n for key, n in recent.items() if key.startswith("sets failed"))
        if bad:
            return Level.WARN, f"{works}: {_named(bad)}"
        if failed:
            return Level.WARN, f"{failed} of {_sets(recent)} sets failed in the model"
        if early := recent["sets closed early"]:
            return Level.WARN, (
                f"{early} of {_sets(recent)} sets closed before matching.deadline, as too many "
                "were open; raise matching.queue_depth, or lower the deadline"
            )
        if waiting:
            works += f", waiting for {', '.join(waiting)}"
        return Level.OK, works + idle

    def _no_labels(
        self,
        steady_ns: int,
        statuses: Mapping[str, Status],
        counts: Counter[str],
        now: Circumstances,
    ) -> str:
        """Why no labels come though they are wanted; empty where they do, or soon may."""
        if now.working_ns:
            longest_ms = self.stages.summary_ms().get("model", (0.0, 0.0, 0.0))[2]
            if now.working_ns < max(_HANGING_NS, _HANGING_TIMES * longest_ms * MS):
                return ""
            return f"the model has worked on one set for {now.working_ns / S:.0f} s"
        leading = statuses.get(now.leader)
        awake_ns = self.sensors[now.leader].awake_ns if leading is not None else 0
        since_ns = steady_ns - max(self._published_ns, self._wanted_ns, awake_ns)
        if since_ns <= self._patience_ns or (leading is not None and leading.brief == WAITING):
            return ""
        if not now.led:
            brief = f" ({leading.brief})" if leading is not None else ""
            return f"no labels: {now.leader} leads{brief}, and no other sensor can"
        return f"no labels for {since_ns / S:.0f} s: {self._top_reason(counts, now)}"

    def _top_reason(self, counts: Counter[str], now: Circumstances) -> str:
        """What became of most sets since there were labels."""
        since = counts - self._at_labels
        fates = {k: n for k, n in since.items() if k.startswith(("sets dropped", "sets failed"))}
        if not fates:
            disorder = since[f"{now.leader}: out of order"]
            if disorder:
                return f"{disorder} messages of {now.leader} are stamped earlier than the last one"
            return "sets close, and none comes back" if _sets(since) else "no set has closed"
        fate = max(fates, key=lambda key: fates[key])
        if fate.startswith("sets failed"):
            return f"all of {fates[fate]} sets failed in the model"
        if fate == "sets dropped: unusable":
            return self._unusable
        why = now.reasons.get(fate.removeprefix("sets dropped: no "), "")
        return f"{fate} ({why})" if why else fate

    def _latencies(self) -> Status:
        summary = self.stages.summary_ms()
        values = {
            f"{stage} p50/p95/max (ms)": f"{p50:.1f} / {p95:.1f} / {largest:.1f}"
            for stage, (p50, p95, largest) in summary.items()
        }
        end = summary.get("camera to labels")
        message = f"{end[0]:.0f} ms from camera to labels" if end else "no labels yet"
        return Status("latency", Level.OK, message, values, logged=False)


def _common_error(errors_ns: list[int], bounds: Bounds) -> int:
    """By how much all sensors alike are off the node's clock: then it is the node's that is off,
    or a bag is played. 0 if they are not, or where there is only one.
    """
    alike = len(errors_ns) > 1 and max(errors_ns) - min(errors_ns) <= bounds.behind_ns
    return min(errors_ns, key=abs) if alike and all(errors_ns) else 0


def _shares(recent: Counter[str], counts: Counter[str]) -> dict[str, str]:
    """What became of the sets within the window, as counts and shares, and in all."""
    sets = max(1, _sets(recent))
    # A set closed just before the window may be published within it: then more than all are.
    return {
        key: f"{recent[key]} ({min(100, 100 * recent[key] / sets):.0f} %), {total} in all"
        for key, total in sorted(counts.items())
        if key.startswith(("sets ", "flush"))
    }


def _sets(counts: Mapping[str, int]) -> int:
    """All sets that were closed."""
    return sum(
        count
        for key, count in counts.items()
        if key in ("sets complete", "sets partial") or key.startswith("sets dropped: no")
    )


def _named(statuses: Mapping[str, Status]) -> str:
    return "; ".join(f"{name} ({status.brief})" for name, status in statuses.items())
