"""Does what was compiled compute what the model computes? Compilers err (see ``compiler.py``)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from memorysam_core.engines.graphs import Graph

TOLERANCE = 0.5
"""Relative difference that is taken for rounding. In bf16 it is some hundredths, or more where it
tips the choice of a mask to remember; where code is wrong, about one or not a number."""


def refuse_wrong(graph: Graph, made: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    """Raises ValueError where the results of a graph are not those of the model."""
    for got, wanted in zip(made, expected, strict=True):
        if not wanted.is_floating_point():
            continue
        scale = wanted.float().norm()
        difference = ((got.float() - wanted.float()).norm() / scale).item() if scale else 0.0
        if not difference <= TOLERANCE:  # NaN too
            raise ValueError(
                f"what PyTorch's compiler made of {graph} computes something else than the model "
                f"(relative difference {difference:.2g}); use engine eager, another precision or "
                "another release of PyTorch"
            )
