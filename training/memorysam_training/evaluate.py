"""Scores of a checkpoint on a data set: by class, by condition, with sensors failing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from memorysam_core.checkpoint import Checkpoint
from memorysam_core.contract import InputContract, Modality
from memorysam_core.metrics import ConfusionMatrix
from memorysam_core.model import Features, MemorySAM, Output
from memorysam_training.augment import ValidationBatch, flip
from memorysam_training.data.loading import Batch, sequential
from memorysam_training.data.samples import DataError, DataSet, Sample
from memorysam_training.robustness import CLEAN, Case, Missing, cases, damaged
from memorysam_training.validation import Picture, upsampled


@dataclass(frozen=True)
class Options:
    """How to measure."""

    modalities: tuple[str, ...] = ()
    """Only these; empty: all of the checkpoint that the data set has."""
    tests: tuple[str, ...] = ()
    """Of ``emm``, ``rmm``, ``nm``."""
    missing: Missing = "absent"
    """A missing modality is left out, or fed as zeros as the benchmark does."""
    flip: bool = False
    """Average with the mirrored sample, in every case."""
    scales: tuple[float, ...] = (1.0,)
    """Average over these zooms of the input, in every case."""
    batch: int = 4
    workers: int = 0
    limit: int = 0
    """Only so many samples, evenly spread; 0 for all."""
    seed: int = 0
    """Of the faults drawn by chance."""
    precision: str = "fp32"
    resampling: str = "by_modality"
    """Of samples of another size than the checkpoint's, and of zooms: as ``augment.resampling``."""
    antialias: bool = True


@dataclass
class Evaluation:
    """What was measured."""

    contract: InputContract
    size: tuple[int, int]
    """Height and width that scores are taken at."""
    samples: int
    confusion: dict[Case, ConfusionMatrix]
    groups: dict[tuple[str, str], ConfusionMatrix] = field(default_factory=dict)
    """By kind and value, such as ("condition", "night"), with all sensors."""
    closed_gates: dict[str, float] = field(default_factory=dict)
    """Share of frames by modality whose object score is not positive, with all sensors."""
    pictures: dict[str, Picture] = field(default_factory=dict)
    """The samples with the best, median and worst mIoU."""

    @property
    def full(self) -> ConfusionMatrix:
        """With all sensors."""
        return next(m for case, m in self.confusion.items() if case.test == "full")


@torch.inference_mode()
def evaluate(
    checkpoint: Checkpoint, dataset: DataSet, options: Options, device: torch.device
) -> Evaluation:
    """Runs every case on every sample.

    Raises DataError where data set and checkpoint have no modality in common or other classes.
    """
    contract = _fitting(checkpoint.contract, dataset, options.modalities)
    model = checkpoint.build().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    run = _Run(model, contract, options, device)

    indices = _spread(len(dataset), options.limit)
    progress = tqdm(total=len(indices), desc="evaluating", unit="sample", dynamic_ncols=True)
    reader = sequential(dataset, indices, contract.names, options.batch, options.workers)
    with progress, closing(reader) as batches:
        for batch in batches:
            run.take(batch, [dataset.groups(draw.index) for draw in batch.draws])
            progress.update(len(batch.samples))
    # Pictures take much memory: those few that are shown are made once it is known which.
    pictures = {
        name: run.draw(dataset.read(index, contract.names)) for name, index in run.places().items()
    }
    return run.result(pictures)


