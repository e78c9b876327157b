"""OHEM cross-entropy: learn from the pixels that are still wrong (online hard example mining)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from memorysam_core.labels import IGNORE
from memorysam_training.processes import gathered, process_count, reduced_sum


def ohem_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    confidence: float = 0.7,
    least_share: float = 1 / 16,
    ignore: int = IGNORE,
    class_weights: Tensor | None = None,
) -> Tensor:
    """Mean cross-entropy of the hard pixels, a scalar.

    Hard are the pixels whose true class has a probability below ``confidence``; where they are
    fewer than ``least_share`` of the labelled ones, that many of the largest losses count instead.
    With several processes the choice and the mean are those of the joint batch, and gradients,
    once averaged over the processes as DDP does, are those of one process with the joint batch.

    Args:
        logits: ``(B, C, H, W)``.
        labels: class ids, integer ``(B, H, W)``; ``ignore`` is left out.
        class_weights: ``(C,)``, how much a pixel of each class counts in the mean, in that of
            torch's cross-entropy, too; which pixels are hard is theirs alone. None: all alike.

    Without any labelled pixel the loss is 0, with zero gradients; it is NaN where those that would
    count are.
    """
    loss = F.cross_entropy(logits.float(), labels.long(), ignore_index=ignore, reduction="none")
    valid = labels != ignore
    hard = valid & (loss.detach() > -math.log(confidence))
    counts = reduced_sum(torch.stack([valid.sum(), hard.sum()]))
    valid_count, hard_count = counts.tolist()
    if not valid_count:
        return (loss * 0).sum()
    least = max(int(valid_count * least_share), 1)
    weights = torch.ones_like(loss)
    if class_weights is not None:
        weights = class_weights.to(loss)[labels.long().masked_fill(~valid, 0)]
    if hard_count < least:
        return _mean_of_largest(loss[valid], weights[valid], least)
    return _mean(loss, weights * hard)


def iou_error(predicted: Tensor, logits: Tensor, labels: Tensor, ignore: int = IGNORE) -> Tensor:
    """Mean squared error of the IoU that each frame predicts of its class masks, a scalar.

    True is the IoU of each class that a sample holds, in its labels by all frames together: what
    a frame is to learn is which class it is worth remembering by.

    Args:
        predicted: ``(M, B, C)``.
        logits: of the sample, ``(B, C, H, W)``.
        labels: class ids, integer ``(B, H, W)``; ``ignore`` is left out.
    """
    classes, valid = logits.shape[1], (labels != ignore)[:, None]
    given = F.one_hot(labels.long().clamp(0, classes - 1), classes).permute(0, 3, 1, 2) * valid
    found = F.one_hot(logits.detach().argmax(dim=1), classes).permute(0, 3, 1, 2) * valid
    common = (given * found).sum(dim=(2, 3))  # (B, C)
    present = given.sum(dim=(2, 3))
    true = common / (present + found.sum(dim=(2, 3)) - common).clamp(min=1)
    errors = (predicted.float() - true).square() * (present > 0)
    return errors.sum() / ((present > 0).sum() * len(predicted)).clamp(min=1)


def class_weights(pixels: Tensor, power: float) -> Tensor:
    """How much a pixel of each class counts: its class's share to the power ``-power``.

    Args:
        pixels: of each class, ``(C,)``; a class without any counts as one with a single pixel.
        power: 0 to 1; with 0 all pixels count alike, with 1 all classes.

    Returns:
        float32 ``(C,)``, of mean 1 over the pixels.
    """
    pixels = pixels.double().clamp(min=1)
    share = pixels / pixels.sum()
    weights = share**-power
    return (weights / (weights * share).sum()).float()


def _mean(losses: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean over all processes, once DDP has averaged their gradients."""
    return (losses * weights).sum() * (process_count() / reduced_sum(weights.sum()))


def _mean_of_largest(losses: Tensor, weights: Tensor, count: int) -> Tensor:
    """Mean of the ``count`` largest of all processes; those on the edge share what is left."""
    candidates = losses.detach().topk(min(count, losses.numel())).values
    edge = gathered(candidates).topk(count).values[-1]
    above, tied = losses > edge, losses == edge
    above_count, tied_count = reduced_sum(torch.stack([above.sum(), tied.sum()])).tolist()
    if not tied_count:  # among the largest is one that is no number
        return losses.sum() * math.nan
    share = (count - above_count) / tied_count
    return _mean(losses, weights * (above + share * tied))
