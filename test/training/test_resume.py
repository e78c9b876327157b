"""Runs that are interrupted, killed and taken up again."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time

import miniatures
import numpy as np
import pytest
import torch
from PIL import Image
from small_runs import command, losses, recipe, settings, validations

from memorysam_core.checkpoint import load_checkpoint
from memorysam_core.cli import main
from memorysam_training import train as training
from memorysam_training import validation
from memorysam_training.plan import Plan
from memorysam_training.recipe import Recipe
from memorysam_training.runs import RunFolder, read_metrics
from memorysam_training.settings import SettingsError

pytestmark = pytest.mark.usefixtures("fresh_engine")


def cut_after(steps, monkeypatch):
    """Ctrl-C in the middle of that step."""
    real, calls = training.take_step, []

    def interrupted_step(*args):
        real(*args)
        calls.append(1)
        if len(calls) == steps:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(training, "take_step", interrupted_step)


def same_weights(one, other):
    ours, theirs = (
        load_checkpoint(folder / "checkpoints" / "last.safetensors").state
        for folder in (one, other)
    )
    return all(torch.equal(ours[key], theirs[key]) for key in theirs)


@pytest.mark.parametrize(
    "options",
    [
        ["loss.prototypes=paper", "optimiser.average=0.9", "optimiser.muon_rate=0.02"],
        # the first two steps see one frame and hence no memory, whose weights have no moments yet
        ["data.modalities=[image,depth]", "run.seed=10"],
    ],
    ids=["everything", "parts unused before"],
)
def test_resume_continues_bit_for_bit(tree, tmp_path, monkeypatch, options):
    training.train(recipe(tree, tmp_path / "whole", *options))
    with monkeypatch.context() as patch:
        cut_after(2, patch)
        cut = training.train(recipe(tree, tmp_path / "cut", *options))
    assert not cut.complete and cut.step == 2
    assert training.train(recipe(tree, tmp_path / "cut", *options), resume=True).complete
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
    assert validations(tmp_path / "cut") == validations(tmp_path / "whole")
    assert same_weights(tmp_path / "cut", tmp_path / "whole")


def test_the_second_case_above_is_what_it_says():
    steps = [Plan(4, 2, ("image", "depth"), 10, 0.5).step(step) for step in range(4)]
    assert [len(draws[0].modalities) for draws in steps] == [1, 1, 2, 2]


def test_an_interrupt_ends_a_validation_which_is_then_taken_anew(tree, tmp_path, monkeypatch):
    training.train(recipe(tree, tmp_path / "whole", "optimiser.epochs=1"))
    real, batches = validation.upsampled, []

    def interrupted(*args):
        batches.append(1)
        os.kill(os.getpid(), signal.SIGINT)
        return real(*args)

    folder = tmp_path / "cut"
    with monkeypatch.context() as patch:
        patch.setattr(validation, "upsampled", interrupted)
        cut = training.train(recipe(tree, folder, "optimiser.epochs=1"))
    assert len(batches) == 1 and not cut.complete and cut.step == 2
    assert not validations(folder)
    assert training.train(recipe(tree, folder, "optimiser.epochs=1"), resume=True).complete
    assert validations(folder) == validations(tmp_path / "whole")


def test_a_validation_that_is_due_is_counted_once(tmp_path):
    """Killed between the line of metrics and the checkpoint, it is taken again."""
    folder = RunFolder(tmp_path)
    folder.start(Recipe())
    for step, kind in ((1, "train"), (1, "val"), (2, "train"), (2, "val"), (3, "train")):
        folder.log({"step": step, "kind": kind})
    folder.close()
    folder.resume(Recipe(), 2, due=False)
    assert [(r["step"], r["kind"]) for r in read_metrics(folder.metrics_file)][-2:] == [
        (2, "train"),
        (2, "val"),
    ]
    folder.resume(Recipe(), 2, due=True)
    assert [(r["step"], r["kind"]) for r in read_metrics(folder.metrics_file)][-1] == (2, "train")


@pytest.mark.timeout(300)
def test_ctrl_c_in_a_terminal_with_reading_processes(tree, tmp_path):
    """The signal reaches the whole group, so the processes that read samples as well."""
    folder = tmp_path / "run"
    options = ["optimiser.batch=4", "optimiser.epochs=12", "run.validate_every=12"]
    words = settings(tree, folder, *options, "run.save_every=100", "run.workers=2")
    for number in (signal.SIGINT, signal.SIGTERM):
        before = len(losses(folder))
        process = subprocess.Popen(
            command(tmp_path / "recipe.yaml", *words, *(["--resume"] if before else [])),
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        while process.poll() is None and len(losses(folder)) == before:
            time.sleep(0.02)
        os.killpg(process.pid, number)
        _, told = process.communicate()
        assert process.returncode == 130, told
        assert "continue with --resume" in told and "Traceback" not in told
        assert (folder / "checkpoints" / "last.pt").is_file()
    assert training.train(Recipe.load(None, words), resume=True).complete
    assert [step for step, _ in losses(folder)] == list(range(1, 13))


def test_a_second_run_does_not_overwrite_the_first(tree, tmp_path):
    options = ["optimiser.epochs=1"]
    training.train(recipe(tree, tmp_path, *options))
    with pytest.raises(SettingsError, match="--resume"):
        training.train(recipe(tree, tmp_path, *options))
    with pytest.raises(SettingsError, match="no .*last.pt to resume"):
        training.train(recipe(tree, tmp_path / "new"), resume=True)


@pytest.fixture(scope="module")
def begun(tree, tmp_path_factory):
    """A run of one epoch, of the two that its recipe has."""
    folder = tmp_path_factory.mktemp("begun")
    with pytest.MonkeyPatch.context() as patch:
        cut_after(2, patch)
        training.train(recipe(tree, folder, "optimiser.epochs=2"))
    return folder


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("model.memory_mask=constant", "model.memory_mask was confidence, now constant"),
        ("loss.prototypes=paper", "loss.prototypes was off, now paper"),
        ("augment.flip=0", r"augment.flip was 0.5, now 0.0"),
        ("robustness.dropout=0", r"robustness.dropout was 0.2, now 0.0"),
        ("robustness.dropout_weights.depth=2", r"dropout_weights was \{\}, now \{'depth': 2\}"),
        ("optimiser.batch=4", "optimiser.batch was 2, now 4"),
        ("optimiser.average=0.9", "optimiser.average was 0.0, now 0.9"),
        ("run.seed=1", "run.seed was 0, now 1"),
        ("data.size=[64,96]", "data.size was 64 x 64, now 64 x 96"),
        ("data.modalities=[image,lidar]", "data.modalities was image, depth, .*, now image, lidar"),
        ("data.conditions=[sun]", "fingerprint of the training samples was .*validation samples"),
        ("data.representations.lidar.metres_per_level=2", "the way they are drawn was"),
    ],
)
def test_another_run_is_not_continued(tree, begun, change, told):
    changed = recipe(tree, begun, "optimiser.epochs=2", change)
    with pytest.raises(SettingsError, match=told):
        training.train(changed, resume=True)


def test_a_run_of_a_version_without_a_setting_goes_on(tree, begun, tmp_path):
    shutil.copytree(begun, tmp_path / "run")
    path = tmp_path / "run" / "checkpoints" / "last.pt"
    state = torch.load(path, weights_only=True)
    del state["recipe"]["robustness"]["dropout_weights"]
    torch.save(state, path)
    options = tree, tmp_path / "run", "optimiser.epochs=2"
    changed = recipe(*options, "robustness.dropout_weights.depth=2")
    with pytest.raises(SettingsError, match="robustness.dropout_weights was"):
        training.train(changed, resume=True)
    assert training.train(recipe(*options), resume=True).complete


def test_changed_samples_are_not_taken_for_the_same(tree, begun, tmp_path):
    copy = shutil.copytree(tree, tmp_path / "copy")
    labels = sorted((copy / "semantic").glob("*/train/*/*.png"))[0]
    Image.fromarray(np.full((64, 64), 2, np.uint8)).save(labels)
    with pytest.raises(SettingsError, match="fingerprint of the training samples"):
        training.train(recipe(copy, begun, "optimiser.epochs=2"), resume=True)


def test_where_things_lie_and_how_fast_it_runs_may_change(tree, begun, tmp_path):
    """The recipe in the folder is that of the run that goes on."""
    folder, moved = tmp_path / "run", tmp_path / "moved"
    shutil.copytree(begun, folder)
    shutil.copytree(tree, moved, copy_function=shutil.copyfile)
    changed = recipe(
        moved, folder, "optimiser.epochs=3", "optimiser.learning_rate=1e-4", "run.workers=1",
        "data.on_bad_sample=skip", f"data.cache={tmp_path / 'cache'}",
        "optimiser.batch_per_process=2", "run.precision=auto",
    )  # fmt: skip
    progress = training.train(changed, resume=True)
    assert progress.complete and progress.step == 6
    assert Recipe.load(folder / "recipe.yaml") == changed


def test_weight_decay_may_change(tree, tmp_path, monkeypatch):
    folder, muon = tmp_path / "run", "optimiser.muon_rate=0.02"
    with monkeypatch.context() as patch:
        cut_after(1, patch)
        training.train(recipe(tree, folder, muon))
    seen = []
    monkeypatch.setattr(training, "fit", lambda session, command: seen.append(session))
    words = ["optimiser.weight_decay=0.3", "optimiser.muon_decay=0.4"]
    training.train(recipe(tree, folder, muon, *words), resume=True)
    (session,) = seen
    groups = [group for part in session.optimisers.plain for group in part.param_groups]
    decays = [group["weight_decay"] for group in groups]
    assert decays == [0.3, 0.0, 0.4]


def test_resuming_clears_away_what_a_killed_process_was_writing(tree, begun, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(begun, folder)
    left_over = [folder / "checkpoints" / ".last.pt.123.tmp", folder / ".metrics.jsonl.123.tmp"]
    for file in left_over:
        file.write_bytes(b"half of it")
    training.train(recipe(tree, folder, "optimiser.epochs=2"), resume=True)
    assert not list(folder.rglob("*.tmp"))


def test_a_finished_run_is_finished_when_resumed(tree, begun, tmp_path, capsys):
    """Overrides may stand on both sides of --resume."""
    folder = tmp_path / "run"
    shutil.copytree(begun, folder)
    first, *others = settings(tree, folder, "optimiser.epochs=2")
    words = command(tmp_path / "recipe.yaml", first, "--resume", *others)[3:]
    for _ in range(2):
        assert main(words) == 0
        assert "4 steps" in capsys.readouterr().out
    assert [step for step, _ in losses(folder)] == [1, 2, 3, 4]
    assert [row["step"] for row in validations(folder)] == [2, 4]
    with pytest.raises(SystemExit):
        main([*words, "--no-such-option"])


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ten_kills_leave_no_trace(tmp_path):
    """Killed ten times at random moments and resumed, a run gives the same metrics and weights."""
    tree = miniatures.deliver(tmp_path / "tree", size=(64, 64))
    whole, folder = tmp_path / "whole", tmp_path / "killed"
    training.train(recipe(tree, whole, "optimiser.epochs=16"))
    begin = command(
        tmp_path / "recipe.yaml", *settings(tree, folder, "optimiser.epochs=16", "run.workers=1")
    )
    chance, kills = random.Random(0), 0
    while True:
        resume = ["--resume"] if (folder / "checkpoints" / "last.pt").exists() else []
        process = subprocess.Popen(begin + resume, stderr=subprocess.DEVNULL)
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
    assert losses(folder) == losses(whole)
    assert validations(folder) == validations(whole)
    assert same_weights(folder, whole)
    assert not list(folder.rglob("*.tmp"))
    best = load_checkpoint(folder / "checkpoints" / "best.safetensors")
    scores = [row["miou"] for row in validations(whole)]
    assert best.contract.provenance["val"]["miou"] == round(max(scores), 4)


def _wait_for_steps(process, folder, count):
    file = folder / "metrics.jsonl"
    start = file.stat().st_mtime_ns if file.exists() else 0
    seen = 0
    while process.poll() is None and seen < count:
        time.sleep(0.02)
        now = file.stat().st_mtime_ns if file.exists() else 0
        seen += now != start
        start = now