def _spread(samples: int, limit: int) -> list[int]:
    """All indices, or ``limit`` of them, evenly spread."""
    if not limit or limit >= samples:
        return list(range(samples))
    return [i * samples // limit for i in range(limit)]


class _Run:
    """Sums over the batches."""

    def __init__(
        self, model: MemorySAM, contract: InputContract, options: Options, device: torch.device
    ) -> None:
        self.model, self.contract, self.options, self.device = model, contract, options, device
        self.to_batch = ValidationBatch(
            contract.modalities, contract.size, options.resampling, options.antialias
        )
        self.cases = cases(contract.modalities, options.tests, options.missing)
        mirrored = (False, True) if options.flip else (False,)
        self.views = [(scale, mirror) for scale in options.scales for mirror in mirrored]
        classes = len(contract.label_space)
        self.confusion = {case: ConfusionMatrix(classes) for case in self.cases}
        self.groups: dict[tuple[str, str], ConfusionMatrix] = {}
        self.closed = torch.zeros(len(contract.modalities))
        self.seen: list[tuple[float, int]] = []
        """Of each sample its mIoU and number."""
        self.size = contract.size

    def take(self, batch: Batch, groups: Sequence[dict[str, str]]) -> None:
        """All cases on one batch."""
        frames, labels = self.to_batch(batch.samples, self.device)
        self.size = (labels.shape[1], labels.shape[2])
        seed = self.options.seed + batch.draws[0].index
        for case, predicted, closed in self._predictions(self.cases, frames, self.size, seed):
            self.confusion[case].update(predicted, labels)
            if case.test != "full":
                continue
            self.closed += closed.float().sum(1).cpu()
            for i, of_sample in enumerate(groups):
                alone = ConfusionMatrix(len(self.contract.label_space))
                alone.update(predicted[i], labels[i])
                for key in of_sample.items():
                    known = self.groups.get(key)
                    self.groups[key] = alone if known is None else known + alone
                self.seen.append((alone.scores().miou_present, batch.draws[i].index))

    def draw(self, sample: Sample) -> Picture:
        """A sample with its labels from all sensors."""
        frames, labels = self.to_batch([sample], self.device)
        _, predicted, _ = next(self._predictions(self.cases[:1], frames, labels.shape[1:]))
        return Picture(sample, labels[0].cpu(), predicted[0].cpu())

    def places(self) -> dict[str, int]:
        """The numbers of the samples with the best, median and worst mIoU."""
        ranked = sorted(self.seen)
        places = {"worst": 0, "median": len(ranked) // 2, "best": len(ranked) - 1}
        return {name: ranked[place][1] for name, place in places.items()}

    def result(self, pictures: dict[str, Picture]) -> Evaluation:
        """What the sums say."""
        share = self.closed / max(1, len(self.seen))
        return Evaluation(
            contract=self.contract,
            size=self.size,
            samples=len(self.seen),
            confusion=self.confusion,
            groups=dict(sorted(self.groups.items())),
            closed_gates=dict(zip(self.contract.names, share.tolist(), strict=True)),
            pictures=pictures,
        )

    def _predictions(
        self, wanted: Sequence[Case], frames: Tensor, size: Sequence[int], seed: int = 0
    ) -> Iterator[tuple[Case, Tensor, Tensor]]:
        """Every case with its labels ``(B, *size)`` and closed gates ``(M, B)``.

        Each view of each version of a frame is encoded once.
        """
        generator = torch.Generator(self.device).manual_seed(seed)
        bf16 = self.options.precision == "bf16"
        encoded: dict[tuple[int, str], list[Features]] = {}
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            for case in wanted:
                # A test draws its faults once; those of the tests before are of no use any more.
                versions = {CLEAN} | {version for _, version in case.frames}
                encoded = {key: e for key, e in encoded.items() if key[1] in versions}
                for m, version in case.frames:
                    if (m, version) not in encoded:
                        modality = self.contract.modalities[m]
                        frame = damaged(frames[m], version, modality, generator)
                        encoded[m, version] = [
                            self.model.encode(self._seen_as(frame, modality, *view))
                            for view in self.views
                        ]
                sequences = zip(*(encoded[key] for key in case.frames), strict=True)
                outputs = [self.model.run_sequence(sequence) for sequence in sequences]
                labels = self._joined(outputs, size).argmax(1)
                yield case, labels, outputs[0].closed_gates

    def _joined(self, outputs: Sequence[Output], size: Sequence[int]) -> Tensor:
        """Mean of the class probabilities over the views, or the logits of a single one."""
        if len(outputs) == 1:
            return upsampled(outputs[0].logits, size)
        total = torch.zeros((), device=self.device)
        for output, (_, mirrored) in zip(outputs, self.views, strict=True):
            probabilities = upsampled(output.logits, size).softmax(1)
            total = total + (probabilities.flip(-1) if mirrored else probabilities)
        return total / len(outputs)

    def _seen_as(self, frame: Tensor, modality: Modality, scale: float, mirrored: bool) -> Tensor:
        """Normalised frames ``(B, 3, H, W)`` of a modality in another size, or mirrored."""
        height, width = (max(32, round(side * scale / 32) * 32) for side in frame.shape[-2:])
        resample = self.to_batch.resampler.frame
        frame = torch.stack([resample(f, (height, width), modality) for f in frame])
        if not mirrored:
            return frame
        mean, std = (frame.new_tensor(v)[:, None, None] for v in (modality.mean, modality.std))
        return (flip(frame * std + mean, modality) - mean) / std


def _fitting(contract: InputContract, dataset: DataSet, wanted: Sequence[str]) -> InputContract:
    """The contract cut down to the modalities that are to be used."""
    there = {m.name: m for m in dataset.modalities}
    names = wanted or [name for name in contract.names if name in there]
    missing = [name for name in names if name not in there]
    if missing or not names:
        raise DataError(
            f"the data set has {', '.join(there)}, the checkpoint wants "
            f"{', '.join(wanted or contract.names)}"
        )
    kept = contract.ordered(names)
    for name in kept:
        ours, theirs = contract.modality(name), there[name]
        if ours.representation.name != theirs.representation.name:
            raise DataError(
                f"the data set's {name} is drawn as {theirs.representation.name}, but the "
                f"checkpoint was trained on {ours.representation.name} (see --depth)"
            )
    if contract.label_space.classes != dataset.label_space.classes:
        raise DataError(
            f"the data set's label space {dataset.label_space.name} has other classes than the "
            f"checkpoint's, {contract.label_space.name} (see --label-space)"
        )
    return contract.replace(modalities=tuple(contract.modality(name) for name in kept))


def by_class(evaluation: Evaluation) -> list[tuple[str, float, float, float, bool]]:
    """Name, IoU, F1, recall and presence of every class, with all sensors."""
    scores = evaluation.full.scores()
    rows = zip(
        evaluation.contract.label_space.classes,
        np.asarray(scores.iou).tolist(),
        scores.f1.tolist(),
        scores.recall.tolist(),
        scores.present.tolist(),
        strict=True,
    )
    return list(rows)
