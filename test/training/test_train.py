"""Whole runs of the smallest model on miniature trees."""

from __future__ import annotations

import json
import shutil

import miniatures
import pytest
import torch
from safetensors.torch import load_file
from small_runs import SCRATCH, SMALL, recipe, validations

from memorysam_core.architecture import Architecture
from memorysam_core.checkpoint import build_model, load_checkpoint, read_header, save_checkpoint
from memorysam_core.contract import InputContract, deliver_modalities, mcubes_modalities
from memorysam_core.labels import DELIVER, MCUBES
from memorysam_training import session
from memorysam_training import train as training
from memorysam_training.data.deliver import Deliver
from memorysam_training.data.samples import DataError
from memorysam_training.recipe import Recipe
from memorysam_training.runs import read_metrics
from memorysam_training.step import TrainingError, take_step

pytestmark = pytest.mark.usefixtures("fresh_engine")


def test_a_run_leaves_everything_behind(tree, tmp_path):
    folder = tmp_path / "run"
    progress = training.train(recipe(tree, folder, "loss.prototypes=paper"), command="memorysam x")
    assert progress.complete and progress.step == 6
    for name in ("recipe.yaml", "metrics.jsonl", "curves.png", "predictions.png"):
        assert (folder / name).stat().st_size > 100
    assert list((folder / "tensorboard").iterdir())
    assert not list(folder.rglob("*.tmp"))
    rows = read_metrics(folder / "metrics.jsonl")
    assert [r["step"] for r in rows if r["kind"] == "train"] == [1, 2, 3, 4, 5, 6]
    steps = [r for r in rows if r["kind"] == "train"]
    assert all(r["loss"] == pytest.approx(r["ohem"] + r["prototype"], rel=1e-5) for r in steps)
    assert rows[-1]["kind"] == "val" and 0 <= rows[-1]["miou"] <= 1
    assert Recipe.load(folder / "recipe.yaml") == recipe(tree, folder, "loss.prototypes=paper")

    header = read_header(folder / "checkpoints" / "best.safetensors")
    assert header.contract.names == ("image", "depth", "event", "lidar")
    assert header.contract.provenance["command"] == "memorysam x"
    best = max((r for r in rows if r["kind"] == "val"), key=lambda row: row["miou"])
    assert header.contract.provenance["steps"] == best["step"]
    model = load_checkpoint(folder / "checkpoints" / "last.safetensors").build()
    assert torch.isfinite(model(torch.zeros(1, 1, 3, 64, 64)).logits).all()


def test_a_loss_that_is_not_finite_ends_the_run_before_it_is_saved(tree, tmp_path, monkeypatch):
    """At once, and not when the next line of metrics is due."""

    def diverging_step(session, *rest):
        take_step(session, *rest)
        if session.progress.step == 2:
            session.progress.window["loss"] = float("nan")

    monkeypatch.setattr(training, "take_step", diverging_step)
    with pytest.raises(TrainingError, match="loss is NaN or infinite at step 2"):
        training.train(recipe(tree, tmp_path, "run.log_every=100"))
    assert torch.load(tmp_path / "checkpoints" / "last.pt")["progress"]["step"] == 1


@pytest.mark.parametrize("save_every", [1, 100], ids=["checkpoint", "validation"])
def test_weights_that_are_not_finite_are_never_saved(tree, tmp_path, save_every, monkeypatch):
    """The loss of the step that broke them was finite."""

    def breaking_step(session, *rest):
        take_step(session, *rest)
        next(session.model.parameters()).data[0] = float("nan")

    monkeypatch.setattr(training, "take_step", breaking_step)
    with pytest.raises(TrainingError, match=f"after step {min(2, save_every)} weights are NaN"):
        training.train(recipe(tree, tmp_path, f"run.save_every={save_every}"))
    assert not list((tmp_path / "checkpoints").iterdir())


def test_the_sequence_is_in_the_order_of_the_recipe(tree, tmp_path, monkeypatch):
    """The contract tells the node the same order that the model was trained in."""
    seen = []

    def noting_step(session, batches, to_batch):
        def noted():
            for batch in batches:
                seen.extend(draw.modalities for draw in batch.draws)
                yield batch

        take_step(session, noted(), to_batch)

    monkeypatch.setattr(training, "take_step", noting_step)
    options = ["data.modalities=[lidar,image]", "robustness.dropout=0", "optimiser.epochs=1"]
    training.train(recipe(tree, tmp_path, *options))
    header = read_header(tmp_path / "checkpoints" / "last.safetensors")
    assert header.contract.names == ("lidar", "image") and set(seen) == {("lidar", "image")}


def test_bad_validation_samples_are_left_out_not_counted_twice(tmp_path, caplog):
    tree = miniatures.deliver(tmp_path / "tree", size=(64, 64))
    next((tree / "lidar").glob("*/val/*/*.png")).write_text("broken")
    options = ["optimiser.epochs=1", "data.on_bad_sample=skip"]
    training.train(recipe(tree, tmp_path / "run", *options))
    (row,) = validations(tmp_path / "run")
    assert row["pixels"] == 3 * 64 * 64
    assert any("bad sample skipped" in message for message in caplog.messages)


