"""What the node said, set by set, beside the truth."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from memorysam_core.labels import LabelSpace
from memorysam_core.report import Collector, Entry
from memorysam_ros import conversions
from memorysam_ros.bags.reader import Bag
from memorysam_ros.bags.truth import Truth
from memorysam_ros.demo.live import DIAGNOSTICS, LABELS, SEEN
from memorysam_ros.demo.node_process import REMAPPED
from memorysam_training.demo.drive import seconds_of

TRUTH = "/ground_truth/labels"
END_TO_END = "camera to labels"


@dataclass
class Said:
    """What the node published for one image."""

    labels: np.ndarray | None = None
    heard_ns: int = 0
    """When the labels arrived, on the bag's clock."""
    frames: dict[str, np.ndarray] | None = None


@dataclass(frozen=True)
class Account:
    """The drive, summed up."""

    collector: Collector
    sets_in: int
    """Images that the node was given."""
    sets_out: int
    """Images that it labelled."""


def take_account(
    bag_path: Path, recording: Path, space: LabelSpace, sensors: Sequence[str], rate: float
) -> Account:
    """Compares a recording of the node with the drive that it was given, played at ``rate``."""
    said = _heard(recording)
    collector = Collector(space, sensors)
    images = 0
    with Bag(bag_path) as bag, Truth(bag_path, TRUTH) as truth:
        for raw in bag.messages({REMAPPED["image"]}):
            images += 1
            message = bag.deserialise(raw)
            stamp_ns = conversions.stamp_ns(message)
            answer = said.get(stamp_ns)
            if answer is None or answer.labels is None:
                continue
            waited_ms = (answer.heard_ns - raw.time_ns) / rate / 1e6
            true = truth.at(stamp_ns)
            frames = {"image": conversions.rgb(message), **(answer.frames or {})}
            collector.add(
                seconds_of(stamp_ns),
                frames,
                frames,
                answer.labels,
                true.ids if true else None,
                true.condition if true else "",
                {
                    END_TO_END: (raw.time_ns - stamp_ns) / 1e6 + waited_ms,
                    "image sent to labels received": waited_ms,
                },
            )
    labelled = sum(answer.labels is not None for answer in said.values())
    return Account(collector, images, labelled)


def diagnostics(recording: Path, moments_s: dict[str, float]) -> tuple[Entry, ...]:
    """What ``/diagnostics`` said last before each of the given times of the drive, by its name.

    Of the whole for each time, of sensors and latencies for the last.
    """
    told: dict[str, list[Any]] = {}
    with Bag(recording) as bag:
        for raw in bag.messages({DIAGNOSTICS}) if DIAGNOSTICS in bag.topics else ():
            statuses = bag.deserialise(raw).status
            for name, moment_s in moments_s.items():
                if seconds_of(raw.time_ns) <= moment_s:
                    told[name] = statuses
    return tuple(_entries(told))


def _entries(told: dict[str, list[Any]]) -> Iterator[Entry]:
    last = list(told)[-1] if told else ""
    for moment, statuses in told.items():
        for status in statuses:
            name = status.name.rpartition(": ")[2]
            if name == "segmentation" or moment == last:
                level = int(status.level)
                yield Entry(
                    f"{name}, {moment}",
                    "ok" if level == 0 else "warn" if level == 1 else "error",
                    status.message,
                    {pair.key: pair.value for pair in status.values if pair.value},
                )


def _heard(recording: Path) -> dict[int, Said]:
    """By the stamp of their image."""
    sensors = {topic: sensor for sensor, topic in SEEN.items()}
    said: dict[int, Said] = defaultdict(Said)
    with Bag(recording) as bag:
        for raw in bag.messages({LABELS, *sensors} & set(bag.topics)):
            message = bag.deserialise(raw)
            one = said[conversions.stamp_ns(message)]
            if raw.topic == LABELS:
                one.labels, one.heard_ns = conversions.label_ids(message), raw.time_ns
            else:
                one.frames = {
                    **(one.frames or {}),
                    sensors[raw.topic]: conversions.rgb(message),
                }
    return said
