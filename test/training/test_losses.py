"""OHEM against a brute-force version, in one process."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from memorysam_core.labels import IGNORE
from memorysam_core.model import Output
from memorysam_training.losses import class_weights, iou_error, ohem_cross_entropy
from memorysam_training.recipe import Loss
from memorysam_training.step import loss_terms


def brute_force(
    logits: np.ndarray,
    labels: np.ndarray,
    confidence: float,
    share: float,
    class_weights: tuple[float, ...] = (1, 1, 1, 1, 1),
) -> float:
    """Pixel by pixel in float64."""
    losses = []
    for b, y, x in np.ndindex(labels.shape):
        if labels[b, y, x] == 255:
            continue
        row = logits[b, :, y, x].astype(np.float64)
        true = labels[b, y, x]
        loss = math.log(np.exp(row - row.max()).sum()) + row.max() - row[true]
        losses.append((loss, class_weights[true]))
    if not losses:
        return 0.0
    hard = [pair for pair in losses if pair[0] > -math.log(confidence)]
    least = max(1, int(len(losses) * share))
    if len(hard) < least:
        hard = sorted(losses, reverse=True)[:least]
    return sum(loss * weight for loss, weight in hard) / sum(weight for _, weight in hard)


@settings(max_examples=60)
@given(
    st.integers(0, 2**31),
    st.floats(0, 1),
    st.floats(0, 12),
    st.sampled_from([0.7, 0.3, 1e-4]),
    st.sampled_from([None, (1, 1, 1, 1, 1), (0.2, 3, 1, 0.5, 8)]),
)
def test_equals_brute_force(seed, ignored, sharpness, confidence, weights):
    """Sharp, right logits leave few hard pixels, so both branches are met."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 5, (2, 6, 7))
    logits = rng.normal(size=(2, 5, 6, 7)).astype(np.float32)
    logits += sharpness * (np.arange(5)[None, :, None, None] == labels[:, None])
    labels[rng.random(labels.shape) < ignored] = 255
    ours = ohem_cross_entropy(
        torch.from_numpy(logits),
        torch.from_numpy(labels),
        confidence,
        class_weights=weights and torch.tensor(weights),
    )
    theirs = brute_force(logits, labels, confidence, 1 / 16, weights or (1,) * 5)
    assert ours.item() == pytest.approx(theirs, rel=1e-4, abs=1e-6)


def test_gradient_reaches_only_the_chosen_pixels():
    logits = torch.zeros(1, 2, 1, 4)
    logits[0, 0, 0] = torch.tensor([9.0, 9.0, 9.0, -9.0])  # the last pixel is wrong, one in four
    logits.requires_grad_()
    ohem_cross_entropy(logits, torch.zeros(1, 1, 4, dtype=torch.long)).backward()
    touched = logits.grad.abs().sum(1).flatten() > 0
    assert touched.tolist() == [False, False, False, True]


def test_equal_losses_on_the_edge_share_the_rest():
    """All sixteen losses are one number below the threshold; one of them counts."""
    logits = torch.zeros(1, 2, 4, 4)
    logits[:, 0] = 5.0
    logits.requires_grad_()
    loss = ohem_cross_entropy(logits, torch.zeros(1, 4, 4, dtype=torch.long))
    assert loss.item() == pytest.approx(math.log1p(math.exp(-5)), rel=1e-5)
    loss.backward()
    assert logits.grad[0, 0].unique().numel() == 1


def test_weights_of_classes_are_those_of_torch_where_all_pixels_are_hard():
    logits, labels = torch.randn(2, 3, 4, 4), torch.randint(0, 3, (2, 4, 4))
    weights = torch.tensor([0.5, 1.0, 4.0])
    ours = ohem_cross_entropy(logits, labels, confidence=0.9999, class_weights=weights)
    torch.testing.assert_close(ours, torch.nn.functional.cross_entropy(logits, labels, weights))


def test_class_weights_by_hand():
    pixels = torch.tensor([900, 100, 0])
    assert class_weights(pixels, 0.0).tolist() == pytest.approx([1, 1, 1])
    root = class_weights(pixels, 0.5)  # the last counts as if it had one pixel
    assert (root[1] / root[0]).item() == pytest.approx(3)
    assert (root[2] / root[1]).item() == pytest.approx(10)
    assert (root * torch.tensor([900, 100, 1])).sum().item() == pytest.approx(1001)
    even = class_weights(torch.tensor([10, 30, 60]), 1.0)
    assert (even * torch.tensor([10, 30, 60])).tolist() == pytest.approx([100 / 3] * 3)


@pytest.mark.parametrize("weights", [None, torch.ones(3)])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_logits_that_are_no_numbers_give_a_loss_that_is_none(weights, share):
    """So that the run ends with an error that says so, and not with one of a division by zero."""
    labels = torch.zeros(1, 4, 4, dtype=torch.long)
    logits = torch.zeros(1, 3, 4, 4)
    logits[:, 0] = 20.0  # easy, where they are numbers
    logits.view(1, 3, -1)[..., : int(16 * share)] = torch.nan
    loss = ohem_cross_entropy(logits, labels, class_weights=weights)
    assert loss.isnan().item() == (share > 0)


def test_a_batch_without_labels_is_zero_not_nan():
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    loss = ohem_cross_entropy(logits, torch.full((2, 4, 4), 255))
    loss.backward()
    assert loss.item() == 0.0
    assert logits.grad.abs().max() == 0.0


def test_bfloat16_logits_are_judged_in_float32():
    logits = torch.randn(1, 4, 8, 8)
    labels = torch.randint(0, 4, (1, 8, 8))
    low = ohem_cross_entropy(logits.bfloat16(), labels)
    assert low.dtype == torch.float32
    assert low.item() == pytest.approx(ohem_cross_entropy(logits, labels).item(), rel=2e-2)


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_a_predicted_iou_always_takes_part_in_the_loss(weight):
    """Even with a weight of 0: DDP waits for the gradients of whatever comes out of a model."""
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    predicted = torch.randn(2, 1, 3, requires_grad=True)
    output = Output(logits, None, None, predicted)
    loss = Loss(iou_weight=weight)
    session = SimpleNamespace(
        recipe=SimpleNamespace(loss=loss), prototypes=None, class_weights=None
    )
    loss_terms(session, output, torch.zeros(1, 8, 8, dtype=torch.long))["loss"].backward()
    assert predicted.grad is not None and predicted.grad.any().item() == (weight > 0)


def test_error_of_the_predicted_iou_by_hand() -> None:
    labels = torch.tensor([[[0, 0, 1, IGNORE]]])  # classes 0 and 1 of three, four pixels
    logits = torch.zeros(1, 3, 1, 4)
    logits[0, [0, 1, 1, 2], 0, [0, 1, 2, 3]] = 5.0  # says 0, 1, 1, and 2 where it does not count
    predicted = torch.tensor([[[0.5, 0.5, 0.9]], [[0.7, 0.1, 0.0]]], requires_grad=True)
    # the true IoU of both classes is 1/2; class 2 is not there and is not asked
    expected = (0.0 + 0.0 + 0.2**2 + 0.4**2) / 4
    error = iou_error(predicted, logits, labels)
    torch.testing.assert_close(error, torch.tensor(expected))
    error.backward()
    assert predicted.grad is not None and float(predicted.grad[..., 2].abs().sum()) == 0
    assert iou_error(predicted, logits, torch.full_like(labels, IGNORE)).item() == 0
