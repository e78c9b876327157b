"""Closed forms of the prototype memory."""

from __future__ import annotations

import pytest
import torch

from memorysam_training.prototypes import REFERENCE_SCALE, PrototypeMemory


def batch(*pixels: tuple[int, tuple[float, float]]) -> tuple[torch.Tensor, torch.Tensor]:
    """One row of pixels, each of a class and with two features."""
    labels = torch.tensor([[[label for label, _ in pixels]]])
    features = torch.tensor([feature for _, feature in pixels]).T[None, :, None]
    return features.contiguous().requires_grad_(), labels


def test_the_first_step_initialises_and_costs_nothing():
    memory = PrototypeMemory(3, features=2)
    features, labels = batch((0, (1.0, 2.0)), (0, (3.0, 4.0)), (2, (5.0, 6.0)))
    loss = memory(features, labels)
    assert loss.item() == 0.0
    assert memory.prototypes.tolist() == [[2.0, 3.0], [0.0, 0.0], [5.0, 6.0]]
    assert memory.seen.tolist() == [True, False, True]
    loss.backward()
    assert features.grad.abs().max() == 0.0


def test_two_classes_by_hand():
    memory = PrototypeMemory(2, features=2)
    memory(*batch((0, (0.0, 0.0)), (1, (1.0, 1.0))))
    features, labels = batch((0, (2.0, 0.0)), (0, (4.0, 2.0)), (1, (1.0, 5.0)), (255, (99.0, 99.0)))
    loss = memory(features, labels)
    # Local (3, 1) and (1, 5); global (0, 0) and (1, 1); squares (9 + 1) / 2 and (0 + 16) / 2.
    assert loss.item() == pytest.approx((5.0 + 8.0) / 2)
    torch.testing.assert_close(memory.prototypes, torch.tensor([[0.6, 0.2], [1.0, 1.8]]))
    loss.backward()
    # d/df of ((3 - 0)**2 + 1) / 2 / 2 with the class mean over two pixels: (3, 1) / 2 / 2 each.
    torch.testing.assert_close(features.grad[0, :, 0, 0], torch.tensor([0.75, 0.25]))
    torch.testing.assert_close(features.grad[0, :, 0, 2], torch.tensor([0.0, 2.0]))
    assert features.grad[0, :, 0, 3].abs().max() == 0


def test_absent_classes_neither_move_nor_count():
    memory = PrototypeMemory(2, features=2)
    memory(*batch((0, (2.0, 2.0)), (1, (7.0, 7.0))))
    loss = memory(*batch((0, (4.0, 4.0))))
    assert loss.item() == pytest.approx(4.0)
    torch.testing.assert_close(memory.prototypes[1], torch.tensor([7.0, 7.0]))


def test_no_labels_at_all_is_zero():
    memory = PrototypeMemory(2, features=2)
    loss = memory(*batch((255, (4.0, 4.0))))
    assert loss.item() == 0.0 and not memory.seen.any()


def test_labels_come_to_the_features_by_nearest_neighbour():
    memory = PrototypeMemory(2, features=1)
    labels = torch.zeros(1, 8, 8, dtype=torch.uint8)
    labels[:, :, 4:] = 1
    features = torch.tensor([[[[1.0, 3.0], [1.0, 3.0]]]])
    memory(features, labels)
    assert memory.prototypes.flatten().tolist() == [1.0, 3.0]


def test_cosine_distance_ignores_length():
    memory = PrototypeMemory(1, features=2, distance="cosine")
    memory(*batch((0, (1.0, 0.0))))
    assert memory(*batch((0, (10.0, 0.0)))).item() == pytest.approx(0.0, abs=1e-6)
    memory = PrototypeMemory(1, features=2, distance="cosine")
    memory(*batch((0, (1.0, 0.0))))
    assert memory(*batch((0, (0.0, 3.0)))).item() == pytest.approx(1.0)


def test_reference_mode_repeats_the_released_code():
    memory = PrototypeMemory(2, features=2, mode="reference")
    loss = memory(*batch((0, (2.0, 4.0)), (0, (4.0, 4.0))))
    # Mean (3, 4) over two pixels is divided by two again; the memory is a fifth of it; the other
    # class contributes zeros to the mean over all four numbers.
    local = torch.tensor([1.5, 2.0])
    assert loss.item() == pytest.approx(REFERENCE_SCALE * (0.8 * local).square().sum().item() / 4)
    torch.testing.assert_close(memory.prototypes[0], 0.2 * local)
    memory(*batch((1, (1.0, 1.0))))
    torch.testing.assert_close(memory.prototypes[0], 0.16 * local)  # absent: decays
