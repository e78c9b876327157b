"""Labelled rosbags: the frames are those that the live node would draw, set by set.

A bag is a stream, so it is gone through once, when a sample is first asked for, and its labelled
sets are kept in memory; with ``data.cache`` they are on disk after that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from memorysam_core.contract import InputContract, Modality, deliver_modalities
from memorysam_core.labels import DELIVER, IGNORE, LabelSpace
from memorysam_core.segmenter import Segmentation
from memorysam_ros.bags import BagError
from memorysam_ros.bags.reader import Bag
from memorysam_ros.bags.replay import Replay
from memorysam_ros.bags.topics import IMAGE, INFO, INPUTS, find
from memorysam_ros.bags.transforms import BagTransforms
from memorysam_ros.bags.truth import Truth
from memorysam_ros.parameters import from_values
from memorysam_ros.pipeline import Pipeline
from memorysam_training.data.modalities import chosen
from memorysam_training.data.samples import DataError, Sample, fingerprint, require_folder

LABELS = "/ground_truth/labels"
"""Topic of the true labels, ``mono8`` class ids with 255 for unlabelled, stamped as the camera."""


class Bags:
    """All bags of a folder; a sample is a set of all sensors whose camera stamp has labels.

    Raises DataError, naming the bag, where one cannot be read or, once samples are asked for,
    holds no labelled set.
    """

    def __init__(
        self,
        folder: str | Path,
        size: tuple[int, int],
        modalities: Sequence[Modality] = deliver_modalities("log_depth"),
        names: Sequence[str] = (),
        label_space: LabelSpace = DELIVER,
        topic: str = LABELS,
    ) -> None:
        """Of the modalities those of the names or, without names, those that every bag has."""
        self.root = Path(folder)
        require_folder(self.root, "a folder of bags for each split is wanted")
        self.label_space = label_space
        self._size, self._topic = size, topic
        self._paths = sorted(
            path
            for path in self.root.iterdir()
            if path.suffix in (".mcap", ".db3") or (path / "metadata.yaml").is_file()
        )
        if not self._paths:
            raise DataError(f"{folder} holds no bag (.mcap, .db3, or a folder with metadata.yaml)")
        there = [_sensors(path, topic) for path in self._paths]
        known = tuple(m for m in modalities if all(m.name in sensors for sensors in there))
        self.modalities: tuple[Modality, ...] = chosen(known, names)
        if not self.modalities:
            raise DataError(f"the bags in {folder} have no sensor in common")

    def __len__(self) -> int:
        return len(self._samples)

    def read(self, index: int, modalities: Sequence[str]) -> Sample:
        """One sample."""
        sample, _ = self._samples[index]
        return Sample({m: sample.frames[m] for m in modalities}, sample.labels, sample.name)

    def groups(self, index: int) -> dict[str, str]:
        """The condition, where the bag says which."""
        condition = self._samples[index][1]
        return {"condition": condition} if condition else {}

    def fingerprint(self, times: bool = True) -> str:
        """Of the bags, and of how frames are drawn from them."""
        inside = (sorted(p.rglob("*")) if p.is_dir() else [p] for p in self._paths)
        files = (file for listed in inside for file in listed if file.is_file())
        return fingerprint(self.root, files, self._contract.to_json() + self._topic, times)

    @property
    def _contract(self) -> InputContract:
        return InputContract(self.modalities, self.label_space, self._size)

    @cached_property
    def _samples(self) -> list[tuple[Sample, str]]:
        samples: list[tuple[Sample, str]] = []
        for path in self._paths:
            before = len(samples)
            try:
                samples += _labelled_sets(path, self._contract, self._topic)
            except (BagError, OSError) as error:
                raise DataError(f"{path}: {error}") from error
            if len(samples) == before:
                raise DataError(
                    f"{path} holds no complete set of {', '.join(self._contract.names)} with "
                    f"labels on {self._topic} at the camera's stamp"
                )
        return samples


class _Onlooker:
    """Takes the place of the model: the frames are wanted, not labels."""

    device = torch.device("cpu")

    def __init__(self, contract: InputContract) -> None:
        self.contract, self.size = contract, contract.size

    def segment(
        self, frames: Mapping[str, Any], size: tuple[int, int] | None = None
    ) -> Segmentation:
        nothing = np.zeros((1, 1), np.uint8)
        return Segmentation(nothing, nothing, tuple(frames), (False,) * len(frames))

    def close(self) -> None:
        pass


def _sensors(path: Path, topic: str) -> set[str]:
    """The sensors that a bag has messages of."""
    try:
        with Bag(path) as bag:
            inputs = _inputs(bag, topic)
    except (BagError, OSError) as error:
        raise DataError(f"{path}: {error}") from error
    return {INPUTS[name].sensor for name in inputs if INFO not in INPUTS[name].types}


def _inputs(bag: Bag, topic: str) -> dict[str, str]:
    return find((t for t in bag.topics.values() if t.name != topic), {})


def _labelled_sets(path: Path, contract: InputContract, topic: str) -> Iterator[tuple[Sample, str]]:
    with Bag(path) as bag, Truth(path, topic) as truth, BagTransforms(bag) as transforms:
        inputs = _inputs(bag, topic)
        values: dict[str, object] = {"checkpoint": "none"}
        if "events" in inputs and bag.topics[inputs["events"]].msgtype == IMAGE:
            values["event.source"] = "image"
        pipeline = Pipeline(_Onlooker(_led_by_camera(contract)), from_values(values), transforms)
        for moment in Replay(bag, inputs, pipeline, transforms):
            if moment.result is None:
                continue
            found = truth.at(moment.matched.stamp_ns)
            frames = moment.result.frames
            if found is None or not set(contract.names) <= set(frames):
                continue
            _check_ids(found.ids, contract.label_space, path)
            labels = F.interpolate(
                torch.from_numpy(found.ids.astype(np.uint8))[None, None],
                contract.size,
                mode="nearest-exact",
            )[0, 0]
            name = f"{path.name}@{moment.matched.stamp_ns}"
            drawn = {n: frames[n].permute(2, 0, 1).contiguous() for n in contract.names}
            yield Sample(drawn, labels, name), found.condition


def _led_by_camera(contract: InputContract) -> InputContract:
    """With the image, wanted or not: labels are stamped as it is, and it shows what is seen."""
    if "image" in contract.names:
        return contract
    camera = next(m for m in deliver_modalities() if m.name == "image")
    return contract.replace(modalities=(camera, *contract.modalities))


def _check_ids(ids: np.ndarray, space: LabelSpace, path: Path) -> None:
    wrong = (ids >= len(space)) & (ids != IGNORE)
    if wrong.any():
        raise DataError(
            f"{path} holds the label {ids[wrong].max()}; accepted are 0 to {len(space) - 1}, and "
            f"{IGNORE} for unlabelled"
        )
