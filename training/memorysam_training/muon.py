"""Muon: momentum whose update of each matrix is made orthogonal (K. Jordan et al., 2024).

As ``torch.optim.Muon``, which works in bf16 on every device and one matrix after the other. Here a
processor works in fp32, since many compute bf16 fifty times slower, matrices of one shape are made
orthogonal together, and the processes of a distributed run share the matrices among them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from memorysam_training.processes import gathered, process_count, process_index

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic Newton-Schulz iteration, steepest at zero: singular values end at 0.7 to 1.2."""
_ITERATIONS = 5
_LEAST_NORM = 1e-7


class Muon(torch.optim.Optimizer):
    """Moves matrices: Nesterov momentum, decoupled weight decay, an orthogonal update.

    A matrix with more rows than columns moves by ``sqrt(rows / columns)`` times the learning rate.
    Raises ValueError for parameters that are no matrices.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float,
        weight_decay: float = 0.0,
        momentum: float = 0.95,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.ndim != 2:
                    raise ValueError(f"Muon moves matrices, got shape {tuple(parameter.shape)}")

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step. Parameters without a gradient stay."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            momenta = [self._momentum(p, group["momentum"]) for p in parameters]
            for parameter, update in zip(parameters, all_orthogonal(momenta), strict=True):
                rows, columns = parameter.shape
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(update, alpha=-group["lr"] * max(1.0, rows / columns) ** 0.5)
        return loss

    def _momentum(self, parameter: nn.Parameter, momentum: float) -> Tensor:
        gradient, state = parameter.grad, self.state[parameter]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        buffer = state["momentum_buffer"].lerp_(gradient, 1 - momentum)
        return torch.lerp(gradient, buffer, momentum)


def all_orthogonal(matrices: Sequence[Tensor]) -> list[Tensor]:
    """Each matrix made orthogonal, in the order given.

    A process makes its share of them and gets the others' from the other processes, so all end with
    the same; the matrices have to be equal on all.
    """
    if not matrices:
        return []
    shares = shared_out([m.shape for m in matrices], process_count())
    mine = shares[process_index()]
    made = dict(zip(mine, _by_shape([matrices[i] for i in mine]), strict=True))
    if len(shares) > 1:
        order = [i for share in shares for i in share]
        own = torch.cat([made[i].flatten() for i in mine]) if mine else matrices[0].new_zeros(0)
        parts = gathered(own).split([matrices[i].numel() for i in order])
        made = {i: part.view_as(matrices[i]) for i, part in zip(order, parts, strict=True)}
    return [made[i] for i in range(len(matrices))]


def shared_out(shapes: Sequence[torch.Size], shares: int) -> list[list[int]]:
    """The places of ``shapes``, dealt out to so many shares, those that cost most first."""
    costs = [min(shape) * shape.numel() for shape in shapes]
    dear = sorted(range(len(shapes)), key=costs.__getitem__, reverse=True)
    return [dear[first::shares] for first in range(shares)]


def _by_shape(matrices: Sequence[Tensor]) -> list[Tensor]:
    alike: dict[torch.Size, list[int]] = {}
    for place, matrix in enumerate(matrices):
        alike.setdefault(matrix.shape, []).append(place)
    made: dict[int, Tensor] = {}
    for places in alike.values():
        together = orthogonal(torch.stack([matrices[place] for place in places]))
        made.update(zip(places, together, strict=True))
    return [made[place] for place in range(len(matrices))]


def orthogonal(matrices: Tensor) -> Tensor:
    """The nearest (semi-)orthogonal matrices to ``(N, R, C)``, roughly, in the same dtype."""
    a, b, c = _COEFFICIENTS
    wide = matrices if matrices.shape[1] <= matrices.shape[2] else matrices.mT
    x = wide.to(torch.bfloat16 if matrices.is_cuda else torch.float32)
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=_LEAST_NORM)
    for _ in range(_ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x if wide is matrices else x.mT).to(matrices.dtype)
