"""From logits at stride 4 to labels and confidence at any size, a strip of rows at a time.

The full-size logits, C x H x W numbers, are never held: each strip is upsampled, reduced to its
largest class and that class's probability, and forgotten.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

STRIP_NUMBERS = 1 << 21
"""About as many logits as one strip holds."""


def labels_and_confidence(logits: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Upsample (bilinear, ``align_corners=False``), then argmax and softmax of the largest.

    Args:
        logits: ``(C, h, w)``, floating point.
        size: height and width of the result.

    Returns:
        Class ids, uint8 (int32 past 255 classes), and confidence, uint8, 255 for a probability of
        1; both ``(H, W)``.
    """
    classes, rows, _ = logits.shape
    height, width = size
    wide = classes > 255
    labels = torch.empty(size, dtype=torch.int32 if wide else torch.uint8, device=logits.device)
    confidence = torch.empty(size, dtype=torch.uint8, device=logits.device)

    upper, lower, weight = _row_weights(rows, height, logits.device)
    strip_height = max(1, STRIP_NUMBERS // (classes * width))
    for start in range(0, height, strip_height):
        strip = slice(start, min(start + strip_height, height))
        above, below = logits[:, upper[strip]].float(), logits[:, lower[strip]].float()
        mixed = torch.lerp(above, below, weight[strip, None])  # (C, strip, w)
        full = F.interpolate(
            mixed[None], size=(mixed.shape[1], width), mode="bilinear", align_corners=False
        )[0]
        best, which = full.max(dim=0)
        # softmax of the largest logit: 1 / sum(exp(logit - largest))
        probability = (full - best).exp_().sum(dim=0).reciprocal_()
        labels[strip] = which.to(labels.dtype)
        confidence[strip] = probability.mul_(255).round_().to(torch.uint8)
    return labels, confidence


def _row_weights(rows: int, height: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """For each output row, the two source rows and the share of the lower one."""
    source = (torch.arange(height, device=device) + 0.5) * (rows / height) - 0.5
    source = source.clamp(0, rows - 1)
    upper = source.floor().long()
    return upper, (upper + 1).clamp(max=rows - 1), source - upper
