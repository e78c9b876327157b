"""Ours computes what stock SAM 2 computes when it is run over the frames as over a video."""

from __future__ import annotations

import pytest
import torch
from stock_sam2 import add_released_lora, run_as_video, stock_model
from torch import nn

from memorysam_core.adapters import add_adapters, merge_adapters
from memorysam_core.architecture import Architecture
from memorysam_core.convert import convert_state
from memorysam_core.decoder import ClassMasks
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
    """Shift the object-score head so that the first frame's gate closes for some of the batch.

    Only that frame's scores are sure to shift alike: a closed gate changes the memory, and with it
    what later frames score.
    """
    scores = []
    hook = model.sam_mask_decoder.pred_obj_score_head.register_forward_hook(
        lambda module, args, out: scores.append(out.flatten())
    )
    run_as_video(model, frames[:1])
    hook.remove()
    model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.data.sub_(scores[0].mean())


class Recording(MemorySAM):
    """Ours, keeping what it decodes of each frame.

    A closed gate puts -1024 into a mean of float32 numbers, which then resolves no better than
    6e-5; so the frames are compared one by one, and their mean with the model's own.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__(architecture)
        self.frames: list[torch.Tensor] = []

    def _decode(self, *args: object) -> ClassMasks:
        masks = super()._decode(*args)
        self.frames.append(self._gated(masks))
        return masks


def stock_and_ours(
    size: str, version: str, gate: bool, frames: torch.Tensor, num_classes: int = 7
) -> tuple[nn.Module, Recording]:
    """Stock SAM 2 with released adapters, random weights; and ours with those weights."""
    architecture = Architecture(size, version, num_classes, object_gate=True)
    torch.manual_seed(0)  # the prompt encoder's frequencies are random and no parameter
    stock = stock_model(architecture, frames.shape[-1])
    add_released_lora(stock, rank=4)
    randomise(stock, seed=1)
    if gate:
        split_gates(stock, frames)
    else:
        stock.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.data.add_(100.0)
    released, state = convert_state(stock.state_dict())
    assert released == architecture.replace(lora_rank=4)
    ours = Recording(architecture)
    add_adapters(ours, rank=4).load_state_dict(state)
    return stock, ours.eval()


def assert_parity(
    size: str, version: str, gate: bool, frames: torch.Tensor, classes: int
) -> tuple[float, int]:
    """The largest difference of logits and the number of closed gates, after checking all."""
    stock, ours = stock_and_ours(size, version, gate, frames, classes)
    expected, features, closed = run_as_video(stock, frames)
    with torch.no_grad():
        output = ours(frames)
    difference = (torch.stack(ours.frames) - expected).abs().max().item()

    assert difference <= TOLERANCE
    assert (output.features - features).abs().max() <= TOLERANCE
    assert torch.equal(output.closed_gates, closed)
    assert closed.any() == gate and not closed.all()
    assert torch.equal(output.logits, sum(ours.frames) / len(frames))
    assert expected[~closed].std() > 0.01  # the comparison would see a difference
    return difference, int(closed.sum())


@pytest.mark.parametrize("length", [1, 2, 3, 4])
@pytest.mark.parametrize("gate", [False, True], ids=["gates_open", "some_gates_closed"])
@pytest.mark.parametrize("version", ["2.0", "2.1"])
def test_equals_stock_sam2_as_video(version: str, gate: bool, length: int) -> None:
    frames = torch.randn(length, 2, 3, 128, 128, generator=torch.Generator().manual_seed(2))
    assert_parity("nano", version, gate, frames, classes=7)


@pytest.mark.parametrize("size", ["tiny", "base_plus"])
def test_equals_released_configurations(size: str) -> None:
    frames = torch.randn(2, 2, 3, 64, 64, generator=torch.Generator().manual_seed(3))
    assert_parity(size, "2.1", True, frames, classes=5)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("version", ["2.0", "2.1"])
def test_equals_stock_sam2_at_full_size(version: str) -> None:
    frames = torch.randn(4, 2, 3, 1024, 1024, generator=torch.Generator().manual_seed(4))
    difference, closed = assert_parity("base_plus", version, True, frames, classes=25)
    print(
        f"\nHiera-B+ {version}, 4 x 1024 x 1024, batch 2, {closed} of 8 gates closed: "
        f"max |difference of logits| = {difference:.2e}"
    )


def test_gate_off_equals_stock_with_an_open_gate() -> None:
    frames = torch.randn(3, 2, 3, 64, 64, generator=torch.Generator().manual_seed(5))
    stock, gated = stock_and_ours("nano", "2.1", True, frames)
    stock.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.data.add_(100.0)
    expected, _, _ = run_as_video(stock, frames)
    free = MemorySAM(gated.architecture.replace(object_gate=False, lora_rank=0))
    free.load_state_dict(merge_adapters(gated).state_dict())
    with torch.no_grad():
        output = free.eval()(frames)
    assert (output.logits - expected.mean(0)).abs().max() <= TOLERANCE
    assert output.closed_gates.any()  # reported, though not applied
