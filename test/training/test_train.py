"""Whole runs of the smallest model on miniature trees."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time

import miniatures
import pytest
import torch
from accelerate.state import AcceleratorState, GradientState
from safetensors.torch import load_file

from memorysam_core.architecture import Architecture
from memorysam_core.checkpoint import build_model, load_checkpoint, read_header, save_checkpoint
from memorysam_core.contract import InputContract, deliver_modalities, mcubes_modalities
from memorysam_core.labels import DELIVER, MCUBES
from memorysam_training import train as training
from memorysam_training.recipe import Recipe
from memorysam_training.runs import read_metrics
from memorysam_training.settings import SettingsError

SMALL = [
    "model.size=nano",
    "data.size=[64,64]",
    "optimiser.batch=2",
    "optimiser.batch_per_process=1",
    "optimiser.epochs=3",
    "optimiser.warmup_epochs=1",
    "run.workers=0",
    "run.log_every=1",
    "run.save_every=1",
    "run.pictures=1",
    "run.validate_every=1",
    "augment.early_size=[32,32]",
    "augment.early_share=0.5",
]
SCRATCH = ["model.trainable=full", "model.rank=0", "data.depth=log_depth"]


@pytest.fixture(autouse=True)
def _fresh_engine():
    """Accelerate keeps one state in a process; every run here wants its own."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return miniatures.deliver(tmp_path_factory.mktemp("data") / "DELIVER", size=(64, 64))


def recipe(tree, folder, *overrides):
    settings = [*SMALL, *SCRATCH, f"data.root={tree}", f"run.folder={folder}", *overrides]
    return Recipe.load(None, settings)


def losses(folder):
    return [(r["step"], r["loss"]) for r in read_metrics(folder / "metrics.jsonl") if "loss" in r]


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


def test_resume_continues_bit_for_bit(tree, tmp_path, monkeypatch):
    options = ["loss.prototypes=paper", "optimiser.average=0.9", "robustness.dropout=0.5"]
    options.append("optimiser.muon_rate=0.02")
    training.train(recipe(tree, tmp_path / "whole", *options))

    real, calls = training.take_step, []

    def interrupted_step(*args):
        real(*args)
        calls.append(1)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(training, "take_step", interrupted_step)
    cut = training.train(recipe(tree, tmp_path / "cut", *options))
    assert not cut.complete and cut.step == 2
    monkeypatch.setattr(training, "take_step", real)
    rest = training.train(recipe(tree, tmp_path / "cut", *options), resume=True)
    assert rest.complete

    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
    ours, theirs = (
        load_checkpoint(tmp_path / name / "checkpoints" / "last.safetensors").state
        for name in ("cut", "whole")
    )
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_a_second_run_does_not_overwrite_the_first(tree, tmp_path):
    settings = ["optimiser.epochs=1", "run.validate_every=1"]
    training.train(recipe(tree, tmp_path, *settings))
    with pytest.raises(SettingsError, match="--resume"):
        training.train(recipe(tree, tmp_path, *settings))
    with pytest.raises(SettingsError, match="another 'model'"):
        training.train(recipe(tree, tmp_path, "model.memory_mask=constant"), resume=True)
    with pytest.raises(SettingsError, match="no .*last.pt to resume"):
        training.train(recipe(tree, tmp_path / "new"), resume=True)


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
    assert header.architecture.object_gate == published.model.object_gate
    if published.model.trainable == "code":
        assert _unchanged(start, tmp_path / "run", "memory_attention.")
    else:
        assert not _unchanged(start, tmp_path / "run", "memory_attention.")


def _unchanged(start, folder, prefix):
    before = load_checkpoint(start).state
    after = load_checkpoint(folder / "checkpoints" / "last.safetensors").state
    return all(torch.equal(before[k], after[k]) for k in before if k.startswith(prefix))


@pytest.mark.slow
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
                "run.precision=bf16", "run.log_every=20", "model.memory_mask=confidence",
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


@pytest.mark.slow
def test_ten_kills_leave_no_trace(tree, tmp_path):
    """Killed ten times at random moments and resumed, a run gives the same metrics and weights."""
    settings = [*SMALL, *SCRATCH, f"data.root={tree}", "optimiser.epochs=16"]
    file = tmp_path / "recipe.yaml"
    file.write_text("name: killed\n")
    training.train(Recipe.load(file, [*settings, f"run.folder={tmp_path / 'whole'}"]))

    folder = tmp_path / "killed"
    program = "import sys; from memorysam_core.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "train", str(file), *settings]
    command.append(f"run.folder={folder}")
    chance, kills = random.Random(0), 0
    while True:
        resume = ["--resume"] if (folder / "checkpoints" / "last.pt").exists() else []
        process = subprocess.Popen(command + resume, stderr=subprocess.DEVNULL)
        if kills < 10:
            _wait_for_steps(process, folder, chance.randint(1, 3))
            time.sleep(chance.random())
            if process.poll() is None:
                process.kill()
                kills += 1
            process.wait()
        elif process.wait() == 0:
            break
    assert kills == 10
    assert losses(folder) == losses(tmp_path / "whole")
    assert not [p for p in folder.rglob("*.safetensors") if not load_checkpoint(p).state]


def _wait_for_steps(process, folder, count):
    file = folder / "metrics.jsonl"
    start = file.stat().st_mtime_ns if file.exists() else 0
    seen = 0
    while process.poll() is None and seen < count:
        time.sleep(0.02)
        now = file.stat().st_mtime_ns if file.exists() else 0
        seen += now != start
        start = now
