"""A moving average of the weights: steadier than the last ones when steps are few."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """Follows the trained parameters with a momentum that grows up to ``momentum``."""

    def __init__(self, model: nn.Module, momentum: float) -> None:
        self.momentum = momentum
        self.names = [n for n, p in model.named_parameters() if p.requires_grad]
        self._average = [p.detach().clone() for p in self._parameters(model)]

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """After ``step`` finished steps. Early weights are forgotten fast."""
        momentum = min(self.momentum, (1 + step) / (10 + step))
        torch._foreach_lerp_(self._average, self._parameters(model), 1 - momentum)

    @contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """The model with averaged weights, for as long as the context lasts."""
        self._swap(model)
        try:
            yield
        finally:
            self._swap(model)

    def state_dict(self) -> dict[str, Tensor]:
        """The averages by parameter name."""
        return dict(zip(self.names, self._average, strict=True))

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """The inverse of :meth:`state_dict`."""
        for name, value in zip(self.names, self._average, strict=True):
            value.copy_(state[name])

    def _parameters(self, model: nn.Module) -> list[Tensor]:
        by_name = dict(model.named_parameters())
        return [by_name[name].data for name in self.names]

    @torch.no_grad()
    def _swap(self, model: nn.Module) -> None:
        for ours, theirs in zip(self._average, self._parameters(model), strict=True):
            kept = ours.clone()
            ours.copy_(theirs)
            theirs.copy_(kept)
