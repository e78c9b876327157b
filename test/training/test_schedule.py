"""The learning rate against the values of the published trainer."""

from __future__ import annotations

import pytest

from memorysam_training.plan import Plan
from memorysam_training.recipe import Recipe
from memorysam_training.schedule import Schedule
from memorysam_training.session import make_schedule

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


@pytest.mark.parametrize(
    ("name", "samples", "steps"),
    [
        ("deliver_published", 3983, 248),
        ("mcubes_published", 302, 18),
        ("deliver", 3983, 249),
        ("mcubes", 302, 19),
    ],
)
def test_schedules_of_the_shipped_recipes(repository, name, samples, steps):
    """Only the published ones count fewer steps than there are; on MCubeS they end too soon."""
    recipe = Recipe.load(repository / "config" / f"train_{name}.yaml")
    plan = Plan(samples, recipe.optimiser.batch, ("image",), 0, 0.0)
    schedule = make_schedule(recipe, plan)
    assert schedule.steps_per_epoch == steps and schedule.epochs == recipe.optimiser.epochs
    last = recipe.optimiser.epochs * plan.steps_per_epoch
    idle = sum(schedule.factor(step) == 0 for step in range(last))
    assert idle == (482 if name == "mcubes_published" else 0)


def test_the_published_recipe_for_deliver_gives_the_published_rates(repository):
    recipe = Recipe.load(repository / "config" / "train_deliver_published.yaml")
    schedule = make_schedule(recipe, Plan(3983, 16, ("image",), 0, 0.0))
    assert schedule == DELIVER and recipe.optimiser.learning_rate == 6e-4
