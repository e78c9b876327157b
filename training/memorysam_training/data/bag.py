"""Labelled rosbags: the frames are those that the live node would draw, set by set.

A bag is a stream, so it is gone through once, when the data set is opened, and its labelled sets
are kept in memory; with ``data.cache`` they are on disk after that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from memorysam_core.contract import InputContract, Modality, deliver_modalities
from memorysam_core.labels import DELIVER, IGNORE, LabelSpace
from memorysam_core.segmenter import Segmentation
from memorysam_ros.bags import BagError
from memorysam_ros.bags.reader import Bag
from memorysam_ros.bags.replay import Replay
from memorysam_ros.bags.topics import IMAGE, find
from memorysam_ros.bags.transforms import BagTransforms
from memorysam_ros.bags.truth import Truth
from memorysam_ros.parameters import from_values
from memorysam_ros.pipeline import Pipeline
from memorysam_training.data.samples import DataError, Sample, require_folder

LABELS = "/ground_truth/labels"
"""Topic of the true labels, ``mono8`` class ids with 255 for unlabelled, stamped as the camera."""


class Bags:
    """All bags of a folder; a sample is a complete set whose camera stamp has labels.

    Raises DataError, naming the bag, where one cannot be read or holds no labelled set.
    """

    def __init__(
        self,
        folder: str | Path,
        size: tuple[int, int],
        depth: str = "log_depth",
        label_space: LabelSpace = DELIVER,
        topic: str = LABELS,
    ) -> None:
        folder = Path(folder)
        require_folder(folder, "a folder of bags for each split is wanted")
        self.label_space = label_space
        self.modalities: tuple[Modality, ...] = deliver_modalities(depth)
        contract = InputContract(self.modalities, label_space, size)
        self._paths = sorted(
            path
            for path in folder.iterdir()
            if path.suffix in (".mcap", ".db3") or (path / "metadata.yaml").is_file()
        )
        if not self._paths:
            raise DataError(f"{folder} holds no bag (.mcap, .db3, or a folder with metadata.yaml)")
        self._samples: list[tuple[Sample, str]] = []
        for path in self._paths:
            before = len(self._samples)
            try:
                self._samples += _labelled_sets(path, contract, topic)
            except (BagError, OSError) as error:
                raise DataError(f"{path}: {error}") from error
            if len(self._samples) == before:
                raise DataError(
                    f"{path} holds no complete set of {', '.join(contract.names)} with labels on "
                    f"{topic} at the camera's stamp"
                )

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

    def fingerprint(self) -> str:
        """Of the bags' names, sizes and times of change."""
        stats = [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in self._paths]
        return hashlib.sha256(repr(stats).encode()).hexdigest()[:16]


class _Onlooker:
    """Takes the place of the model: the frames are wanted, not labels."""

    device = torch.device("cpu")

    def __init__(self, contract: InputContract) -> None:
        self.contract, self.size = contract, contract.size

    def segment(
        self, frames: dict[str, torch.Tensor], size: tuple[int, int] | None = None
    ) -> Segmentation:
        nothing = np.zeros((1, 1), np.uint8)
        return Segmentation(nothing, nothing, tuple(frames), (False,) * len(frames))


def _labelled_sets(path: Path, contract: InputContract, topic: str) -> Iterator[tuple[Sample, str]]:
    with Bag(path) as bag, Truth(path, topic) as truth, BagTransforms(bag) as transforms:
        inputs = find((t for t in bag.topics.values() if t.name != topic), {})
        values: dict[str, object] = {"checkpoint": "none"}
        if "events" in inputs and bag.topics[inputs["events"]].msgtype == IMAGE:
            values["event.source"] = "image"
        pipeline = Pipeline(_Onlooker(contract), from_values(values), transforms)
        for moment in Replay(bag, inputs, pipeline, transforms):
            if moment.result is None:
                continue
            found = truth.at(moment.matched.stamp_ns)
            frames = moment.result.frames
            if found is None or set(frames) != set(contract.names):
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


def _check_ids(ids: np.ndarray, space: LabelSpace, path: Path) -> None:
    wrong = (ids >= len(space)) & (ids != IGNORE)
    if wrong.any():
        raise DataError(
            f"{path} holds the label {ids[wrong].max()}; accepted are 0 to {len(space) - 1}, and "
            f"{IGNORE} for unlabelled"
        )
