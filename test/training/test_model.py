"""The model that a recipe trains."""

from __future__ import annotations

import torch

from memorysam_training.model import make_model
from memorysam_training.recipe import Model


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
