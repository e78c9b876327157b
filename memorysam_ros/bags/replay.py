"""A bag through the pipeline of the live node, driven by the bag's clock.

No wall clock has a say: the same bag gives the same sets and the same labels. Unlike the live node,
which always works on the newest set, every set is labelled, however long that takes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from memorysam_ros import conversions
from memorysam_ros.bags.reader import Bag, BagError, RawMessage
from memorysam_ros.bags.topics import INFO, INPUTS
from memorysam_ros.bags.transforms import BagTransforms
from memorysam_ros.matching import MatchedSet
from memorysam_ros.pipeline import SENSORS, Pipeline, UnusableSet
from memorysam_ros.result import Result

SECOND_NS = 1_000_000_000


@dataclass(frozen=True)
class Drop:
    """A sensor that is taken away for a while, to see what its failure would do."""

    sensor: str
    from_s: float = 0.0
    to_s: float = float("inf")
    """Seconds since the beginning of the bag."""

    @classmethod
    def parse(cls, text: str) -> Drop:
        """``lidar@8-12``, ``lidar@8-`` or ``lidar``. Raises ValueError for anything else."""
        match = re.fullmatch(r"(\w+)(?:@([\d.]+)-([\d.]*))?", text)
        try:
            if match is None or match[1] not in SENSORS:
                raise ValueError
            begin, end = float(match[2] or 0), float(match[3] or "inf")
            if end <= begin:
                raise ValueError
        except ValueError:
            raise ValueError(
                f"drop {text!r} is no SENSOR@FROM-TO such as lidar@8-12, seconds since the bag's "
                f"beginning; sensors are {', '.join(SENSORS)}"
            ) from None
        return cls(match[1], begin, end)


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


@dataclass(frozen=True)
class Moment:
    """What became of one set."""

    time_s: float
    """The bag's clock when the set closed, seconds since the bag's beginning."""
    time_ns: int
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

    def __iter__(self) -> Iterator[Moment]:
        """Once only: the pipeline keeps what it has seen."""
        self._give_first_camera_infos()
        start_ns = self.bag.start_ns + round(self.selection.start_s * SECOND_NS)
        stop_ns = None
        if self.selection.duration_s != float("inf"):
            stop_ns = start_ns + round(self.selection.duration_s * SECOND_NS)
        for number, (matched, now_ns) in enumerate(self._sets(start_ns, stop_ns)):
            if number % self.selection.every == 0:
                yield self._label(matched, now_ns)

    def _sets(self, start_ns: int, stop_ns: int | None) -> Iterator[tuple[MatchedSet, int]]:
        """The sets, each with the time on the bag's clock at which it closed."""
        sensors = {topic: (name, INPUTS[name]) for name, topic in self.inputs.items()}
        for raw in self.bag.messages(set(sensors), start_ns, stop_ns):
            yield from self._due(raw.time_ns)
            _name, wanted = sensors[raw.topic]
            if self._dropped(wanted.sensor, raw.time_ns):
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
        if not is_info and sensor not in self.pipeline.sensors:
            return []
        try:
            message = self.bag.deserialise(raw)
            if is_info:
                self.pipeline.add_camera_info(sensor, message)
                return []
            return self.pipeline.add(sensor, message, raw.time_ns)
        except (BagError, conversions.ConversionError) as error:
            self.broken[raw.topic] += 1
            self.first_errors.setdefault(raw.topic, str(error))
            return []

    def _label(self, matched: MatchedSet, now_ns: int) -> Moment:
        time_s = (now_ns - self.bag.start_ns) / SECOND_NS
        self.transforms.advance(now_ns)
        try:
            return Moment(time_s, now_ns, matched, self.pipeline.process(matched))
        except UnusableSet as error:
            return Moment(time_s, now_ns, matched, None, str(error))

    def _dropped(self, sensor: str, time_ns: int) -> bool:
        at_s = (time_ns - self.bag.start_ns) / SECOND_NS
        return any(
            drop.sensor == sensor and drop.from_s <= at_s < drop.to_s
            for drop in self.selection.drops
        )

    def _give_first_camera_infos(self) -> None:
        """The calibration, which some drivers publish once, and some after the first image."""
        for name, topic in self.inputs.items():
            if INFO in INPUTS[name].types:
                for raw in self.bag.messages({topic}):
                    self._add(INPUTS[name].sensor, True, raw)
                    break
