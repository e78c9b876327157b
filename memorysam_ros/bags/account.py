"""What a node says of a bag that is played to it, set by set, beside the truth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from memorysam_core.labels import LabelSpace
from memorysam_core.report import Collector, Entry
from memorysam_ros import conversions
from memorysam_ros.bags.reader import Bag
from memorysam_ros.bags.replay import SECOND_NS
from memorysam_ros.bags.truth import Truth, at_size

LABELS = "output/labels"
SEEN = {
    "depth": "debug/depth_frame",
    "event": "debug/events_frame",
    "lidar": "debug/lidar_frame",
}
"""Where a node shows what the model saw, by sensor; below its name."""
DIAGNOSTICS = "/diagnostics"
END_TO_END, WAITED = "camera to labels", "image sent to labels received"
_OPEN_SETS = 4
"""So many sets may have been heard of in part: topics overtake each other."""


@dataclass(frozen=True)
class Account:
    """The drive, summed up."""

    collector: Collector
    sets_in: int
    """Images that the node was given."""
    sets_out: int
    """Images that it labelled."""
    stood_in: int = 0
    """Labels beside those: while the camera was silent, of moments of another sensor."""
    why_unscored: str = ""
    """Why none of them could be compared with the truth."""


@dataclass
class _Said:
    """What the node published for one image."""

    labels: np.ndarray | None = None
    heard_ns: int | None = None
    frames: dict[str, np.ndarray] = field(default_factory=dict)


class Accountant:
    """Told of the node's messages as they come, it compares them with the bag, in bounded memory.

    Pictures of the camera and the truth are read from the bag, where none can be lost.
    """

    def __init__(
        self,
        bag: Bag,
        truth: Truth,
        image_topic: str,
        space: LabelSpace,
        sensors: Sequence[str],
        zero_ns: int,
        rate: float = 1.0,
        start_ns: int | None = None,
    ) -> None:
        """``bag`` and ``truth`` are open. The report counts time from ``zero_ns``; the bag is
        played from ``start_ns`` on, ``rate`` times as fast as it was recorded.
        """
        self._bag, self._truth, self._rate, self._zero_ns = bag, truth, rate, zero_ns
        self._sets_in = 0
        self._images = bag.messages({image_topic}, start_ns)
        self._image: Any = None
        self._image_ns = self._recorded_ns = self._settled_ns = 0
        self._open: dict[int, _Said] = {}
        self._collector = Collector(space, sensors)
        self._labelled = self._stood_in = 0
        self.unstamped = 0
        """Label images without a stamp, which nothing can be compared with."""

    def hear_labels(self, message: Any, heard_ns: int | None) -> None:
        """The node's labels arrived, at this time on the bag's clock if that is known."""
        self.unstamped += conversions.stamp_ns(message) == 0
        said = self._said(message)
        said.labels, said.heard_ns = conversions.label_ids(message), heard_ns
        self._settle(_OPEN_SETS)

    def hear_frame(self, sensor: str, message: Any) -> None:
        """What the model saw of a sensor arrived."""
        self._said(message).frames[sensor] = conversions.rgb(message)
        self._settle(_OPEN_SETS)

    def finish(self) -> Account:
        """Nothing will come any more."""
        self._settle(0)
        self._sets_in += sum(1 for _ in self._images)
        why_none = self._truth.why_none()
        return Account(self._collector, self._sets_in, self._labelled, self._stood_in, why_none)

    def _said(self, message: Any) -> _Said:
        return self._open.setdefault(conversions.stamp_ns(message), _Said())

    def _settle(self, leave: int) -> None:
        """The oldest sets are whole, as far as they ever will be."""
        while len(self._open) > leave:
            stamp_ns = min(self._open)
            said = self._open.pop(stamp_ns)
            if said.labels is not None and stamp_ns > self._settled_ns:
                self._settled_ns = stamp_ns
                self._add(stamp_ns, said.labels, said)

    def _add(self, stamp_ns: int, labels: np.ndarray, said: _Said) -> None:
        frames: dict[str, np.ndarray] = dict(said.frames)
        latencies: dict[str, float] = {}
        self._seek_image(stamp_ns)
        if self._image_ns != stamp_ns:
            self._stood_in += 1
        else:
            self._labelled += 1
            frames["image"] = np.asarray(conversions.image_reading(self._image).pixels)
            if said.heard_ns is not None:
                waited_ms = (said.heard_ns - self._recorded_ns) / self._rate / 1e6
                before_ms = (self._recorded_ns - stamp_ns) / 1e6
                latencies = {END_TO_END: before_ms + waited_ms, WAITED: waited_ms}
        true = self._truth.at(stamp_ns)
        self._collector.add(
            (stamp_ns - self._zero_ns) / SECOND_NS,
            frames,
            frames,
            at_size(labels, true.ids.shape) if true else labels,
            true.ids if true else None,
            true.condition if true else "",
            latencies,
        )

    def _seek_image(self, stamp_ns: int) -> None:
        while self._image_ns < stamp_ns and (raw := next(self._images, None)) is not None:
            self._sets_in += 1
            self._image = self._bag.deserialise(raw)
            self._recorded_ns = raw.time_ns
            self._image_ns = conversions.stamp_ns(self._image) or raw.time_ns


def entry(status: Any, name: str) -> Entry:
    """What the node said of itself, a diagnostic_msgs/DiagnosticStatus, for a report.

    Of its values only what became of the sets: all else is told elsewhere in a report.
    """
    level = status.level[0] if isinstance(status.level, bytes) else int(status.level)
    return Entry(
        name,
        "ok" if level == 0 else "warn" if level == 1 else "error",
        status.message,
        {p.key: p.value for p in status.values if p.value and p.key.startswith("sets ")},
    )


def sensor_facts(statuses: Iterable[Any]) -> dict[str, str]:
    """What the node said of each sensor, by its name."""
    parts = ((s.name.rpartition(": ")[2].partition("sensor ")[2], s.message) for s in statuses)
    return {sensor: message for sensor, message in parts if sensor}
