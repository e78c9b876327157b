"""Ours computes what stock SAM 2 computes when it is run over the frames as over a video."""

from __future__ import annotations

import pytest
import torch
from stock_sam2 import add_released_lora, run_as_video, stock_model
from torch import nn

from memorysam_core.architecture import Architecture
from memorysam_core.convert import convert_state
from memorysam_core.model import MemorySAM

TOLERANCE = 1e-5


def randomise(model: nn.Module, seed: int) -> None:
    """Random weights at which every part, zero-initialised ones too, leaves a mark."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if parameter.ndim < 2 and "embed" not in name:
            noise = torch.randn(parameter.shape, generator=generator) * 0.05
            parameter.data.add_(noise)
        else:
            scale = parameter.shape[-1] ** -0.5 * 0.5 if parameter.ndim == 2 else 0.05
            parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * scale)


def split_gates(model: nn.Module, frames: torch.Tensor) -> None:
    """Shift the object-score head so that about half of all frames have a closed gate."""
    scores = []
    hook = model.sam_mask_decoder.pred_obj_score_head.register_forward_hook(
        lambda module, args, out: scores.append(out.flatten())
    )
    run_as_video(model, frames)
    hook.remove()
    median = torch.cat(scores).median()
    model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.data.sub_(median + 1e-4)


def stock_and_ours(
    size: str, version: str, gate: bool, frames: torch.Tensor, num_classes: int = 7
) -> tuple[nn.Module, MemorySAM]:
    architecture = Architecture(size, version, num_classes, object_gate=True)
    stock = stock_model(architecture, frames.shape[-1])
    add_released_lora(stock, rank=4)
    randomise(stock, seed=1)
    if gate:
        split_gates(stock, frames)
    else:
        stock.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.data.add_(100.0)
    released, state = convert_state(stock.state_dict())
    assert released == architecture.replace(lora_rank=4)
    ours = MemorySAM(architecture)
    from memorysam_core.adapters import add_adapters

    add_adapters(ours, rank=4).load_state_dict(state)
    return stock, ours.eval()


@pytest.mark.parametrize("length", [1, 2, 3, 4])
@pytest.mark.parametrize("gate", [False, True], ids=["gate_open", "some_gates_closed"])
@pytest.mark.parametrize("version", ["2.0", "2.1"])
def test_equals_stock_sam2_as_video(version: str, gate: bool, length: int) -> None:
    frames = torch.randn(length, 2, 3, 128, 128, generator=torch.Generator().manual_seed(2))
    stock, ours = stock_and_ours("nano", version, gate, frames)
    expected, features, closed = run_as_video(stock, frames)
    with torch.no_grad():
        output = ours(frames)

    assert (output.logits - expected).abs().max() <= TOLERANCE
    assert (output.features - features).abs().max() <= TOLERANCE
    assert torch.equal(output.closed_gates, closed)
    assert closed.any() == gate
    assert expected.std() > 0.01  # the comparison would see a difference
