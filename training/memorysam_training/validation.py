"""Scores on the validation split while training."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field

import torch
from accelerate import Accelerator
from torch import nn
from torch.nn import functional as F

from memorysam_core.metrics import ConfusionMatrix
from memorysam_training.augment import ValidationBatch
from memorysam_training.data.loading import Batch, sequential
from memorysam_training.data.samples import DataSet, Sample
from memorysam_training.processes import reduced_sum
from memorysam_training.recipe import Recipe

log = logging.getLogger(__name__)


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
    """Those of this process."""


@torch.no_grad()  # the model keeps tables that training uses as well
def validate(
    accelerator: Accelerator,
    model: nn.Module,
    dataset: DataSet,
    recipe: Recipe,
    to_batch: ValidationBatch,
    stopped: Callable[[], bool],
) -> Validation | None:
    """Scores with all modalities, shared among the processes.

    Args:
        model: as Accelerate prepared it: of a sharded one only that has whole weights.
        stopped: asked after each batch, by all processes; if so, there is no result.
    """
    share = Share(len(dataset), accelerator.process_index, accelerator.num_processes)
    shown = set(range(0, len(dataset), max(1, len(dataset) // max(1, recipe.run.pictures))))
    classes = len(dataset.label_space)
    confusion = ConfusionMatrix(classes)
    drawn: list[Picture] = []
    gates = torch.zeros(2, dtype=torch.int64)  # closed, all
    model.eval()
    reader = sequential(
        dataset,
        share.indices,
        tuple(to_batch.modalities),
        recipe.optimiser.batch_per_process,
        recipe.run.workers,
        recipe.data.on_bad_sample,
    )
    with closing(reader) as batches:
        for batch in batches:
            frames, labels = to_batch(batch.samples, accelerator.device)
            with accelerator.autocast():
                output = model(frames)
            counted = share.counted(batch)
            predicted = upsampled(output.logits, labels.shape[1:]).argmax(1)
            confusion.update(predicted[counted], labels[counted])
            closed = output.closed_gates[:, counted]
            gates += torch.tensor([int(closed.sum()), closed.numel()])
            for i in counted:
                if batch.draws[i].index in shown and len(drawn) < recipe.run.pictures:
                    drawn.append(Picture(batch.samples[i], labels[i].cpu(), predicted[i].cpu()))
            if stopped():
                return None
    counts = torch.cat([torch.from_numpy(confusion.counts).flatten(), gates])
    *pairs, closed_count, frames_count = reduced_sum(counts.to(accelerator.device)).tolist()
    summed = torch.tensor(pairs).view(classes, classes)
    return Validation(
        ConfusionMatrix(classes, counts=summed), closed_count / max(1, frames_count), drawn
    )


class Share:
    """One process's samples of a split.

    All processes have equally many, so that they run the model equally often, which it waits for
    where its weights are sharded; the last may be one that another process counts.
    """

    def __init__(self, samples: int, process: int, processes: int) -> None:
        places = range(process, -(-samples // processes) * processes, processes)
        self.indices = [place % samples for place in places]
        self._left = sum(place < samples for place in places)

    def counted(self, batch: Batch) -> list[int]:
        """Which samples of the next batch count: not those that stand in for bad ones, either."""
        for message in batch.skipped:
            log.warning("bad sample skipped: %s", message)
        own = min(self._left, len(batch.samples))
        self._left -= own
        return [i for i in range(own) if not batch.stand_ins[i]]


def upsampled(logits: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Logits ``(B, C, h, w)`` at ``size`` (height, width), float32."""
    return F.interpolate(logits.float(), tuple(size), mode="bilinear", align_corners=False)
