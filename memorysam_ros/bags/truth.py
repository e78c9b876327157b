"""Ground truth in a bag, and how the labels compare with it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from memorysam_core.frames import resize
from memorysam_core.labels import LabelSpace
from memorysam_core.metrics import ConfusionMatrix, Scores
from memorysam_ros import conversions
from memorysam_ros.bags.reader import Bag, BagError
from memorysam_ros.bags.topics import COMPRESSED, IMAGE

CONDITION_TYPE = "std_msgs/msg/String"
TOLERANCE_NS = 5_000_000
"""Truth so far from an image is still its own: stamps are rounded, but no camera is that fast."""


@dataclass(frozen=True)
class TrueLabels:
    """Ground truth of one moment."""

    stamp_ns: int
    ids: np.ndarray
    """``(H, W)``, uint8 or uint16."""
    condition: str
    """Such as ``rain``: what the bag's condition topic said last; empty where it has none."""


class Truth:
    """Label images of one topic, found by their stamps and counted; to be used as a context.

    It goes through the bag a second time beside the replay, so that it does not matter whether the
    truth was recorded before or after the sensors.
    """

    def __init__(self, path: str | Path, topic: str, beside: Sequence[str | Path] = ()) -> None:
        self._bag = Bag(path, *beside)
        self.topic = topic
        self.found = self.asked = 0
        """How often there was truth, and how often it was asked for."""
        self._before: TrueLabels | None = None
        self._nearest_ns = float("inf")

    def __enter__(self) -> Truth:
        self._bag.__enter__()
        try:
            self._check()
        except BagError:
            self._bag.__exit__()
            raise
        self._labels = self._read()
        self._next = next(self._labels, None)
        return self

    def __exit__(self, *_: object) -> None:
        self._bag.__exit__()

    def at(self, stamp_ns: int) -> TrueLabels | None:
        """The truth nearest to this stamp; None where it is more than :data:`TOLERANCE_NS` away.

        To be asked for stamps in rising order.
        """
        while self._next is not None and self._next.stamp_ns < stamp_ns:
            self._before, self._next = self._next, next(self._labels, None)
        self.asked += 1
        beside = [(abs(one.stamp_ns - stamp_ns), one) for one in (self._before, self._next) if one]
        if not beside:
            return None
        apart_ns, nearest = min(beside, key=lambda pair: pair[0])
        self._nearest_ns = min(apart_ns, self._nearest_ns)
        if apart_ns > TOLERANCE_NS:
            return None
        self.found += 1
        return nearest

    def why_none(self) -> str:
        """Why nothing could be compared, in a sentence; empty if something was."""
        if self.found or not self.asked:
            return ""
        if self._nearest_ns == float("inf"):
            return f"{self.topic} holds no labels"
        return (
            f"no labels on {self.topic} are within {TOLERANCE_NS / 1e6:g} ms of an image's stamp; "
            f"the nearest are {self._nearest_ns / 1e6:.6g} ms away"
        )

    def _check(self) -> None:
        topic, kinds = self._bag.topics.get(self.topic), (IMAGE, COMPRESSED)
        images = sorted(t.name for t in self._bag.topics.values() if t.msgtype in kinds)
        if topic is None or topic.msgtype not in kinds:
            raise BagError(
                f"the bag has no topic {self.topic} of label images; its images are "
                f"{', '.join(images) or 'none'}"
            )

    def _read(self) -> Iterator[TrueLabels]:
        conditions = self._conditions()
        times_ns = [time_ns for time_ns, _ in conditions]
        for raw in self._bag.messages({self.topic}):
            message = self._bag.deserialise(raw)
            place = bisect_right(times_ns, raw.time_ns)
            yield TrueLabels(
                conversions.stamp_ns(message) or raw.time_ns,
                conversions.label_ids(message),
                conditions[place - 1][1] if place else "",
            )

    def _conditions(self) -> list[tuple[int, str]]:
        """What the weather was like, from each time on."""
        topics = {
            topic.name
            for topic in self._bag.topics.values()
            if topic.msgtype == CONDITION_TYPE and topic.name.endswith("condition")
        }
        return [
            (raw.time_ns, conversions.text(self._bag.deserialise(raw)))
            for raw in (self._bag.messages(topics) if topics else ())
        ]


def at_size(labels: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Label ids ``(h, w)`` at the truth's size (height, width), by nearest neighbour."""
    if labels.shape == size:
        return labels
    wide = torch.from_numpy(labels.astype(np.int32))
    return resize.nearest(wide, (size[0], size[1])).numpy()


class Comparison:
    """Confusion matrices of a replay: of everything, and by condition."""

    def __init__(self, label_space: LabelSpace) -> None:
        self._space = label_space
        self.total = self._empty()
        self.by_condition: dict[str, ConfusionMatrix] = {}
        self.by_sensors: dict[tuple[str, ...], ConfusionMatrix] = {}

    def add(
        self, labels: np.ndarray, truth: np.ndarray, condition: str, sensors: tuple[str, ...]
    ) -> Scores:
        """Compares one label image with the truth of its size; the figures of this one image."""
        one = self._empty().update(labels, truth)
        self.total = self.total + one
        known = self.by_condition.get(condition, self._empty())
        self.by_condition[condition] = known + one
        self.by_sensors[sensors] = self.by_sensors.get(sensors, self._empty()) + one
        return one.scores()

    def to_dict(self) -> dict:
        """The figures as plain values; empty where nothing was compared."""
        scores = self.total.scores()
        if not scores.pixels:
            return {}
        iou = {
            name: float(scores.iou[index])
            for index, name in enumerate(self._space.classes)
            if scores.present[index]
        }
        conditions = {name: m.scores().to_dict() for name, m in self.by_condition.items() if name}
        sensors = {" + ".join(k): m.scores().to_dict() for k, m in self.by_sensors.items()}
        return {
            **scores.to_dict(),
            "iou": iou,
            "by_condition": conditions,
            "by_sensors": sensors,
        }

    def _empty(self) -> ConfusionMatrix:
        return ConfusionMatrix(len(self._space), self._space.ignore_id)
