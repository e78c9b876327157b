"""A bag through the pipeline of the live node, driven by the bag's clock.

No wall clock has a say: the same bag gives the same sets and the same labels. Unlike the live node,
which always works on the newest set, every set is labelled, however long that takes.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from memorysam_ros import conversions
from memorysam_ros.bags.dropping import Drop, Dropping
from memorysam_ros.bags.reader import Bag, BagError, RawMessage
from memorysam_ros.bags.topics import INFO, INPUTS
from memorysam_ros.bags.transforms import BagTransforms
from memorysam_ros.matching import MatchedSet
from memorysam_ros.pipeline import Pipeline, UnusableSet
from memorysam_ros.result import Result

SECOND_NS = 1_000_000_000
_ONE_CLOCK_NS = 10 * SECOND_NS
"""Stamps that are farther from the time of recording are of another clock."""


@dataclass(frozen=True)
class Selection:
    """Which part of a bag is replayed."""

    every: int = 1
    """Label every so many sets."""
    start_s: float = 0.0
    duration_s: float = float("inf")
    drops: tuple[Drop, ...] = ()

    def __post_init__(self) -> None:
        if self.every < 1 or self.start_s < 0 or self.duration_s <= 0:
            raise ValueError(
                f"every is {self.every}, start {self.start_s:g} s, duration {self.duration_s:g} s; "
                "give a whole number from 1, a start from 0 and a duration above 0"
            )

    def idle_parts(self, bag: Bag) -> list[str]:
        """What comes to nothing in this bag, in words. Raises BagError where all of it does."""
        if self.start_s and self.start_s >= bag.seconds:
            raise BagError(
                f"start is {self.start_s:g} s, but {bag.path} is {bag.seconds:.1f} s long"
            )
        end_s = min(bag.seconds, self.start_s + self.duration_s)
        return [
            f"drop {drop} takes nothing away: second {self.start_s:g} to {end_s:.1f} is replayed"
            for drop in self.drops
            if drop.from_s > end_s or drop.to_s <= self.start_s
        ]


@dataclass(frozen=True)
class Moment:
    """What became of one set."""

    time_s: float
    """The set's stamp, in seconds since the bag's beginning."""
    time_ns: int
    """The bag's clock when the set closed."""
    matched: MatchedSet
    result: Result | None
    """None where the set could not be labelled."""
    why: str = ""
    """Then, why not."""


@dataclass
class Replay:
    """Iterating over it gives the moments of a bag, in order."""

    bag: Bag
    inputs: Mapping[str, str]
    """Topics by the names of the inputs, as :func:`memorysam_ros.bags.topics.find` gives them."""
    pipeline: Pipeline
    transforms: BagTransforms
    """Those of the pipeline; they follow the bag's clock."""
    selection: Selection = field(default_factory=Selection)
    broken: Counter[str] = field(default_factory=Counter)
    """Messages that could not be read, by topic."""
    first_errors: dict[str, str] = field(default_factory=dict)
    """What was wrong with the first of them."""
    sets: int = field(default=0, init=False)
    """How many sets the bag made so far, labelled or not."""

    def __post_init__(self) -> None:
        self._dropping = Dropping(self.selection.drops, self.bag)
        self.on_message: Callable[[str, Any, int], object] = lambda sensor, message, time_ns: None
        """Called with each message of a sensor that is listened to."""
        self._zero_ns: int | None = None
        """The beginning of the bag, on the clock of the stamps."""

    @property
    def warnings(self) -> list[str]:
        """What is wrong with the bag, and what is asked of it in vain."""
        return [*self.bag.warnings, *self.selection.idle_parts(self.bag)]

    def __iter__(self) -> Iterator[Moment]:
        """Once only: the pipeline keeps what it has seen."""
        self._give_first_camera_infos()
        start_ns = self.bag.start_ns + round(self.selection.start_s * SECOND_NS)
        stop_ns = None
        if self.selection.duration_s != float("inf"):
            stop_ns = start_ns + round(self.selection.duration_s * SECOND_NS)
        for matched, now_ns in self._sets(start_ns, stop_ns):
            self.sets += 1
            if (self.sets - 1) % self.selection.every == 0:
                yield self._label(matched, now_ns)

    def _sets(self, start_ns: int, stop_ns: int | None) -> Iterator[tuple[MatchedSet, int]]:
        """The sets, each with the time on the bag's clock at which it closed."""
        sensors = {topic: (name, INPUTS[name]) for name, topic in self.inputs.items()}
        for raw in self.bag.messages(set(sensors), start_ns, stop_ns):
            yield from self._due(raw.time_ns)
            _name, wanted = sensors[raw.topic]
            if self._dropping.takes(wanted.sensor, raw):
                continue
            for matched in self._add(wanted.sensor, INFO in wanted.types, raw):
                yield matched, raw.time_ns
        yield from self._due(None)

    def _due(self, until_ns: int | None) -> Iterator[tuple[MatchedSet, int]]:
        """Sets whose deadline passes before a time; all of them at the end of the bag."""
        while True:
            deadline_ns = self.pipeline.matcher.next_deadline_ns
            if deadline_ns is None or (until_ns is not None and deadline_ns > until_ns):
                return
            for matched in self.pipeline.tick(deadline_ns):
                yield matched, deadline_ns

    def _add(self, sensor: str, is_info: bool, raw: RawMessage) -> list[MatchedSet]:
        if not is_info and sensor not in self.pipeline.listened:
            return []
        try:
            message = self.bag.deserialise(raw)
            if is_info:
                self.pipeline.add_camera_info(sensor, message)
                return []
            self.on_message(sensor, message, raw.time_ns)
            return self.pipeline.add(sensor, message, raw.time_ns)
        except (BagError, conversions.ConversionError) as error:
            self.broken[raw.topic] += 1
            self.first_errors.setdefault(raw.topic, str(error))
            return []

    def _label(self, matched: MatchedSet, now_ns: int) -> Moment:
        matched = dataclasses.replace(matched, missing=dict(self._reasons(matched)))
        time_s = self._since_start(matched.stamp_ns, now_ns)
        self.transforms.advance(now_ns)
        try:
            return Moment(time_s, now_ns, matched, self.pipeline.process(matched))
        except UnusableSet as error:
            return Moment(time_s, now_ns, matched, None, str(error))

    def _reasons(self, matched: MatchedSet) -> Iterator[tuple[str, str]]:
        """Why sensors are missing, also where it is since they were taken away."""
        rules = self.pipeline.matcher.rules
        for rule in (rules.leader, *rules.followers):
            if (why := matched.missing.get(rule.name)) is not None:
                yield rule.name, self._dropping.reason(rule, matched.stamp_ns, why)

    def _since_start(self, stamp_ns: int, now_ns: int) -> float:
        """Stamps of a clock that is not the recorder's are counted from the first set on."""
        if self._zero_ns is None:
            apart_ns = now_ns - stamp_ns
            self._zero_ns = self.bag.start_ns - (apart_ns if abs(apart_ns) > _ONE_CLOCK_NS else 0)
        return (stamp_ns - self._zero_ns) / SECOND_NS

    def _give_first_camera_infos(self) -> None:
        """The calibration, which some drivers publish once, and some after the first image."""
        for name, topic in self.inputs.items():
            if INFO in INPUTS[name].types:
                for raw in self.bag.messages({topic}):
                    self._add(INPUTS[name].sensor, True, raw)
                    break
