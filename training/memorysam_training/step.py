"""One optimiser step, and the figures that are kept of it."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from memorysam_core.model import Output
from memorysam_training.attention import attention_for
from memorysam_training.augment import TrainingBatch
from memorysam_training.data.loading import Batch
from memorysam_training.losses import iou_error, ohem_cross_entropy
from memorysam_training.plan import step_seed
from memorysam_training.session import Session

log = logging.getLogger(__name__)


class TrainingError(ValueError):
    """Training cannot go on; the message says why and what to try."""


def take_step(session: Session, batches: Iterator[Batch], to_batch: TrainingBatch) -> None:
    """One optimiser step: all its forward and backward passes."""
    accelerator, progress = session.accelerator, session.progress
    session.optimisers.set_rate(session.schedule.factor(progress.step))
    session.model.train()
    torch.manual_seed(step_seed(session.recipe.run.seed, progress.step, accelerator.process_index))
    for _ in range(session.batches.per_step):
        batch = next(batches)
        progress.skipped += len(batch.skipped)
        for message in batch.skipped:
            log.warning("bad sample skipped: %s", message)
        attention = attention_for(accelerator.device, accelerator.mixed_precision == "bf16")
        with accelerator.accumulate(session.model), attention:
            frames, labels = to_batch(batch.samples, batch.draws, accelerator.device)
            output = session.model(frames)
            losses = loss_terms(session, output, labels)
            accelerator.backward(losses["loss"])
            if accelerator.sync_gradients and session.recipe.optimiser.clip:
                accelerator.clip_grad_norm_(
                    session.model.parameters(), session.recipe.optimiser.clip
                )
            session.optimisers.step()
            session.optimisers.zero_grad()
        _count(session, losses, output)
    progress.step += 1
    if session.average:
        session.average.update(session.plain_model, progress.step)


def loss_terms(session: Session, output: Output, labels: Tensor) -> dict[str, Tensor]:
    """The loss and its parts, at the size of the labels."""
    recipe = session.recipe.loss
    logits = F.interpolate(output.logits, labels.shape[1:], mode="bilinear", align_corners=False)
    terms = {
        "ohem": ohem_cross_entropy(
            logits,
            labels,
            recipe.ohem_confidence,
            recipe.ohem_least_share,
            class_weights=session.class_weights,
        )
    }
    total = terms["ohem"]
    if session.prototypes is not None:
        terms["prototype"] = session.prototypes(output.features, labels)
        total = total + recipe.prototype_weight * terms["prototype"]
    if recipe.iou_weight and output.predicted_iou is not None:
        small = F.interpolate(labels[:, None].float(), output.logits.shape[2:])[:, 0].long()
        terms["iou"] = iou_error(output.predicted_iou, output.logits, small)
        total = total + recipe.iou_weight * terms["iou"]
    elif output.predicted_iou is not None:
        # DDP waits for gradients of all that comes out of the model.
        total = total + 0 * output.predicted_iou.sum()
    return {"loss": total, **terms}


def log_window(session: Session) -> dict[str, str]:
    """Writes the means since the last line of metrics; returns them for the progress bar."""
    progress, accelerator = session.progress, session.accelerator
    steps = progress.window.pop("steps")
    seconds = progress.seconds - progress.window.pop("since")
    values = torch.tensor(list(progress.window.values()), dtype=torch.float64) / steps
    values = accelerator.reduce(values.to(torch.float32).to(accelerator.device), "mean").tolist()
    means = dict(zip(progress.window, values, strict=True))
    progress.window = {}
    if not math.isfinite(means["loss"]):
        raise TrainingError(
            f"the loss is {means['loss']} at step {progress.step}; the last checkpoint is kept. "
            "Try a lower optimiser.learning_rate, or optimiser.clip=1"
        )
    images = steps * session.recipe.optimiser.batch / session.batches.per_step
    row = {
        "step": progress.step,
        "kind": "train",
        "epoch": progress.step / session.plan.steps_per_epoch,
        **means,
        "learning_rate": session.optimisers.parts[0].param_groups[0]["lr"],
        "images_per_second": images / max(seconds, 1e-9),
        "skipped": progress.skipped,
    }
    session.folder.log(row)
    best = f"{progress.best:.3f}" if progress.best >= 0 else "-"
    rate = f"{row['images_per_second']:.1f}"
    return {"loss": f"{means['loss']:.3f}", "best_mIoU": best, "images/s": rate}


def _count(session: Session, losses: dict[str, Tensor], output: Output) -> None:
    window, progress = session.progress.window, session.progress
    window.setdefault("since", progress.seconds)
    figures = {name: float(value.detach()) for name, value in losses.items()}
    figures["closed_gates"] = float(output.closed_gates.float().mean())
    for name, value in {"steps": 1.0, **figures}.items():
        window[name] = window.get(name, 0.0) + value
