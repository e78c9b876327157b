"""The Semantic Prototype Memory Module (SPMM) of MemorySAM, used in training only.

A *local* prototype is the mean feature of a class's pixels in the joint batch of all processes; a
*global* one follows it with momentum. The prototypical adaptation loss draws the two together.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from memorysam_core.labels import IGNORE
from memorysam_training.processes import reduced_sum_with_gradient

Mode = Literal["paper", "reference"]
Distance = Literal["squared", "cosine"]

REFERENCE_SCALE = 65536.0
"""The released code multiplies its loss by this (256 * 256)."""


class PrototypeMemory(nn.Module):
    """Global prototypes ``(C, D)`` as buffers of the training state; called, it gives the loss.

    ``paper``: the mean over the batch's classes of the distance between local and global prototype,
    before the global ones move; a class seen for the first time starts at its local prototype.

    ``reference`` repeats the released code for comparison: the class mean is divided by the number
    of its pixels once more, prototypes start at zero, all classes move before the distance is
    taken (absent ones towards zero), the mean runs over all classes, times 65,536, and every
    process has a memory of its own.
    """

    prototypes: Tensor
    seen: Tensor

    def __init__(
        self,
        num_classes: int,
        features: int = 32,
        mode: Mode = "paper",
        momentum: float = 0.8,
        distance: Distance = "squared",
    ) -> None:
        super().__init__()
        self.mode = mode
        self.momentum = momentum
        self.distance = distance
        self.register_buffer("prototypes", torch.zeros(num_classes, features))
        self.register_buffer("seen", torch.zeros(num_classes, dtype=torch.bool))

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """The prototypical adaptation loss, a scalar, and one step of the global prototypes.

        Args:
            features: ``(B, D, h, w)``.
            labels: class ids ``(B, H, W)``, brought to ``(h, w)`` by nearest neighbour; 255 is
                left out.
        """
        sums, counts = self._class_sums(features.float(), labels)
        if self.mode == "reference":
            return self._reference_loss(sums, counts)
        joint = reduced_sum_with_gradient(torch.cat([sums, counts[:, None]], dim=1))
        sums, counts = joint[:, :-1], joint[:, -1].detach()
        return self._paper_loss(sums / counts.clamp(min=1)[:, None], counts > 0)

    def _class_sums(self, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        near = F.interpolate(labels[:, None].float(), size=features.shape[2:], mode="nearest")
        ids = near.long().flatten()  # (B*h*w,)
        valid = ids != IGNORE
        pixels = features.permute(0, 2, 3, 1).flatten(0, 2)[valid]  # (N, D)
        sums = torch.zeros_like(self.prototypes).index_add(0, ids[valid], pixels)
        counts = torch.bincount(ids[valid], minlength=len(self.prototypes)).to(sums.dtype)
        return sums, counts

    def _paper_loss(self, local: Tensor, present: Tensor) -> Tensor:
        first = present & ~self.seen
        target = torch.where(first[:, None], local.detach(), self.prototypes)
        if self.distance == "cosine":
            apart = 1 - F.cosine_similarity(local, target, dim=1)
        else:
            apart = (local - target).square().mean(dim=1)
        loss = (apart * present).sum() / present.sum().clamp(min=1)
        moved = torch.lerp(local.detach(), target, self.momentum)
        self.prototypes.copy_(torch.where(present[:, None], moved, self.prototypes))
        self.seen |= present
        return loss

    def _reference_loss(self, sums: Tensor, counts: Tensor) -> Tensor:
        local = sums / counts.clamp(min=1).square()[:, None]
        self.prototypes.copy_(torch.lerp(local.detach(), self.prototypes, self.momentum))
        self.seen |= counts > 0
        return F.mse_loss(local, self.prototypes) * REFERENCE_SCALE
