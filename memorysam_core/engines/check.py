"""Does what was compiled compute what the model computes? Compilers err (see ``compiler.py``)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from memorysam_core.engines.graphs import Graph, Modules, Run, Shapes

TRIES = 3
"""Inputs that are tried. Rounding may tip the choice of a mask to remember, and then all that comes
of it is another; that happens with some inputs, and wrong code is wrong with all of them."""
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.1, torch.float16: 0.1}
"""Relative difference that is taken for rounding, by the arithmetic of the model. In 16 bits it is
some hundredths; where code is wrong, about one or not a number."""
AGREEMENT = {torch.float32: 0.9999, torch.bfloat16: 0.995, torch.float16: 0.995}
"""Least share of equal labels."""
AS_GOOD = {torch.float32: 1e-3, torch.bfloat16: 0.05, torch.float16: 0.05}
"""Part of the logits' standard deviation by which two classes differ so little that rounding
chooses between them: bf16 and fp32 label one pixel of noise in a hundred differently, and all of
these are such."""


@torch.inference_mode()
def refuse_wrong(graph: Graph, made: Run, model: Run, shapes: Shapes) -> None:
    """Raises ValueError where what was made of a graph gives other results than the model on all of
    a few inputs, or numbers that are not finite on any.
    """
    found = []
    for seed in range(TRIES):
        given = shapes.noise(graph, seed)
        found.append(max(_differences(made(*given), model(*given))))
    if not (math.isfinite(sum(found)) and min(found) <= TOLERANCE[shapes.dtype]):
        told = ", ".join(f"{difference:.2g}" for difference in found)
        raise ValueError(
            f"what was made of {graph} computes something else than the model (relative difference "
            f"{told}); use engine eager, another precision or another release of PyTorch"
        )


@torch.inference_mode()
def stays_finite(modules: Modules, frames: int) -> bool:
    """Whether frames of noise, one of each sensor, come through in the arithmetic of the model."""
    pixels, _ = modules.shapes.noise(Graph("encode", frames))
    which = torch.arange(frames, device=modules.shapes.device)
    features = modules.of(Graph("encode", frames))(pixels, which)
    _, _, finite = modules.of(Graph("sequence", frames))(*features)
    return bool(finite)


def same_labels(made: Tensor, model: Tensor, dtype: torch.dtype) -> float:
    """Share of the pixels whose label by logits ``(C, H, W)`` that were made is the model's, or is
    as good to the model.
    """
    label = made.argmax(dim=0, keepdim=True)
    lost = model.amax(dim=0) - model.gather(0, label)[0]
    return (lost <= AS_GOOD[dtype] * model.std()).double().mean().item()


def _differences(made: Sequence[Tensor], expected: Sequence[Tensor]) -> Iterator[float]:
    """Relative to what is expected, result by result; infinite where either is not finite."""
    for got, wanted in zip(made, expected, strict=True):
        if not wanted.is_floating_point():  # a gate at its threshold may fall to either side
            continue
        scale = wanted.float().norm().item()
        difference = (got.float() - wanted.float()).norm().item()
        if not (math.isfinite(scale) and math.isfinite(difference)):
            yield math.inf
        else:
            yield difference / scale if scale else math.inf if difference else 0.0
