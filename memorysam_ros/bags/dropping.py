"""Sensors that are taken away for a while, to see what their failure would do."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from memorysam_ros import conversions
from memorysam_ros.bags.reader import Bag, BagError, RawMessage
from memorysam_ros.matching_rules import SensorRule
from memorysam_ros.pipeline import SENSORS

TAKEN_AWAY = "taken away by --drop"
"""Why a sensor is missing that would be there but for a :class:`Drop`."""
_REMEMBERED = 1024
"""Messages; those of event cameras come by the hundred a second."""


@dataclass(frozen=True)
class Drop:
    """A sensor, and when it is taken away."""

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

    def __str__(self) -> str:
        end = "" if self.to_s == float("inf") else f"{self.to_s:g}"
        return f"{self.sensor}@{self.from_s:g}-{end}"


class Dropping:
    """Takes messages of a bag away, and remembers them to say so where they are missed."""

    def __init__(self, drops: Sequence[Drop], bag: Bag) -> None:
        self._drops, self._bag = drops, bag
        self._stamps_ns: dict[str, deque[int]] = {}
        self._gone: set[str] = set()
        """Sensors whose last message was taken away."""

    def takes(self, sensor: str, raw: RawMessage) -> bool:
        """Whether a message is taken away; to be asked of each, in the order of the bag."""
        at_s = (raw.time_ns - self._bag.start_ns) / 1e9
        if not any(d.sensor == sensor and d.from_s <= at_s < d.to_s for d in self._drops):
            self._gone.discard(sensor)
            return False
        try:
            stamp_ns = conversions.stamp_ns(self._bag.deserialise(raw)) or raw.time_ns
        except BagError:
            stamp_ns = raw.time_ns
        self._stamps_ns.setdefault(sensor, deque(maxlen=_REMEMBERED)).append(stamp_ns)
        self._gone.add(sensor)
        return True

    def reason(self, rule: SensorRule, set_ns: int, why: str) -> str:
        """Why a sensor is missing in a set: since it was taken away, or else ``why``."""
        sought_ns = set_ns - rule.offset_ns
        first_ns = sought_ns - rule.window_ns - rule.tolerance_ns
        last_ns = sought_ns + rule.tolerance_ns
        stamps_ns = self._stamps_ns.get(rule.name, ())
        silent = rule.name in self._gone and why.startswith(("silent", "nothing ever"))
        taken = silent or any(first_ns <= stamp_ns <= last_ns for stamp_ns in stamps_ns)
        return TAKEN_AWAY if taken else why
