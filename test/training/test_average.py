"""The moving average of weights."""

from __future__ import annotations

import torch
from torch import nn

from memorysam_training.average import WeightAverage


def model(value: float) -> nn.Linear:
    made = nn.Linear(1, 1, bias=False)
    nn.init.constant_(made.weight, value)
    return made


def test_follows_with_its_momentum_once_warm():
    one = model(0.0)
    average = WeightAverage(one, momentum=0.9)
    nn.init.constant_(one.weight, 1.0)
    average.update(one, step=1000)
    with average.applied(one):
        assert abs(one.weight.item() - 0.1) < 1e-6
    assert one.weight.item() == 1.0


def test_early_weights_are_forgotten_fast():
    one = model(0.0)
    average = WeightAverage(one, momentum=0.999)
    nn.init.constant_(one.weight, 1.0)
    average.update(one, step=1)  # momentum 2 / 11
    assert abs(average.state_dict()["weight"].item() - 9 / 11) < 1e-6


def test_frozen_parameters_are_left_alone():
    pair = nn.Sequential(model(1.0), model(2.0))
    pair[0].requires_grad_(False)
    assert WeightAverage(pair, 0.9).names == ["1.weight"]


def test_goes_back_to_a_stored_state():
    one = model(3.0)
    average = WeightAverage(one, 0.9)
    state = {k: torch.full_like(v, 7.0) for k, v in average.state_dict().items()}
    average.load_state_dict(state)
    with average.applied(one):
        assert one.weight.item() == 7.0
