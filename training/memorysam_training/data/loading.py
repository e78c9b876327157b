"""Data sets by recipe, read step by step; bad samples; a decoded copy in memory-mapped files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from memorysam_core.labels import label_space
from memorysam_training.data.deliver import Deliver
from memorysam_training.data.mcubes import MCubeS
from memorysam_training.data.samples import DataError, DataSet, Sample
from memorysam_training.plan import Draw, MicroBatches
from memorysam_training.recipe import Data


def open_data(data: Data, split: str) -> DataSet:
    """The split of the data set that a recipe names. Raises DataError where it is not there."""
    if not data.root:
        raise DataError("data.root is empty; give the folder of the data set, data.root=FOLDER")
    space = {"label_space": label_space(data.label_space)} if data.label_space else {}
    dataset: DataSet
    if data.kind == "deliver":
        dataset = Deliver(data.root, split, data.depth, data.conditions, **space)
    elif data.kind == "mcubes":
        dataset = MCubeS(data.root, split, **space)
    else:
        from memorysam_training.data.bag import Bags

        dataset = Bags(Path(data.root) / split, data.size, data.depth, **space)
    return Cached(dataset, Path(data.cache)) if data.cache else dataset


def chosen_modalities(dataset: DataSet, names: Sequence[str]) -> tuple[str, ...]:
    """Of the data set's modalities those of the recipe, in its order. Raises DataError."""
    known = [m.name for m in dataset.modalities]
    missing = [name for name in names if name not in known]
    if missing:
        raise DataError(
            f"the data set has no modality {', '.join(missing)}; it has {', '.join(known)}"
        )
    return tuple(names) or tuple(known)


class Cached:
    """A data set of samples of one size, decoded once into a memory-mapped file.

    Raises DataError if the samples differ in size or are no bytes.
    """

    def __init__(self, dataset: DataSet, folder: Path) -> None:
        self.dataset = dataset
        self.modalities, self.label_space = dataset.modalities, dataset.label_space
        self.names = [m.name for m in dataset.modalities]
        first = dataset.read(0, self.names)
        self.shape = (len(dataset), 3 * len(self.names) + 1, *first.labels.shape)
        path = folder / f"{dataset.fingerprint()}-{'x'.join(map(str, self.shape))}.u8"
        if not path.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            temporary = path.with_suffix(f".{os.getpid()}.tmp")
            try:
                self._fill(temporary)
                os.replace(temporary, path)
            finally:
                temporary.unlink(missing_ok=True)
        self._samples = np.memmap(path, np.uint8, "r", shape=self.shape)

    def __len__(self) -> int:
        return len(self.dataset)

    def read(self, index: int, modalities: Sequence[str]) -> Sample:
        """One sample, copied out of the file."""
        stored = self._samples[index]
        at = {name: 3 * i for i, name in enumerate(self.names)}
        frames = {n: torch.from_numpy(stored[at[n] : at[n] + 3].copy()) for n in modalities}
        return Sample(frames, torch.from_numpy(stored[-1].copy()), str(index))

    def groups(self, index: int) -> dict[str, str]:
        """Those of the data set."""
        return self.dataset.groups(index)

    def fingerprint(self) -> str:
        """That of the data set."""
        return self.dataset.fingerprint()

    def _fill(self, path: Path) -> None:
        samples = np.memmap(path, np.uint8, "w+", shape=self.shape)

        def decode(index: int) -> None:
            sample = self.dataset.read(index, self.names)
            parts = [*sample.frames.values(), sample.labels[None]]
            if any(p.dtype != torch.uint8 or p.shape[1:] != self.shape[2:] for p in parts):
                raise DataError(
                    f"sample {sample.name} is not {self.shape[2]} x {self.shape[3]} bytes like "
                    "the first one; data.cache needs samples of one size, leave it empty"
                )
            samples[index] = torch.cat(parts).numpy()

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            jobs = pool.map(decode, range(len(self.dataset)))
            for _ in tqdm(jobs, "decoding", len(self.dataset), leave=False, dynamic_ncols=True):
                pass
        samples.flush()


@dataclass
class Batch:
    """Samples as they were read, with what was drawn for them."""

    samples: list[Sample]
    draws: list[Draw]
    skipped: list[str] = field(default_factory=list)
    """Messages of bad samples that others took the place of."""


class Reading(Dataset):
    """Draws to samples; a bad one stops the run, or its successor takes its place."""

    def __init__(self, dataset: DataSet, on_bad_sample: str) -> None:
        self.dataset, self.on_bad_sample = dataset, on_bad_sample

    def __getitem__(self, draw: Draw) -> tuple[Sample, Draw, list[str]]:
        skipped: list[str] = []
        for offset in range(len(self.dataset)):
            index = (draw.index + offset) % len(self.dataset)
            try:
                return self.dataset.read(index, draw.modalities), draw, skipped
            except DataError as error:
                if self.on_bad_sample == "fail":
                    raise
                skipped.append(str(error))
        raise DataError(f"no sample can be read; the last error: {skipped[-1]}")


def loader(reading: Reading, batches: MicroBatches, workers: int) -> DataLoader:
    """Batches in the order of the plan, read ahead by ``workers`` processes."""
    return DataLoader(
        reading,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=_collate,
        prefetch_factor=2 if workers else None,
    )


def sequential(
    dataset: DataSet,
    indices: Sequence[int],
    modalities: tuple[str, ...],
    size: int,
    workers: int,
    on_bad_sample: str = "fail",
) -> DataLoader:
    """The samples in order, ``size`` at a time, with nothing drawn for them."""
    draws = [Draw(index, modalities, 0) for index in indices]
    return DataLoader(
        Reading(dataset, on_bad_sample),
        batch_sampler=[draws[i : i + size] for i in range(0, len(draws), size)],
        num_workers=workers,
        collate_fn=_collate,
    )


def _collate(items: list[tuple[Sample, Draw, list[str]]]) -> Batch:
    samples, draws, skipped = zip(*items, strict=True)
    return Batch(list(samples), list(draws), [text for texts in skipped for text in texts])
