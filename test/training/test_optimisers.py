"""Which optimiser moves what, and the rates that the schedule gives."""

from __future__ import annotations

import pytest
import torch

from memorysam_core.architecture import Architecture
from memorysam_core.checkpoint import build_model
from memorysam_training.muon import Muon, shared_out
from memorysam_training.optimisers import make_optimisers
from memorysam_training.recipe import Optimiser


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    return build_model(Architecture("nano", num_classes=5, memory_mask="constant"))


def test_without_a_rate_for_muon_adamw_moves_everything(model: torch.nn.Module) -> None:
    optimisers = make_optimisers(model, Optimiser())
    (adamw,) = optimisers.parts
    assert isinstance(adamw, torch.optim.AdamW)
    decayed, others = adamw.param_groups
    assert decayed["weight_decay"] == 0.01 and others["weight_decay"] == 0
    assert all(p.ndim > 1 for p in decayed["params"])
    assert all(p.ndim <= 1 for p in others["params"])
    every = sum(p.numel() for group in adamw.param_groups for p in group["params"])
    assert every == sum(p.numel() for p in model.parameters() if p.requires_grad)


def test_muon_moves_linear_maps_and_adamw_the_rest(model: torch.nn.Module) -> None:
    optimisers = make_optimisers(model, Optimiser(learning_rate=1e-3, muon_rate=0.02))
    adamw, muon = optimisers.parts
    names = {id(p): name for name, p in model.named_parameters()}
    by_muon = {names[id(p)] for group in muon.param_groups for p in group["params"]}
    by_adamw = {names[id(p)] for group in adamw.param_groups for p in group["params"]}
    assert by_muon | by_adamw == {n for n, p in model.named_parameters() if p.requires_grad}
    assert not by_muon & by_adamw
    assert "image_encoder.trunk.blocks.3.mlp.layers.0.weight" in by_muon
    attention = "sam_mask_decoder.transformer.layers.0.cross_attn_token_to_image.q_proj.weight"
    assert attention in by_muon
    for table in ("mask_tokens.weight", "conv_s0.weight"):
        assert f"sam_mask_decoder.{table}" in by_adamw
    optimisers.set_rate(0.5)
    assert [group["lr"] for group in adamw.param_groups] == [5e-4, 5e-4]
    assert muon.param_groups[0]["lr"] == 0.01


def test_muon_moves_all_directions_of_a_matrix_alike() -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(16, 16, bias=False)
    before = layer.weight.detach().clone()
    optimisers = make_optimisers(layer, Optimiser(muon_rate=0.1, muon_decay=0.0))
    # a gradient whose directions differ in strength by a factor of ten
    left, _, right = torch.linalg.svd(torch.randn(16, 16))
    layer.weight.grad = left @ torch.diag(torch.linspace(0.1, 1, 16)) @ right
    optimisers.step()
    strengths = torch.linalg.svdvals(before - layer.weight.detach()) / 0.1
    assert strengths.min() > 0.6 and strengths.max() < 1.3
    optimisers.zero_grad()
    assert layer.weight.grad is None


def test_muon_moves_as_torchs_does_but_for_its_bf16() -> None:
    torch.manual_seed(1)
    start = [torch.randn(shape) for shape in ((12, 30), (30, 12), (12, 30), (16, 16))]
    ours, theirs = ([torch.nn.Parameter(w.clone()) for w in start] for _ in range(2))
    optimisers = (
        Muon(ours, lr=0.1, weight_decay=0.3),
        torch.optim.Muon(theirs, lr=0.1, weight_decay=0.3),
    )
    for _ in range(3):
        for one, other in zip(ours[:3], theirs[:3], strict=True):  # the last has no gradient
            one.grad = torch.randn_like(one)
            other.grad = one.grad.clone()
        for optimiser in optimisers:
            optimiser.step()
    for begun, one, other in zip(start, ours, theirs, strict=True):
        moved = (other - begun).norm()
        assert (one - other).norm() <= 0.01 * moved
    assert torch.equal(ours[3], start[3])


def test_the_dearest_matrices_are_dealt_out_first() -> None:
    shapes = [torch.Size(s) for s in ((8, 8), (512, 128), (8, 32), (128, 512), (64, 64))]
    assert shared_out(shapes, 2) == [[1, 4, 0], [3, 2]]
    assert shared_out(shapes[:1], 2) == [[0], []]


def test_muon_refuses_what_is_no_matrix() -> None:
    with pytest.raises(ValueError, match=r"matrices, got shape \(3,\)"):
        Muon([torch.nn.Parameter(torch.zeros(3))], lr=0.1)
