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
) -> Tensor:
    """Mean cross-entropy of the hard pixels, a scalar.

    Hard are the pixels whose true class has a probability below ``confidence``; where they are
    fewer than ``least_share`` of the labelled ones, that many of the largest losses count instead.
    With several processes the choice and the mean are those of the joint batch, and gradients,
    once averaged over the processes as DDP does, are those of one process with the joint batch.

    Args:
        logits: ``(B, C, H, W)``.
        labels: class ids, integer ``(B, H, W)``; ``ignore`` is left out.

    Without any labelled pixel the loss is 0, with zero gradients.
    """
    loss = F.cross_entropy(logits.float(), labels.long(), ignore_index=ignore, reduction="none")
    valid = labels != ignore
    hard = valid & (loss.detach() > -math.log(confidence))
    counts = reduced_sum(torch.stack([valid.sum(), hard.sum()]))
    valid_count, hard_count = counts.tolist()
    if not valid_count:
        return (loss * 0).sum()
    least = int(valid_count * least_share)
    if hard_count >= max(least, 1):
        total = (loss * hard).sum()
        return total * (process_count() / hard_count)
    return _mean_of_largest(loss[valid], max(least, 1))


def _mean_of_largest(losses: Tensor, count: int) -> Tensor:
    """Mean of the ``count`` largest of all processes; those on the edge share what is left."""
    candidates = losses.detach().topk(min(count, losses.numel())).values
    edge = gathered(candidates).topk(count).values[-1]
    above, tied = losses > edge, losses == edge
    above_count, tied_count = reduced_sum(torch.stack([above.sum(), tied.sum()])).tolist()
    share = (count - above_count) / tied_count
    total = losses[above].sum() + share * losses[tied].sum()
    return total * (process_count() / count)
