"""A recording of what the node said, beside the drive that it was given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from memorysam_core.labels import LabelSpace
from memorysam_core.report import Entry
from memorysam_ros.bags.account import (
    DIAGNOSTICS,
    LABELS,
    SEEN,
    Account,
    Accountant,
    entry,
    sensor_facts,
)
from memorysam_ros.bags.reader import Bag
from memorysam_ros.bags.truth import Truth
from memorysam_ros.demo.node_process import NAME, REMAPPED
from memorysam_training.demo.drive import seconds_of
from memorysam_training.simulation.drive import STAMP_0_NS

TRUTH = "/ground_truth/labels"


def take_account(
    bag_path: Path, recording: Path, space: LabelSpace, sensors: Sequence[str], rate: float
) -> Account:
    """Compares a recording of the node with the drive that it was given, played at ``rate``."""
    shown = {f"{NAME}/{topic}": sensor for sensor, topic in SEEN.items()}
    labels = f"{NAME}/{LABELS}"
    with Bag(bag_path) as bag, Truth(bag_path, TRUTH) as truth, Bag(recording) as heard:
        image = REMAPPED["image"]
        accountant = Accountant(bag, truth, image, space, sensors, STAMP_0_NS, rate)
        for raw in heard.messages({labels, *shown} & set(heard.topics)):
            message = heard.deserialise(raw)
            if raw.topic == labels:
                accountant.hear_labels(message, raw.time_ns)
            else:
                accountant.hear_frame(shown[raw.topic], message)
        return accountant.finish()


def diagnostics(
    recording: Path, moments_s: Mapping[str, float]
) -> tuple[tuple[Entry, ...], dict[str, str]]:
    """What ``/diagnostics`` said last before each of the given times of the drive, by its name.

    Of the whole for each time, of sensors for the last.
    """
    told: dict[str, list[Any]] = {}
    with Bag(recording) as bag:
        for raw in bag.messages({DIAGNOSTICS}) if DIAGNOSTICS in bag.topics else ():
            statuses = bag.deserialise(raw).status
            told |= {n: statuses for n, t in moments_s.items() if seconds_of(raw.time_ns) <= t}
    entries = [
        entry(status, f"node, {moment}")
        for moment, statuses in told.items()
        for status in statuses
        if status.name.endswith(": segmentation")
    ]
    return tuple(entries), sensor_facts(list(told.values())[-1]) if told else {}