def test_validation_data_without_a_sensor_is_refused_at_once(tree, tmp_path, monkeypatch):
    bare = tmp_path / "bare"
    shutil.copytree(tree, bare, ignore=shutil.ignore_patterns("lidar"))
    roots = {"train": tree, "val": bare}
    monkeypatch.setattr(session, "open_data", lambda data, split: Deliver(roots[split], split))
    with pytest.raises(DataError, match="no modality lidar; it has image, depth, event"):
        training.train(recipe(tree, tmp_path / "run"))


def test_a_weight_of_a_sensor_that_is_not_there_is_refused(tree, tmp_path):
    weights = "robustness.dropout_weights.radar=2"
    with pytest.raises(DataError, match="robustness.dropout_weights.radar: there is no such"):
        training.train(recipe(tree, tmp_path / "run", weights))


def test_a_recipe_for_four_sensors_serves_with_some_of_them(tree, tmp_path, repository):
    overrides = [
        *SMALL, f"data.root={tree}", "data.cache=", "data.modalities=[image,lidar]",
        f"run.folder={tmp_path / 'run'}", "optimiser.epochs=1", "run.validate_every=1",
    ]  # fmt: skip
    given = Recipe.load(repository / "config" / "train_sim_nano.yaml", overrides)
    contract = session.setup(given).contract
    assert contract.names == ("image", "lidar")
    assert contract.modality("lidar").std == (0.05, 0.05, 0.05)


@pytest.mark.parametrize(
    "name", ["deliver", "deliver_published", "mcubes", "mcubes_published", "sim_nano"]
)
def test_shipped_recipes_run_on_miniatures(name, tree, tmp_path, repository):
    """As they are, but for the size of everything."""
    mcubes = name.startswith("mcubes")
    root = miniatures.mcubes(tmp_path / "multimodal_dataset") if mcubes else tree
    space = MCUBES if mcubes else DELIVER
    modalities = mcubes_modalities() if mcubes else deliver_modalities()
    start = tmp_path / "start.safetensors"
    architecture = Architecture(size="nano", num_classes=len(space))
    save_checkpoint(start, build_model(architecture), InputContract(modalities, space, (64, 64)))
    published = Recipe.load(repository / "config" / f"train_{name}.yaml")
    weights = f"model.weights={start}" if published.model.weights else "model.weights="
    overrides = [
        *SMALL, weights, f"data.root={root}", "data.cache=", f"run.folder={tmp_path / 'run'}",
        "optimiser.epochs=1", "optimiser.warmup_epochs=0", "run.validate_every=1",
    ]  # fmt: skip
    progress = training.train(Recipe.load(repository / "config" / f"train_{name}.yaml", overrides))
    assert progress.complete and progress.best >= 0
    best = tmp_path / "run" / "checkpoints" / "best.safetensors"
    header = read_header(best)
    assert header.architecture.lora_rank == 0  # merged
    stored = {v.dtype for v in load_file(best).values() if v.is_floating_point()}
    assert stored == {torch.float16 if published.run.stored == "fp16" else torch.float32}
    assert header.architecture.object_gate == name.endswith("_published")
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert all(0 <= row["closed_gates"] <= 1 for row in rows) and rows
    if published.model.trainable == "code":
        assert _unchanged(start, tmp_path / "run", "memory_attention.")
    else:
        assert not _unchanged(start, tmp_path / "run", "memory_attention.")


def _unchanged(start, folder, prefix):
    before = load_checkpoint(start).state
    after = load_checkpoint(folder / "checkpoints" / "last.safetensors").state
    return all(torch.equal(before[k], after[k]) for k in before if k.startswith(prefix))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_overfits_the_ten_delivered_scenes(shared_data, tmp_path):
    """Loaders, labels and model together: over 95 % of the pixels of ten real scenes are learnt."""
    root = _as_train_and_val(shared_data / "deliver_like" / "DELIVER", tmp_path / "DELIVER")
    progress = training.train(
        Recipe.load(
            None,
            [
                *SCRATCH, "model.size=nano", f"data.root={root}", f"run.folder={tmp_path / 'run'}",
                f"data.cache={tmp_path}", "data.size=[128,128]", "augment.scale=[1,1]",
                "augment.flip=0", "augment.jitter=0", "augment.blur=0", "robustness.dropout=0",
                "optimiser.learning_rate=1e-3", "optimiser.batch=5",
                "optimiser.batch_per_process=5", "optimiser.epochs=200", "optimiser.clip=1",
                "optimiser.warmup_epochs=5", "run.validate_every=20", "run.workers=0",
                "run.precision=auto", "run.log_every=20", "model.memory_mask=confidence",
            ],
        )
    )  # fmt: skip
    assert progress.complete
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    accuracy = max(r["accuracy"] for r in rows if r["kind"] == "val")
    print(json.dumps(rows[-1]))
    assert accuracy > 0.95


def _as_train_and_val(source, target):
    for folder in source.iterdir():
        sequence = next(folder.glob("*/test/*"))
        for split in ("train", "val"):
            place = target / folder.name / "sun" / split
            place.mkdir(parents=True)
            (place / sequence.name).symlink_to(sequence)
    return target
