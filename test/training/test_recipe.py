"""Recipes: what fits, what is refused and how; every shipped one loads."""

from __future__ import annotations

import pytest

from memorysam_training.recipe import Recipe
from memorysam_training.settings import SettingsError


def test_overrides_win_over_the_file_and_the_file_over_defaults(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text(
        "name: a\noptimiser:\n  learning_rate: 6e-4\n  epochs: 30\ndata:\n  size: [64, 96]\n"
    )
    recipe = Recipe.load(file, ["optimiser.epochs=50", "augment.scale=[1,2]", "data.cache="])
    assert recipe.name == "a"
    assert recipe.optimiser.learning_rate == 6e-4  # YAML reads 6e-4 as a text
    assert recipe.optimiser.epochs == 50
    assert recipe.data.size == (64, 96) and recipe.augment.scale == (1.0, 2.0)
    assert recipe.data.cache == ""
    assert recipe.optimiser.batch == Recipe().optimiser.batch


def test_round_trip_through_plain_values():
    from memorysam_training import settings

    recipe = Recipe.load(
        None,
        [
            "data.conditions=[night]",
            "loss.prototypes=paper",
            "data.representations.lidar.metres_per_level=0.5",
        ],
    )
    assert settings.build(Recipe, recipe.to_dict()) == recipe


def test_off_is_a_word_not_a_truth_value(tmp_path):
    given = tmp_path / "recipe.yaml"
    given.write_text("loss:\n  prototypes: off\n")
    assert Recipe.load(given).loss.prototypes == "off"
    assert Recipe.load(None, ["loss.prototypes=off"]).loss.prototypes == "off"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("learning_rate=1", "there is no setting learning_rate; known are name, data, model"),
        ("optimiser.lr=1", "optimiser has no setting lr; known are learning_rate, muon_rate"),
        ("optimiser.epochs=ten", "optimiser.epochs is 'ten'; give a value of type int"),
        ("optimiser.epochs=1.5", "optimiser.epochs is 1.5"),
        ("loss.prototypes=on", "accepted are off, paper, reference"),
        ("data.size=[64]", r"data.size has 1 values; give 2"),
        ("data.size=64", "data.size is 64; give a list"),
        ("data.size=[60,64]", "not in multiples of 32"),
        ("run.pictures=true", "run.pictures is True; give a value of type int"),
        ("model=nano", "model is 'nano'; give a mapping"),
        ("data.representations=lidar", "representations is 'lidar'; give a value of type dict"),
        ("seed", "no '='"),
    ],
)
def test_what_does_not_fit_is_named(override, message):
    with pytest.raises(ValueError, match=message):
        Recipe.load(None, [override])


@pytest.mark.parametrize(
    ("overrides", "fields"),
    [
        (["model.trainable=paper"], ["model.trainable", "model.weights"]),
        (["model.trainable=full", "model.rank=4"], ["model.trainable", "model.rank"]),
        (["model.trainable=code", "model.weights=w", "model.rank=0"], ["model.rank"]),
        (["optimiser.batch=10"], ["optimiser.batch", "optimiser.batch_per_process"]),
        (["optimiser.epochs=5"], ["optimiser.warmup_epochs", "optimiser.epochs"]),
        (["data.kind=mcubes", "data.conditions=[sun]"], ["data.conditions", "data.kind"]),
        (["data.representations.lidar=2"], ["data.representations.lidar"]),
        (["data.normalisation.lidar=2"], ["data.normalisation.lidar"]),
        (
            ["data.kind=mcubes", "data.representations.nir.note=x"],
            ["data.representations", "data.kind"],
        ),
        (
            ["data.depth=hha", "data.representations.depth.name=log_depth"],
            ["data.representations.depth", "data.depth"],
        ),
        (["augment.scale=[2,1]"], ["augment.scale"]),
        (["augment.early_share=0.5"], ["augment.early_size", "augment.early_share"]),
        (["augment.early_size=[64,64]"], ["augment.early_size", "augment.early_share"]),
        (["robustness.dropout=1.5"], ["robustness.dropout"]),
        (["robustness.dropout_weights.depth=0"], ["robustness.dropout_weights.depth"]),
        (["robustness.dropout_weights.depth=often"], ["robustness.dropout_weights.depth"]),
        (
            ["loss.balance=1.5"],
            ["loss.balance is 1.5; give 0 to 1"],
        ),
        (
            ["loss.prototypes=reference", "loss.prototype_distance=cosine"],
            ["loss.prototypes", "loss.prototype_distance"],
        ),
        (["loss.iou_weight=1"], ["loss.iou_weight", "model.memory_mask"]),
        (["optimiser.muon_rate=-1"], ["optimiser.muon_rate"]),
        (["optimiser.muon_decay=-1"], ["optimiser.muon_decay"]),
        (["run.validate_every=900"], ["run.validate_every", "optimiser.epochs"]),
    ],
)
def test_contradictions_name_the_fields(overrides, fields):
    base = ["model.trainable=full", "model.rank=0"] if "model.rank=0" not in overrides else []
    with pytest.raises(SettingsError) as error:
        Recipe.load(None, base + overrides)
    for field in fields:
        assert field in str(error.value)


def test_every_shipped_recipe_loads(repository):
    files = sorted((repository / "config").glob("train_*.yaml"))
    assert len(files) >= 5
    for file in files:
        recipe = Recipe.load(file, ["model.weights=somewhere.safetensors"])
        assert recipe.name == file.stem.removeprefix("train_")


def test_a_missing_recipe_says_what_to_give():
    with pytest.raises(SettingsError, match=r"nowhere.yaml: give the path"):
        Recipe.load("nowhere.yaml")
