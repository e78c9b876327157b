"""Gathers, set by set and in bounded memory, what a report tells."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from memorysam_core.labels import LabelSpace
from memorysam_core.metrics import ConfusionMatrix
from memorysam_core.report.data import Group, GroupKind, Moment, ReportData, Run, Sample
from memorysam_core.report.pictures import FRAME_PX, IMAGE_PX, small
from memorysam_core.report.words import title

ALL = "all sets"


class Collector:
    """Scores, time line, latencies and a filmstrip of sets that come one after the other.

    Of the pictures only ``moments`` are kept, evenly spaced however many sets there are.
    """

    def __init__(self, label_space: LabelSpace, sensors: Sequence[str], moments: int = 5) -> None:
        self.label_space = label_space
        self.sensors = tuple(sensors)
        self._strip = _Filmstrip(moments)
        self._timeline: list[Sample] = []
        self._groups: dict[tuple[GroupKind, str], ConfusionMatrix] = {}
        self._sets: dict[tuple[GroupKind, str], int] = {}
        self._latencies: dict[str, array[float]] = {}

    def add(
        self,
        t_s: float,
        present: Iterable[str],
        frames: Mapping[str, Any],
        labels: np.ndarray,
        truth: np.ndarray | None = None,
        condition: str = "",
        latencies_ms: Mapping[str, float] | None = None,
    ) -> None:
        """A set was labelled.

        Args:
            t_s: since the start.
            present: sensors that took part.
            frames: by sensor what the model saw, uint8 ``(H, W, 3)``, arrays or tensors.
            labels: ids ``(h, w)``.
            truth: ids of the same shape, ``label_space.ignore_id`` for unlabelled.
            condition: such as ``rain``.
            latencies_ms: by stage; the first stage that is ever named is the one that is drawn.

        Raises ValueError where labels and truth differ in shape.
        """
        names = tuple(name for name in self.sensors if name in set(present))
        miou = None
        if truth is not None:
            miou = self._score(names, labels, truth, condition)
        self._timeline.append(Sample(t_s, names, miou, condition))
        for stage, duration in (latencies_ms or {}).items():
            self._latencies.setdefault(stage, array("d")).append(duration)
        if self._strip.wants_next():
            shown = {
                name: small(frames[name], IMAGE_PX if name == "image" else FRAME_PX)
                for name in names
                if name in frames
            }
            ids = small(labels, IMAGE_PX)
            true_ids = None if truth is None else small(truth, IMAGE_PX)
            self._strip.take(Moment(t_s, shown, ids, true_ids, condition, miou))

    def report(self, title: str, run: Run, **rest: Any) -> ReportData:
        """What was gathered; ``rest`` are the other fields of :class:`ReportData`."""
        groups = [
            Group(name, kind, self._sets[kind, name], matrix)
            for (kind, name), matrix in self._groups.items()
        ]
        order = ("all", "sensors", "condition")
        groups.sort(key=lambda group: order.index(group.kind))
        values: dict[str, Any] = {
            "moments": self._strip.moments(),
            "timeline": tuple(self._timeline),
            "groups": tuple(groups),
            "latencies_ms": {name: np.array(runs) for name, runs in self._latencies.items()},
        }
        return ReportData(title, run, self.label_space, self.sensors, **{**values, **rest})

    def _score(
        self, names: tuple[str, ...], labels: np.ndarray, truth: np.ndarray, condition: str
    ) -> float | None:
        space = self.label_space
        matrix = ConfusionMatrix(len(space), space.ignore_id).update(labels, truth)
        keys: list[tuple[GroupKind, str]] = [("all", ALL), ("sensors", self._subset(names))]
        if condition:
            keys.append(("condition", condition))
        for key in keys:
            known = self._groups.get(key)
            self._groups[key] = matrix if known is None else known + matrix
            self._sets[key] = self._sets.get(key, 0) + 1
        scores = matrix.scores()
        return scores.miou_present if scores.pixels else None

    def _subset(self, names: tuple[str, ...]) -> str:
        missing = [title(name) for name in self.sensors if name not in names]
        if not missing:
            return "every sensor"
        if len(names) == 1 and len(missing) > 1:
            return f"{title(names[0])} only"
        return f"without {', '.join(missing)}"


class _Filmstrip:
    """Keeps at most so many of a stream of unknown length, evenly spaced."""

    def __init__(self, count: int) -> None:
        if count < 1:
            raise ValueError(f"a filmstrip of {count} moments; give at least 1")
        self._count, self._stride, self._seen = count, 1, 0
        self._kept: list[Moment] = []

    def wants_next(self) -> bool:
        """Whether the next of the stream is to be taken; counts it."""
        wanted = self._seen % self._stride == 0
        self._seen += 1
        return wanted

    def take(self, moment: Moment) -> None:
        self._kept.append(moment)
        if len(self._kept) >= 2 * self._count:  # thin out only then, so that half remains full
            self._kept = self._kept[::2]
            self._stride *= 2

    def moments(self) -> tuple[Moment, ...]:
        if len(self._kept) <= self._count:
            return tuple(self._kept)
        chosen = np.linspace(0, len(self._kept) - 1, self._count).round().astype(int)
        return tuple(self._kept[i] for i in chosen)
