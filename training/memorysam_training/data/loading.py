"""Data sets by recipe, read step by step, and what becomes of bad samples."""

from __future__ import annotations

import signal
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from memorysam_core.contract import deliver_modalities
from memorysam_core.labels import label_space
from memorysam_training.data.cache import Cached
from memorysam_training.data.deliver import Deliver
from memorysam_training.data.mcubes import MCubeS
from memorysam_training.data.modalities import drawn_as
from memorysam_training.data.samples import DataError, DataSet, Sample
from memorysam_training.plan import Draw, MicroBatches
from memorysam_training.recipe import Data

COUNTED = 500
"""Samples whose labels are counted, at most: enough to tell rare classes from common ones."""


def open_data(data: Data, split: str) -> DataSet:
    """The split of the data set that a recipe names. Raises DataError where it is not there."""
    if not data.root:
        raise DataError("data.root is empty; give the folder of the data set, data.root=FOLDER")
    space = label_space(data.label_space or ("mcubes" if data.kind == "mcubes" else "deliver"))
    dataset: DataSet
    if data.kind == "deliver":
        dataset = Deliver(
            data.root, split, data.depth, data.conditions, space, data.representations
        )
    elif data.kind == "mcubes":
        dataset = MCubeS(data.root, split, space)
    else:
        from memorysam_training.data.bag import Bags

        drawn = drawn_as(deliver_modalities(data.depth), data.representations)
        dataset = Bags(Path(data.root) / split, data.size, drawn, data.modalities, space)
    return Cached(dataset, Path(data.cache), data.on_bad_sample) if data.cache else dataset


@dataclass
class Batch:
    """Samples as they were read, with what was drawn for them."""

    samples: list[Sample]
    draws: list[Draw]
    skipped: list[str] = field(default_factory=list)
    """Messages of bad samples that others took the place of."""
    stand_ins: list[bool] = field(default_factory=list)
    """Which of the samples are in the place of bad ones."""


class Reading(Dataset):
    """Draws to samples; a bad one stops the run, or its successor takes its place."""

    def __init__(self, dataset: DataSet, on_bad_sample: str) -> None:
        self.dataset, self.on_bad_sample = dataset, on_bad_sample

    def __getitem__(self, draw: Draw) -> tuple[Sample, Draw, list[str]] | DataError:
        """The sample, what was drawn, and messages of the bad samples in whose place it is.

        A DataError is returned: of one that is raised in another process, DataLoader makes an error
        whose message is the whole traceback.
        """
        skipped: list[str] = []
        for offset in range(len(self.dataset)):
            index = (draw.index + offset) % len(self.dataset)
            try:
                return self.dataset.read(index, draw.modalities), draw, skipped
            except DataError as error:
                if self.on_bad_sample == "fail":
                    return error
                skipped.append(str(error))
        return DataError(f"no sample can be read; the last error: {skipped[-1]}")


def loader(reading: Reading, batches: MicroBatches, workers: int) -> Generator[Batch]:
    """Batches in the order of the plan, read ahead by ``workers`` processes. Raises DataError.

    To be closed, which ends the processes: they take no other signal.
    """
    return _batches(reading, batches, workers)


def sequential(
    dataset: DataSet,
    indices: Sequence[int],
    modalities: tuple[str, ...],
    size: int,
    workers: int,
    on_bad_sample: str = "fail",
) -> Generator[Batch]:
    """The samples in order, ``size`` at a time, with nothing drawn for them. Raises DataError.

    To be closed where it is left before its end.
    """
    draws = [Draw(index, modalities, 0) for index in indices]
    batches = [draws[i : i + size] for i in range(0, len(draws), size)]
    return _batches(Reading(dataset, on_bad_sample), batches, workers)


def pixels_of_classes(dataset: DataSet, most: int = COUNTED) -> Tensor:
    """Labelled pixels of each class, int64 ``(C,)``, in up to ``most`` samples spread evenly.

    Bad samples are passed over: they are told of when it is their turn.
    """
    pixels = torch.zeros(256, dtype=torch.int64)
    read = min(len(dataset), most)
    for place in range(read):
        try:
            labels = dataset.read(place * len(dataset) // read, ()).labels
        except DataError:
            continue
        pixels += torch.bincount(labels.flatten().long(), minlength=256)
    return pixels[: len(dataset.label_space)]


def _batches(
    reading: Reading, batches: MicroBatches | list[list[Draw]], workers: int
) -> Generator[Batch]:
    read = DataLoader(
        reading,
        batch_sampler=batches,  # type: ignore[arg-type]
        num_workers=workers,
        collate_fn=_collate,
        worker_init_fn=_leave_signals_to_the_parent,
        generator=torch.Generator(),  # else it draws from the chance of the model's dropout
    )
    for batch in read:  # dropped, and its processes ended, when the generator is closed
        if isinstance(batch, DataError):
            raise batch
        yield batch


def _collate(items: list[tuple[Sample, Draw, list[str]] | DataError]) -> Batch | DataError:
    batch = Batch([], [])
    for item in items:
        if isinstance(item, DataError):
            return item
        sample, draw, skipped = item
        batch.samples.append(sample)
        batch.draws.append(draw)
        batch.stand_ins.append(bool(skipped))
        batch.skipped += skipped
    return batch


def _leave_signals_to_the_parent(worker: int) -> None:
    """A terminal's Ctrl-C, and the end of a batch job, reach the reading processes as well.

    They have to go on until the run has finished its step and saved.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
