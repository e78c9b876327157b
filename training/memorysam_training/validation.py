"""Scores on the validation split while training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from accelerate import Accelerator
from torch.nn import functional as F

from memorysam_core.metrics import ConfusionMatrix
from memorysam_core.model import MemorySAM
from memorysam_training.augment import ValidationBatch
from memorysam_training.data.loading import sequential
from memorysam_training.data.samples import DataSet, Sample
from memorysam_training.recipe import Recipe


@dataclass
class Picture:
    """One sample with its prediction, to be drawn."""

    sample: Sample
    labels: torch.Tensor
    """True ids ``(H, W)``, at the size of the prediction."""
    predicted: torch.Tensor
    """Predicted ids ``(H, W)``."""


@dataclass
class Validation:
    """What one pass over the split gave."""

    confusion: ConfusionMatrix
    closed_gates: float
    """Share of frames whose object score is not positive."""
    pictures: list[Picture] = field(default_factory=list)


@torch.no_grad()  # the model keeps tables that training uses as well
def validate(
    accelerator: Accelerator,
    model: MemorySAM,
    dataset: DataSet,
    recipe: Recipe,
    to_batch: ValidationBatch,
) -> Validation:
    """Scores with all modalities, shared among the processes."""
    names = tuple(to_batch.modalities)
    indices = range(len(dataset))[accelerator.process_index :: accelerator.num_processes]
    shown = set(range(0, len(dataset), max(1, len(dataset) // max(1, recipe.run.pictures))))
    confusion = ConfusionMatrix(model.architecture.num_classes)
    drawn, closed, frames_seen = [], 0.0, 0
    model.eval()
    batches = sequential(
        dataset,
        indices,
        names,
        recipe.optimiser.batch_per_process,
        recipe.run.workers,
        recipe.data.on_bad_sample,
    )
    for batch in batches:
        frames, labels = to_batch(batch.samples, accelerator.device)
        with accelerator.autocast():
            output = model(frames)
        predicted = upsampled(output.logits, labels.shape[1:]).argmax(1)
        confusion.update(predicted, labels)
        closed += float(output.closed_gates.sum())
        frames_seen += output.closed_gates.numel()
        for i, draw in enumerate(batch.draws):
            if draw.index in shown and len(drawn) < recipe.run.pictures:
                drawn.append(Picture(batch.samples[i], labels[i].cpu(), predicted[i].cpu()))
    counts = torch.from_numpy(confusion.counts).to(accelerator.device)
    summed = accelerator.reduce(counts, "sum").cpu()
    return Validation(
        ConfusionMatrix(confusion.num_classes, counts=summed), closed / max(1, frames_seen), drawn
    )


def upsampled(logits: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Logits ``(B, C, h, w)`` at ``size`` (height, width), float32."""
    return F.interpolate(logits.float(), tuple(size), mode="bilinear", align_corners=False)
