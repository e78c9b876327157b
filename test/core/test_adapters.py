"""LoRA: counts as published, training touches only it, merging changes nothing."""

from __future__ import annotations

import pytest
import torch

from memorysam_core.adapters import add_adapters, merge_adapters, set_trainable
from memorysam_core.architecture import Architecture
from memorysam_core.checkpoint import build_model
from memorysam_core.model import MemorySAM


def adapted_nano(seed: int = 0) -> MemorySAM:
    torch.manual_seed(seed)
    model = build_model(Architecture("nano", num_classes=5, lora_rank=4)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_B." in name:
                parameter.normal_(std=0.3)
    return model


def test_counts_are_those_of_the_published_model() -> None:
    model = build_model(Architecture("base_plus", num_classes=25, lora_rank=4))
    lora = [p.numel() for n, p in model.named_parameters() if ".lora_" in n]
    assert sum(lora) == 159_488
    assert sum(p.numel() for p in model.parameters()) == 84_080_216
    assert sum(p.numel() for p in set_trainable(model, "paper")) == 14_499_697
    assert sum(p.numel() for p in set_trainable(model, "code")) == 7_192_785


def test_fresh_adapters_change_nothing_and_adapted_ones_do() -> None:
    torch.manual_seed(0)
    model = build_model(Architecture("nano", num_classes=5)).eval()
    frames = torch.randn(2, 1, 3, 64, 64)
    with torch.no_grad():
        before = model(frames).logits
        add_adapters(model, rank=4)
        assert (model(frames).logits - before).abs().max() <= 1e-6
        for name, parameter in model.named_parameters():
            if ".lora_B." in name:
                parameter.normal_(std=0.3)
        assert (model(frames).logits - before).abs().max() > 1e-3


def test_merged_and_fused_equals_unmerged() -> None:
    model, frames = adapted_nano(), torch.randn(3, 2, 3, 64, 96)
    with torch.no_grad():
        unmerged = model(frames).logits
        merged = merge_adapters(model)(frames).logits
        assert (merged - unmerged).abs().max() <= 1e-5
        assert (model.fuse()(frames).logits - unmerged).abs().max() <= 1e-5
    assert model.architecture.lora_rank == 0
    plain = build_model(Architecture("nano", num_classes=5))
    plain.load_state_dict({k: v for k, v in model.state_dict().items() if "fused_" not in k})


def test_merging_without_adapters_is_nothing() -> None:
    model = build_model(Architecture("nano", num_classes=3))
    assert merge_adapters(model) is model


def test_a_step_of_training_moves_only_the_group() -> None:
    model = adapted_nano()
    trained = set_trainable(model, "code")
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.SGD(trained, lr=0.1)
    model.train()(torch.randn(2, 1, 3, 64, 64)).logits.square().mean().backward()
    optimizer.step()
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert any(".lora_A." in name for name in moved)
    assert any(name.startswith("sam_mask_decoder.output_upscaling") for name in moved)
    for name in moved:
        assert not name.startswith(("memory_", "sam_prompt_encoder"))
        assert ".lora_" in name or "image_encoder" not in name
        assert "iou_prediction_head" not in name and "pred_obj_score_head" not in name


def test_gradients_reach_lora_and_memory_in_the_papers_group() -> None:
    model = adapted_nano()
    set_trainable(model, "paper")
    model.train()(torch.randn(3, 1, 3, 64, 64)).logits.square().mean().backward()
    for part in ("lora_A", "lora_B", "memory_attention.", "memory_encoder.", "maskmem_tpos_enc"):
        gradients = [p.grad for n, p in model.named_parameters() if part in n]
        assert any(g is not None and g.abs().sum() > 0 for g in gradients), part


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: add_adapters(m, 4), "already has adapters of rank 4"),
        (lambda m: add_adapters(merge_adapters(m), 0), "give 1 or more"),
        (lambda m: set_trainable(m, "most"), "accepted are paper, code, full, decoder"),
        (lambda m: set_trainable(merge_adapters(m), "paper"), "add them first"),
    ],
)
def test_misuse_says_what_to_do(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(adapted_nano())  # type: ignore[operator]
