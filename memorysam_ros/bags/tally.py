"""What happened in a replay, counted set by set, in memory that hardly grows with the bag."""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_INPUTS = {"image": "image", "depth": "depth", "event": "events", "lidar": "points"}
_KINDS = {"silent for": "silent", "nearest is": "out of tolerance"}
_SHOWN = 5


class Reasons:
    """Counts sentences; those that differ in figures only are one, told by its first."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def add(self, why: str) -> None:
        """It was so once more."""
        why = next((kind for start, kind in _KINDS.items() if why.startswith(start)), why)
        key = re.sub(r"\d[\d.]*", "#", why)
        self._first.setdefault(key, why)
        self._counts[key] += 1

    def most(self) -> dict[str, int]:
        """The most frequent ones."""
        return {self._first[key]: count for key, count in self._counts.most_common(_SHOWN)}


class Tally:
    """Told of the sets one after the other."""

    def __init__(self, sensors: Sequence[str]) -> None:
        """``sensors`` are those that the checkpoint listens to."""
        self.sets = self.labelled = 0
        self.unusable = Reasons()
        """Why sets could not be labelled."""
        self._present = dict.fromkeys(sensors, 0)
        self._absent = {sensor: Reasons() for sensor in sensors}
        self._ms: dict[str, array[float]] = {}

    def add_unusable(self, why: str) -> None:
        """A set could not be labelled."""
        self.sets += 1
        self.unusable.add(why)

    def add(
        self,
        present: Sequence[str],
        missing: Mapping[str, str],
        troubles: Mapping[str, str],
        ms: Mapping[str, float],
    ) -> None:
        """A set was labelled.

        ``missing`` and ``troubles`` say why a sensor was not there or could not be used; ``ms`` is
        how long each stage took.
        """
        self.sets += 1
        self.labelled += 1
        for sensor in self._present:
            if sensor in present:
                self._present[sensor] += 1
            else:
                self._absent[sensor].add(troubles.get(sensor) or missing.get(sensor, ""))
        for stage, duration in ms.items():
            self._ms.setdefault(stage, array("d")).append(duration)

    def attendance(self, inputs: Mapping[str, str]) -> dict[str, dict[str, Any]]:
        """For each sensor its topic, in how many sets it was, and why not in the others."""
        return {
            sensor: {
                "topic": inputs.get(_INPUTS[sensor]),
                "sets": count,
                "why_not": self._absent[sensor].most(),
            }
            for sensor, count in self._present.items()
        }

    def milliseconds(self) -> dict[str, dict[str, float]]:
        """Median, 95th percentile and maximum of each stage."""
        return {
            stage: dict(
                zip(("p50", "p95", "max"), np.percentile(runs, (50, 95, 100)).tolist(), strict=True)
            )
            for stage, runs in self._ms.items()
        }
