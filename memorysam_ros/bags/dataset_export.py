"""A bag as a data set in DELIVER's layout: the frames the node would have made, and the truth."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from memorysam_core.contract import InputContract
from memorysam_core.segmenter import Segmentation
from memorysam_ros import conversions
from memorysam_ros.bags.deliver_layout import Place, coded, write_png
from memorysam_ros.bags.reader import Bag, BagError
from memorysam_ros.bags.replay import Moment, Replay
from memorysam_ros.bags.truth import Truth, at_size

FOLDERS = {"image": "img", "event": "event", "lidar": "lidar"}
DEPTH_FOLDERS = {"log_depth": "depth", "hha": "hha"}
UNKNOWN = "unknown"
"""The condition of a bag that says none."""


class Drawing:
    """Stands where the model is in a pipeline whose frames are all that is wanted."""

    device = "cpu"

    def __init__(self, contract: InputContract, size: tuple[int, int]) -> None:
        self.contract, self.size = contract, size

    def segment(
        self, frames: Mapping[str, Any], size: tuple[int, int] | None = None
    ) -> Segmentation:
        """Class 0 everywhere."""
        names = self.contract.ordered(frames)
        empty = np.zeros(size or self.size, np.uint8)
        return Segmentation(empty, empty, names, (False,) * len(names))


@dataclasses.dataclass
class Export:
    """Writes the moments of a replay below a folder."""

    folder: Path
    replay: Replay
    truth: Truth | None
    split: str
    sequence: str
    condition: str = ""
    """Where empty, what the bag says, or ``unknown``."""
    skipped: Counter[str] = dataclasses.field(default_factory=Counter)
    """Sets that were left out, by the reason."""
    about: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    """Of each sequence that was written, as :func:`deliver_layout.write_about` takes it."""
    count: int = 0
    """Sets that were written."""

    def run(self) -> None:
        """Writes all sets that have every sensor, and the truth if it is asked for."""
        for moment in self.replay:
            self._add(moment)
        if not self.count:
            reasons = ", ".join(f"{count} {why}" for why, count in self.skipped.items())
            raise BagError(
                f"no set of {self.replay.bag.path} can be written: {reasons or 'no set'}"
            )

    def _add(self, moment: Moment) -> None:
        result = moment.result
        if result is None:
            self.skipped[moment.why] += 1
            return
        lacking = [s for s in self.replay.pipeline.sensors if s not in result.frames]
        if lacking:
            self.skipped["without " + " and ".join(lacking)] += 1
            return
        truth = self.truth.at(moment.matched.stamp_ns) if self.truth else None
        if self.truth is not None and truth is None:
            self.skipped["without truth"] += 1
            return
        said = self.condition or (truth.condition if truth else "") or UNKNOWN
        # The weather is a folder in DELIVER, a failure of a sensor part of the sequence's name.
        weather, _, failure = said.partition("_")
        sequence = f"{self.sequence}_{failure}" if failure else self.sequence
        place = Place(weather, self.split, sequence, f"{self.count:06d}")
        contract = self.replay.pipeline.segmenter.contract
        for name, sensor in self.replay.pipeline.modalities.items():
            depth = DEPTH_FOLDERS.get(contract.modality(name).representation.name)
            folder = depth if sensor == "depth" and depth else FOLDERS[sensor]
            write_png(self.folder / place.file(folder), result.frames[sensor].numpy())
        if truth is not None:
            # At its own size, where replay compares labels with it, or at least at the frames'.
            size = self.replay.pipeline.segmenter.size
            own = truth.ids.shape
            shown = own if own[0] >= size[0] and own[1] >= size[1] else size
            write_png(self.folder / place.file("semantic"), coded(at_size(truth.ids, shown)))
        sequence_about = self.about.setdefault(place.folder, self._sequence())
        sequence_about["stamps_ns"][place.number] = moment.matched.stamp_ns
        self.count += 1

    def _sequence(self) -> dict[str, Any]:
        about: dict[str, Any] = {"bag": self.replay.bag.path.name, "stamps_ns": {}}
        cameras = self.replay.pipeline.cameras
        if cameras.known("image"):
            height, width = self.replay.pipeline.segmenter.size
            camera = cameras.camera("image").resized(width, height)
            about["camera"] = dataclasses.asdict(camera)
        return about


def camera_size(bag: Bag, topic: str) -> tuple[int, int]:
    """Height and width of the first image of a topic."""
    for raw in bag.messages({topic}):
        height, width, _ = conversions.rgb(bag.deserialise(raw)).shape
        return height, width
    raise BagError(f"{bag.path} has no message on {topic}")
