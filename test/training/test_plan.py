"""Batches: every sample, every subset, and no dependence on what was drawn before."""

from __future__ import annotations

import pytest

from memorysam_training.plan import MicroBatches, Plan

NAMES = ("image", "depth", "event", "lidar")


def plan(**changes):
    return Plan(
        **{"samples": 10, "batch": 4, "modalities": NAMES, "seed": 5, "dropout": 0.5} | changes
    )


def test_an_epoch_sees_every_sample():
    steps = plan().steps_per_epoch
    assert steps == 3
    for epoch in range(3):
        seen = [d.index for s in range(steps) for d in plan().step(epoch * steps + s)]
        assert len(seen) == 12 and set(seen) == set(range(10))
    assert [d.index for d in plan().step(0)] != [d.index for d in plan().step(3)]


def test_dropout_gives_every_subset_and_keeps_the_order():
    subsets, full = set(), 0
    for step in range(400):
        draws = plan().step(step)
        assert len({len(d.modalities) for d in draws}) == 1  # one length in a step
        full += len(draws[0].modalities) == 4
        for draw in draws:
            assert draw.modalities == tuple(n for n in NAMES if n in draw.modalities)
            subsets.add(draw.modalities)
    assert len(subsets) == 15 and () not in subsets
    assert 150 < full < 250


def test_a_weight_makes_a_sensor_be_left_out_more_often():
    def share(weights, sensor="depth", length=3):
        draws = [d for s in range(4000) for d in plan(dropout_weights=weights).step(s)]
        draws = [d for d in draws if len(d.modalities) == length]
        assert all(d.modalities == tuple(n for n in NAMES if n in d.modalities) for d in draws)
        return sum(sensor not in d.modalities for d in draws) / len(draws)

    assert share({}) == pytest.approx(1 / 4, abs=0.03)
    assert share({"image": 1.0}) == pytest.approx(1 / 4, abs=0.03)
    assert share({"depth": 3.0}) == pytest.approx(3 / 6, abs=0.03)
    assert share({"depth": 3.0}, "lidar") == pytest.approx(1 / 6, abs=0.03)
    # of two that are left out, depth is the first, or the second after one of the others
    assert share({"depth": 3.0}, length=2) == pytest.approx(3 / 6 + 3 / 6 * 3 / 5, abs=0.03)


def test_without_dropout_all_sensors_are_there():
    assert all(d.modalities == NAMES for s in range(50) for d in plan(dropout=0.0).step(s))


def test_processes_share_the_same_joint_batch():
    alone = [d for part in MicroBatches(plan(), 2, 0, 1, start=0, stop=2) for d in part]
    shares = [list(MicroBatches(plan(), 1, r, 2, start=0, stop=2)) for r in (0, 1)]
    together = [d for a, b in zip(*shares, strict=True) for d in a + b]
    assert together == alone


def test_starting_later_gives_the_same_steps():
    whole = list(MicroBatches(plan(), 2, 0, 1, start=0, stop=9))
    rest = list(MicroBatches(plan(), 2, 0, 1, start=4, stop=9))
    assert whole[8:] == rest


def test_batches_that_cannot_be_shared_are_refused():
    with pytest.raises(ValueError, match="optimiser.batch is 4"):
        MicroBatches(plan(), 3, 0, 1, 0, 1)
