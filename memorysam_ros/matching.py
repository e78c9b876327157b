"""Matching in time: readings with stamps go in, sets go out.

One sensor leads, normally the camera: each of its readings opens a set. Every other sensor adds
the reading nearest to the leader's stamp, within its tolerance. A set closes when every sensor is
settled, or when its deadline passes, and goes out with what arrived: a silent sensor costs at most
the deadline, and once it is known to be silent nothing at all. Sets leave in the order in which
they were opened.

Knows neither ROS nor torch. All times are whole nanoseconds; the caller passes ``now_ns`` on a
clock of its choice, so the same class serves a live node, simulated time and the replay of a bag.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from memorysam_ros.matching_rules import MS, MatchingRules, SensorRule
from memorysam_ros.reading_queue import GAPS, Reading, ReadingQueue

_LATE_NS = 2_000 * MS
"""Readings that come so long after the moment of their set are told to be late; later ones, to be
of another clock."""
_MOST_CLOSED = 512
_SLOWEST_NS = 5_000 * MS
"""A leader that is regular, but slower than that, is silent in between."""
_NEAR = 0.6
"""Share of a sensor's period within which a reading is expected to be the nearest to a moment:
half, and a little for jitter."""


@dataclass(frozen=True)
class MatchedSet:
    """Readings of one moment."""

    leader: str
    stamp_ns: int
    """The leader's stamp, with its offset."""
    readings: Mapping[str, tuple[Reading, ...]]
    """By sensor: one reading, or the pieces of a stream in order. Holds the leader's."""
    missing: Mapping[str, str]
    """Sensors without a reading, and why."""
    held: frozenset[str]
    """Sensors whose reading is an older one, held."""
    opened_ns: int
    closed_ns: int


@dataclass(frozen=True)
class _Open:
    leader: str
    reading: Reading
    opened_ns: int


@dataclass(frozen=True)
class _Choice:
    readings: tuple[Reading, ...] = ()
    held: bool = False
    why: str = ""
    """Why there is none."""
    overflow: bool = False
    """Whether there was one, which had to make room for newer ones."""


