"""Scores of a checkpoint on a data set: by class, by condition, with sensors failing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from memorysam_core.checkpoint import Checkpoint
from memorysam_core.contract import InputContract
from memorysam_core.metrics import ConfusionMatrix
from memorysam_core.model import MemorySAM
from memorysam_training.augment import ValidationBatch, flip
from memorysam_training.data.loading import Batch, sequential
from memorysam_training.data.samples import DataError, DataSet
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
    """Average with the mirrored sample."""
    scales: tuple[float, ...] = (1.0,)
    """Average over these zooms of the input."""
    batch: int = 4
    workers: int = 0
    limit: int = 0
    """Only so many samples, evenly spread; 0 for all."""
    seed: int = 0
    """Of the faults drawn by chance."""
    precision: str = "fp32"


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
    model = checkpoint.build().to(device, memory_format=torch.channels_last)
    every = max(1, len(dataset) // options.limit) if options.limit else 1
    run = _Run(model, contract, options, device)
    batches = sequential(
        dataset, range(0, len(dataset), every), contract.names, options.batch, options.workers
    )
    for batch in tqdm(batches, "evaluating", dynamic_ncols=True):
        run.take(batch, [dataset.groups(draw.index) for draw in batch.draws])
    return run.result()


class _Run:
    """Sums over the batches."""

    def __init__(
        self, model: MemorySAM, contract: InputContract, options: Options, device: torch.device
    ) -> None:
        self.model, self.contract, self.options, self.device = model, contract, options, device
        self.to_batch = ValidationBatch(contract.modalities, contract.size)
        self.cases = cases(contract.modalities, options.tests, options.missing)
        classes = len(contract.label_space)
        self.confusion = {case: ConfusionMatrix(classes) for case in self.cases}
        self.groups: dict[tuple[str, str], ConfusionMatrix] = {}
        self.closed = torch.zeros(len(contract.modalities))
        self.seen: list[tuple[float, Picture]] = []
        self.size = contract.size

    def take(self, batch: Batch, groups: Sequence[dict[str, str]]) -> None:
        """All cases on one batch."""
        frames, labels = self.to_batch(batch.samples, self.device)
        self.size = tuple(labels.shape[1:])
        generator = torch.Generator(self.device).manual_seed(
            self.options.seed + batch.draws[0].index
        )
        for case, predicted in self._predictions(frames, generator):
            self.confusion[case].update(predicted, labels)
            if case.test != "full":
                continue
            for i, of_sample in enumerate(groups):
                alone = ConfusionMatrix(len(self.contract.label_space))
                alone.update(predicted[i], labels[i])
                for key in of_sample.items():
                    known = self.groups.get(key)
                    self.groups[key] = alone if known is None else known + alone
                self._remember(
                    alone.scores().miou_present,
                    Picture(batch.samples[i], labels[i].cpu(), predicted[i].cpu()),
                )

    def _predictions(self, frames: Tensor, generator: torch.Generator):
        """Every case with its labels ``(B, H, W)``; each version of a frame is encoded once."""
        bf16 = self.options.precision == "bf16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            if self.options.flip or self.options.scales != (1.0,):
                yield self.cases[0], self._many_views(frames).argmax(1)
                remaining = self.cases[1:]
            else:
                remaining = self.cases
            encoded = {}
            for case in remaining:
                for m, version in case.frames:
                    if (m, version) not in encoded:
                        modality = self.contract.modalities[m]
                        frame = damaged(frames[m], version, modality, generator)
                        encoded[m, version] = self.model.encode(frame)
                output = self.model.run_sequence([encoded[key] for key in case.frames])
                if case.test == "full":
                    self.closed += output.closed_gates.float().sum(1).cpu()
                yield case, upsampled(output.logits, frames.shape[-2:]).argmax(1)
                if case.test.startswith("nm"):  # of no use to any other case
                    encoded = {k: v for k, v in encoded.items() if k[1] == CLEAN}

    def _many_views(self, frames: Tensor) -> Tensor:
        """Mean of the class probabilities over zooms and the mirrored sample."""
        height, width = frames.shape[-2:]
        total = torch.zeros(())
        for scale in self.options.scales:
            size = tuple(max(32, round(side * scale / 32) * 32) for side in (height, width))
            resample = self.to_batch.resampler.frame
            scaled = torch.stack(
                [
                    torch.stack([resample(f, size, modality) for f in frames[m]])
                    for m, modality in enumerate(self.contract.modalities)
                ]
            )
            for mirrored in (False, True) if self.options.flip else (False,):
                view = self._flipped(scaled) if mirrored else scaled
                output = self.model(view)
                if scale == 1 and not mirrored:
                    self.closed += output.closed_gates.float().sum(1).cpu()
                probabilities = upsampled(output.logits, (height, width)).softmax(1)
                total = total + (probabilities.flip(-1) if mirrored else probabilities)
        return total

    def _flipped(self, frames: Tensor) -> Tensor:
        mirrored = []
        for m, modality in enumerate(self.contract.modalities):
            mean, std = (frames.new_tensor(v)[:, None, None] for v in (modality.mean, modality.std))
            mirrored.append((flip(frames[m] * std + mean, modality) - mean) / std)
        return torch.stack(mirrored)

    def _remember(self, score: float, picture: Picture) -> None:
        self.seen.append((score, picture))

    def result(self) -> Evaluation:
        """What the sums say."""
        ranked = sorted(range(len(self.seen)), key=lambda i: self.seen[i][0])
        places = {"worst": 0, "median": len(ranked) // 2, "best": len(ranked) - 1}
        share = self.closed / max(1, len(self.seen))
        return Evaluation(
            contract=self.contract,
            size=self.size,
            samples=len(self.seen),
            confusion=self.confusion,
            groups=dict(sorted(self.groups.items())),
            closed_gates=dict(zip(self.contract.names, share.tolist(), strict=True)),
            pictures={name: self.seen[ranked[i]][1] for name, i in places.items()},
        )


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
            f"checkpoint's, {contract.label_space.name}"
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
