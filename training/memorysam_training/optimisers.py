"""Which optimiser moves which parameter, and how fast at each step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from memorysam_training.muon import Muon
from memorysam_training.recipe import Optimiser

EMBEDDINGS = ("embed", "token")
"""Parts of the names of tables that have two dimensions and yet are no linear maps."""
LEAST_SIDE = 8
"""A matrix with fewer rows or columns is moved as a vector is."""


@dataclass(frozen=True)
class Optimisers:
    """The optimisers of a run, each with its learning rate before the schedule."""

    parts: tuple[torch.optim.Optimizer, ...]
    rates: tuple[float, ...]

    def set_rate(self, factor: float) -> None:
        """Scales all learning rates: what the schedule says of the coming step."""
        for part, rate in zip(self.parts, self.rates, strict=True):
            for group in part.param_groups:
                group["lr"] = rate * factor

    def step(self) -> None:
        """Moves the weights."""
        for part in self.parts:
            part.step()

    def zero_grad(self) -> None:
        """Forgets the gradients."""
        for part in self.parts:
            part.zero_grad()

    @property
    def plain(self) -> list[torch.optim.Optimizer]:
        """Without what Accelerate wraps around them."""
        return [getattr(part, "optimizer", part) for part in self.parts]


def make_optimisers(model: nn.Module, settings: Optimiser) -> Optimisers:
    """AdamW for all that is trained or, with ``muon``, :class:`Muon` for the linear maps.

    Muon makes the update of a matrix orthogonal, so that all its directions are learnt equally
    fast; vectors, convolutions and embeddings keep AdamW.
    """
    trained = dict(_trained(model))
    matrices = {}
    if settings.muon_rate:
        matrices = {n: p for n, p in trained.items() if _is_linear_map(n, p)}
    rest = [p for n, p in trained.items() if n not in matrices]
    groups = [
        {"params": [p for p in rest if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in rest if p.ndim <= 1], "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW(groups, lr=settings.learning_rate)
    if not matrices:
        return Optimisers((adamw,), (settings.learning_rate,))
    muon = Muon(matrices.values(), settings.muon_rate, settings.muon_decay)
    return Optimisers((adamw, muon), (settings.learning_rate, settings.muon_rate))


def _trained(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    return ((name, p) for name, p in model.named_parameters() if p.requires_grad)


def _is_linear_map(name: str, parameter: nn.Parameter) -> bool:
    is_table = any(part in name for part in EMBEDDINGS) and "attn" not in name
    return parameter.ndim == 2 and min(parameter.shape) >= LEAST_SIDE and not is_table