class Matcher:
    """Collects readings and hands out sets.

    One thread feeds it; :meth:`allow_lead` may be called by any.
    """

    def __init__(self, rules: MatchingRules) -> None:
        self.rules = rules
        self.counts: Counter[str] = Counter()
        """What happened, counted by reason, since construction."""
        self.flushes = 0
        """How often everything was forgotten."""
        self._rules = {rule.name: rule for rule in (rules.leader, *rules.followers)}
        self._queues = {
            rule.name: ReadingQueue(
                rules.stream_depth if rule.window_ns else rules.queue_depth, rules.jump_ns
            )
            for rule in rules.followers
        }
        self.reasons: dict[str, str] = {}
        """Why each sensor was missing in the last set that lacked it."""
        self._unplaced: set[str] = set()
        self._arrivals: dict[str, int] = {}
        self._pauses: deque[int] = deque(maxlen=2)
        self._awake_since: dict[str, int] = {}
        self._open: deque[_Open] = deque()
        self._closed: deque[tuple[int, Mapping[str, str]]] = deque(maxlen=_MOST_CLOSED)
        self._last_lead_ns: int | None = None
        self._last_leader = ""
        self._own_lead_ns: dict[str, int] = {}
        self._lead_gaps: deque[int] = deque(maxlen=GAPS)
        self._began_ns: int | None = None
        self._now_ns = 0

    # What callers use

    def add(
        self, sensor: str, stamp_ns: int, payload: Any, now_ns: int, end_ns: int | None = None
    ) -> list[MatchedSet]:
        """A reading arrived; the sets that this closes, oldest first.

        ``end_ns`` is the time of the last event of a piece of a stream; others are moments.
        Raises KeyError for a sensor that has no rule.
        """
        rule = self._rules[sensor]
        now_ns = self._advance(now_ns)
        if sensor not in self._arrivals or self.silent(sensor, now_ns):
            self._awake_since[sensor] = now_ns
        is_first = sensor == self.rules.leader.name
        leading = self.leader(now_ns) == sensor or is_first
        if is_first and sensor in self._arrivals:
            self._pauses.append(now_ns - self._arrivals[sensor])
        self._arrivals[sensor] = now_ns
        begin = stamp_ns + rule.offset_ns
        reading = Reading(begin, begin if end_ns is None else end_ns + rule.offset_ns, payload)
        if not is_first:
            self._enqueue(sensor, reading)
        if leading:
            self._lead(sensor, reading, now_ns)
        return self._release(now_ns)

    def tick(self, now_ns: int) -> list[MatchedSet]:
        """Time passed; the sets whose deadline this ends, oldest first."""
        return self._release(self._advance(now_ns))

    @property
    def next_deadline_ns(self) -> int | None:
        """When :meth:`tick` is due next; None while no set is open."""
        return self._open[0].opened_ns + self.rules.deadline_ns if self._open else None

    @property
    def open_sets(self) -> int:
        """Number of sets that still wait for a reading."""
        return len(self._open)

    @property
    def queued(self) -> int:
        """Number of readings kept."""
        return sum(len(queue) for queue in self._queues.values())

    def expects(self, sensor: str, stamp_ns: int) -> bool:
        """Whether a reading that has arrived will probably be in a set that is yet to close.

        It will if it is near to the leader's stamp in an open set, or to the leader's next stamp,
        as far as the rhythms of both tell. What is drawn of it may then be drawn at once.
        """
        rule = self._rules[sensor]
        moments = [first.reading.stamp_ns for first in self._open]
        if sensor == self.rules.leader.name or rule.window_ns:
            return not rule.window_ns and stamp_ns + rule.offset_ns in moments
        if self._last_lead_ns is not None and self._lead_gaps:
            moments.append(self._last_lead_ns + min(self._lead_gaps))
        queue = self._queues[sensor]
        if rule.policy == "hold" and queue.newest is not None:
            return queue.newest.stamp_ns == stamp_ns + rule.offset_ns
        near_ns = rule.tolerance_ns
        if queue.period_ns is not None:
            near_ns = min(near_ns, round(_NEAR * queue.period_ns))
        return any(abs(stamp_ns + rule.offset_ns - moment) <= near_ns for moment in moments)

    def allow_lead(self, sensor: str, allowed: bool = True) -> None:
        """Says whether it is known where a follower stands, so that others lead before it if not.

        One of which nothing was said is believed. Where no other is left it leads all the same:
        its sets show when its place is known again, and say until then why there are no labels.
        """
        (self._unplaced.discard if allowed else self._unplaced.add)(sensor)

    def leader(self, now_ns: int) -> str:
        """The sensor that leads at that time; the first one, too, if nobody can stand in for it."""
        first = self.rules.leader
        if first.policy != "optional" or not self.silent(first.name, now_ns):
            return first.name
        able = [rule.name for rule in self.rules.followers if self._could_lead(rule, now_ns)]
        placed = [name for name in able if name not in self._unplaced]
        return next(iter((*placed, *able)), first.name)

    def silent(self, sensor: str, now_ns: int) -> bool:
        """Whether nothing came from the sensor for longer than ``silent_after_ns``, or, of a slow
        leader, than its pauses are twice.
        """
        last, after_ns = self._arrivals.get(sensor, self._began_ns), self.rules.silent_after_ns
        if sensor == self.rules.leader.name and len(self._pauses) == 2:
            after_ns = max(after_ns, 2 * min(*self._pauses, _SLOWEST_NS // 2))
        return last is not None and now_ns - last > after_ns

    def stop_expecting(self, sensor: str) -> None:
        """Readings of an extra sensor are not wanted any more: no set waits for it."""
        self._arrivals.pop(sensor, None)

    def flush(self, why: str) -> None:
        """Forgets open sets and queued readings, and counts them under ``why``."""
        self.flushes += 1
        self.counts[f"flush: {why}"] += 1
        self.counts["sets flushed"] += len(self._open)
        self._open.clear()
        self._closed.clear()
        self._last_lead_ns = None
        self._own_lead_ns.clear()
        self._lead_gaps.clear()
        for queue in self._queues.values():
            queue.clear()

    # Steps

    def _could_lead(self, rule: SensorRule, now_ns: int) -> bool:
        """Whether a follower is of the kind that leads, and there.

        It must have been heard for as long as the leader was not: where all sensors pause and go
        on together, as between two bags, the leader is not missing.
        """
        awake_ns = now_ns - self._awake_since.get(rule.name, now_ns)
        there = awake_ns > self.rules.silent_after_ns and not self.silent(rule.name, now_ns)
        return there and not rule.window_ns and not rule.extra

    def _advance(self, now_ns: int) -> int:
        """The clock goes on, or starts anew after a jump back."""
        if now_ns < self._now_ns - self.rules.jump_ns:
            self.flush("the clock jumped back")
            self._arrivals.clear()
            self._pauses.clear()
            self._awake_since.clear()
            self._began_ns, self._now_ns = None, now_ns
        self._now_ns = max(self._now_ns, now_ns)
        if self._began_ns is None:
            self._began_ns = self._now_ns
        return self._now_ns

    def _enqueue(self, sensor: str, reading: Reading) -> None:
        for problem in self._queues[sensor].put(reading):
            self.counts[f"{sensor}: {problem}"] += 1
        rule = self._rules[sensor]
        if rule.window_ns:
            # Sets that are yet to open look back no further, as long as their leader is heard.
            waits_ns = self.rules.deadline_ns + self.rules.silent_after_ns
            self._queues[sensor].forget_ended(reading.end_ns - rule.window_ns - waits_ns)
        tolerance = rule.tolerance_ns
        for stamp_ns, missing in self._closed:
            if sensor in missing and abs(reading.stamp_ns - stamp_ns) <= tolerance:
                self.counts[f"{sensor}: late"] += 1
                break

    def _lead(self, sensor: str, reading: Reading, now_ns: int) -> None:
        last, own = self._last_lead_ns, self._own_lead_ns.get(sensor)
        if last is not None and reading.stamp_ns <= last:
            # Another leader's latency, or clock, is another: only its own stamps show a jump.
            changed = sensor != self._last_leader and (own is None or reading.stamp_ns > own)
            patience_ns = self.rules.silent_after_ns if changed else self.rules.jump_ns
            if last - reading.stamp_ns <= patience_ns:
                self.counts[f"{sensor}: out of order"] += 1
                self._own_lead_ns[sensor] = max(reading.stamp_ns, own or reading.stamp_ns)
                return
            if not changed:
                self._flush_before_jump(sensor)
            last = None
        for queue in self._queues.values():
            queue.jumped = False
        if last is not None:
            self._lead_gaps.append(reading.stamp_ns - last)
        self._last_lead_ns, self._last_leader = reading.stamp_ns, sensor
        self._own_lead_ns[sensor] = reading.stamp_ns
        self._open.append(_Open(sensor, reading, now_ns))

    def _flush_before_jump(self, sensor: str) -> None:
        """The leader's stamps start anew; followers that already did keep what they have."""
        kept = {name: queue.readings for name, queue in self._queues.items() if queue.jumped}
        own = self._queues[sensor].newest if sensor in self._queues else None
        self.flush(f"stamps of {sensor} jumped back")
        if own is not None:
            kept[sensor] = (own,)
        for name, readings in kept.items():
            for reading in readings:
                self._queues[name].put(reading)

    def _release(self, now_ns: int) -> list[MatchedSet]:
        """Closes the oldest open sets for as long as they are settled or due."""
        out = []
        while self._open:
            first = self._open[0]
            due = now_ns - first.opened_ns >= self.rules.deadline_ns
            choices = self._choices(first, now_ns, due)
            if choices is None and len(self._open) > self.rules.max_open:
                self.counts["sets closed early"] += 1
                choices = self._choices(first, now_ns, due=True)
            if choices is None:
                return out
            self._open.popleft()
            self._forget(first.reading.stamp_ns)
            matched = self._close(first, choices, now_ns)
            if matched is not None:
                out.append(matched)
        return out

    def _forget(self, lead_ns: int) -> None:
        """Later sets have later stamps: what none of them can take is not kept."""
        for name, queue in self._queues.items():
            window_ns = self._rules[name].window_ns
            if window_ns:
                queue.forget_ended(lead_ns - window_ns)
            else:
                queue.forget_before(lead_ns)

    def _choices(self, first: _Open, now_ns: int, due: bool) -> dict[str, _Choice] | None:
        """What each follower gives to a set; None while something better may still come."""
        choices: dict[str, _Choice] = {}
        for rule in self.rules.followers:
            unheard = rule.extra and rule.name not in self._arrivals
            if rule.name == first.leader or unheard:
                continue
            choice = self._choose(rule, first.reading.stamp_ns, now_ns, due)
            if choice is None:
                return None
            choices[rule.name] = choice
        return choices

    def _choose(self, rule: SensorRule, lead_ns: int, now_ns: int, due: bool) -> _Choice | None:
        """What a sensor gives to a set; None while something better may still come."""
        queue = self._queues[rule.name]
        silent = self.silent(rule.name, now_ns)
        if rule.window_ns:
            if not (due or silent or queue.reaches(lead_ns)):
                return None
            pieces = queue.touching(lead_ns - rule.window_ns, lead_ns)
            if pieces and max(p.end_ns for p in pieces) >= lead_ns - rule.tolerance_ns:
                return _Choice(pieces)
            return self._lack(rule, None, lead_ns, silent, now_ns)

        nearest = queue.nearest(lead_ns)
        held = queue.last_until(lead_ns) if rule.policy == "hold" else None
        if held is not None and lead_ns - held.stamp_ns > rule.max_age_ns:
            held = None
        if not (due or silent or held is not None or queue.decided(lead_ns)):
            return None
        if nearest is not None and abs(nearest.stamp_ns - lead_ns) <= rule.tolerance_ns:
            return _Choice((nearest,))
        if held is not None:
            return _Choice((held,), held=True)
        return self._lack(rule, nearest, lead_ns, silent, now_ns)

    def _lack(
        self, rule: SensorRule, nearest: Reading | None, lead_ns: int, silent: bool, now_ns: int
    ) -> _Choice:
        """Nothing, and why."""
        last, out_ns = self._arrivals.get(rule.name), self._queues[rule.name].pushed_out_ns
        if silent:
            ever = last is not None
            return _Choice(
                why=f"silent for {(now_ns - last) / 1e9:.0f} s" if ever else "nothing ever arrived"
            )
        if out_ns is not None and out_ns >= lead_ns - rule.tolerance_ns:
            return _Choice(
                why="its readings of that time had to make room; raise matching.queue_depth",
                overflow=True,
            )
        if nearest is None:
            return _Choice(why="nothing arrived in time")
        distance_ms, tolerance_ms = (nearest.stamp_ns - lead_ns) / MS, rule.tolerance_ns / MS
        return _Choice(
            why=f"nearest is {distance_ms:+.0f} ms away, tolerance {tolerance_ms:.0f} ms"
        )

    def _close(self, first: _Open, choices: dict[str, _Choice], now_ns: int) -> MatchedSet | None:
        missing = {name: choice.why for name, choice in choices.items() if not choice.readings}
        if first.leader != self.rules.leader.name:
            missing[self.rules.leader.name] = f"silent; {first.leader} leads"
        self._closed.append((first.reading.stamp_ns, missing))
        while first.reading.stamp_ns - self._closed[0][0] > _LATE_NS:
            self._closed.popleft()
        self.reasons.update(missing)
        for name in missing:
            self.counts[f"{name}: missing"] += 1
            if name in choices and choices[name].overflow:
                self.counts[f"{name}: queue overflow"] += 1
        required = [name for name in missing if self._rules[name].policy == "required"]
        if required:
            self.counts[f"sets dropped: no {required[0]}"] += 1
            return None
        partial = any(not self._rules[name].extra for name in missing)
        self.counts["sets partial" if partial else "sets complete"] += 1
        readings = {name: c.readings for name, c in choices.items() if c.readings}
        return MatchedSet(
            leader=first.leader,
            stamp_ns=first.reading.stamp_ns,
            readings={first.leader: (first.reading,), **readings},
            missing=missing,
            held=frozenset(name for name, choice in choices.items() if choice.held),
            opened_ns=first.opened_ns,
            closed_ns=now_ns,
        )
