"""The learning rate against the values of the published trainer."""

from __future__ import annotations

import pytest

from memorysam_training.schedule import Schedule

DELIVER = Schedule(steps_per_epoch=3983 // 16, epochs=200)


@pytest.mark.parametrize(
    ("step", "rate"),
    [(0, 6.0e-5), (1240, 3.3e-4), (2480, 6.0e-4), (24900, 3.3694e-4), (49799, 1.234e-6)],
)
def test_deliver_on_four_gpus(step, rate):
    assert 6e-4 * DELIVER.factor(step) == pytest.approx(rate, rel=4e-4)


def test_never_below_zero_after_the_end():
    assert DELIVER.factor(DELIVER.end + 1000) == 0.0


def test_without_warm_up_it_starts_at_full_rate():
    assert Schedule(100, 3, warmup_epochs=0).factor(0) == 1.0
