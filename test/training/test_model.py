"""The model that a recipe trains."""

from __future__ import annotations

import torch

from memorysam_training.model import make_model, recompute_activations
from memorysam_training.recipe import Model, Recipe


def test_dropout_inside_the_memory_attention_is_a_setting() -> None:
    frames = torch.randn(2, 1, 3, 64, 64)
    chances = {}
    for share in (0.0, 0.1):
        torch.manual_seed(0)
        settings = Model("nano", trainable="full", rank=0, memory_dropout=share)
        model = make_model(settings, num_classes=4).train()
        with torch.no_grad():
            first, second = model(frames).logits, model(frames).logits
        chances[share] = float((first - second).abs().max())
    assert chances[0.0] == 0 < chances[0.1]


def test_gradients_are_equal_with_and_without_recomputed_activations() -> None:
    frames = torch.randn(3, 2, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    gradients, kept = [], []
    for recompute in (False, True):
        torch.manual_seed(0)
        model = make_model(Model("nano", trainable="full", rank=0), num_classes=4).train()
        if recompute:
            recompute_activations(model)
        bytes_kept = 0

        def count(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal bytes_kept
            bytes_kept += tensor.nbytes
            return tensor

        torch.manual_seed(2)  # of the dropout inside the memory attention
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            loss = model(frames).logits.square().mean()
        loss.backward()
        kept.append(bytes_kept)
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    without, with_ = gradients
    assert without.keys() == with_.keys() and len(without) > 200
    for name, gradient in without.items():
        torch.testing.assert_close(with_[name], gradient, rtol=1e-4, atol=1e-7, msg=name)
    assert kept[1] < 0.6 * kept[0]


def test_the_default_memory_mask_is_that_of_our_recipes(repository) -> None:
    masks = {
        file.stem: Recipe.load(file).model.memory_mask
        for file in (repository / "config").glob("train_*.yaml")
    }
    ours = {mask for name, mask in masks.items() if not name.endswith("published")}
    assert ours == {Model("nano", trainable="full", rank=0).memory_mask} == {"confidence"}
    assert Recipe().model.memory_mask == "confidence"
