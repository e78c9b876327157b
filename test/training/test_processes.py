"""Two processes with half a batch each equal one process with the whole."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import miniatures
import pytest
import torch
import torch.multiprocessing as mp
import yaml
from accelerate.state import AcceleratorState, GradientState
from sharded import worker as worker_of_shards
from small_runs import losses, recipe, settings
from two_processes import Net, moved_by_muon, muon_worker, train, worker

from memorysam_core.checkpoint import load_checkpoint
from memorysam_training import train as training
from memorysam_training.data.loading import Batch
from memorysam_training.model import make_model
from memorysam_training.plan import Draw
from memorysam_training.runs import read_metrics
from memorysam_training.session import prepare_for_shards
from memorysam_training.settings import SettingsError
from memorysam_training.validation import Share


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize(
    "confidence",
    [0.7, 1e-3],
    ids=["enough hard pixels", "filled up with the largest losses"],
)
def test_two_processes_equal_one(tmp_path, confidence):
    mp.spawn(worker, (free_port(), confidence, str(tmp_path)), nprocs=2)
    alone = train(Net(), slice(0, 4), confidence)
    for rank in (0, 1):
        together = torch.load(tmp_path / f"{rank}.pt")
        for step, ((_, s1, p1, g1), (_, s2, p2, g2)) in enumerate(
            zip(alone, together, strict=True)
        ):
            torch.testing.assert_close(s2, s1, msg=f"prototype loss, step {step}")
            torch.testing.assert_close(p2, p1, msg=f"prototypes, step {step}")
            torch.testing.assert_close(g2, g1, msg=f"gradients, step {step}")
    ohem = [[row[0] for row in torch.load(tmp_path / f"{rank}.pt")] for rank in (0, 1)]
    for step, row in enumerate(alone):
        # Each process holds its share times two, so that the mean over processes is the joint loss.
        torch.testing.assert_close((ohem[0][step] + ohem[1][step]) / 2, row[0])


@pytest.mark.parametrize(
    "shapes",
    [[(12, 30), (30, 12), (12, 30), (16, 16), (12, 30)], [(9, 9)], [(1, 5)]],
    ids=["uneven shares", "nothing for the second process", "no gradient"],
)
def test_processes_share_the_matrices_that_muon_moves(tmp_path, shapes):
    mp.spawn(muon_worker, (free_port(), shapes, str(tmp_path)), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    for one, other, alone in zip(first, second, moved_by_muon(shapes), strict=True):
        assert torch.equal(one, other)
        torch.testing.assert_close(one, alone)


ALIKE = [
    "loss.prototypes=paper",
    "model.memory_dropout=0",  # its chance differs from process to process
    "augment.early_size=[0,0]",
    "augment.early_share=0",
    "data.on_bad_sample=skip",
    "optimiser.batch=4",  # two forward passes of two samples in a step
    "optimiser.epochs=2",
]


@pytest.fixture(scope="module")
def odd_tree(tmp_path_factory):
    """Seven validation samples for two processes, and a training sample that cannot be read."""
    tree = miniatures.deliver(tmp_path_factory.mktemp("data") / "DELIVER", 8, (64, 64))
    next((tree / "img").glob("*/val/*/*.png")).unlink()
    next((tree / "lidar").glob("*/train/*/*.png")).write_text("broken")
    return tree


@pytest.fixture(scope="module")
def alone(odd_tree, tmp_path_factory):
    """The run of a single process, and the weights that it began with."""
    folder = tmp_path_factory.mktemp("alone")
    settings = recipe(odd_tree, folder, *ALIKE, "optimiser.batch_per_process=2")
    training.train(settings)
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    torch.manual_seed(settings.run.seed)
    return folder, make_model(settings.model, 25).state_dict()


def assert_same_run(folder, alone):
    """Equal but for rounding: losses, scores, what was skipped, prototypes and weights."""
    other, start = alone
    ours, theirs = (read_metrics(f / "metrics.jsonl") for f in (folder, other))
    assert [(r["kind"], r["step"]) for r in ours] == [(r["kind"], r["step"]) for r in theirs]
    for mine, their in zip(ours, theirs, strict=True):
        for key in {"loss", "ohem", "prototype", "closed_gates"} & their.keys():
            assert mine[key] == pytest.approx(their[key], rel=3e-4, abs=1e-6), key
        for key in {"skipped", "pixels", "classes_present"} & their.keys():
            assert mine[key] == their[key], key
        for key in {"accuracy", "miou"} & their.keys():
            assert mine[key] == pytest.approx(their[key], abs=0.01), key
    assert ours[-2]["skipped"] == 2
    states = [torch.load(f / "checkpoints" / "last.pt") for f in (folder, other)]
    prototypes = [state["prototypes"]["prototypes"] for state in states]
    torch.testing.assert_close(*prototypes, rtol=1e-2, atol=1e-3)
    apart, moved = 0.0, 0.0
    for name, begun in start.items():
        mine, their = (state["model"][name].double() for state in states)
        apart += (mine - their).square().sum().item()
        moved += (their - begun.double()).square().sum().item()
    print(f"weights are apart by {(apart / moved) ** 0.5:.2e} of what they moved")
    assert (apart / moved) ** 0.5 < 0.02


@pytest.mark.timeout(400)
def test_torchrun_trains_the_model_of_one_process(odd_tree, alone, tmp_path):
    """Two processes share each batch and keep one record; Ctrl-C reaches launcher and processes."""
    folder = tmp_path / "run"
    file = tmp_path / "recipe.yaml"
    file.write_text("name: two\n")
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone",
        "-m", "memorysam_core.cli", "train", str(file), *settings(odd_tree, folder, *ALIKE),
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    launched = subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    while launched.poll() is None and not losses(folder):
        time.sleep(0.02)
    os.killpg(launched.pid, signal.SIGINT)
    _, told = launched.communicate()
    assert told.count("continue with --resume") == 2, told
    assert 0 < len(losses(folder)) < 4

    done = subprocess.run(
        [*command, "--resume"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("best mIoU on val") == 1
    assert_same_run(folder, alone)
    told = load_checkpoint(folder / "checkpoints" / "last.safetensors").contract.provenance
    assert told["machine"].endswith("; 2 processes")


@pytest.mark.slow  # four processes in turn, each with all that Accelerate imports
@pytest.mark.timeout(400)
def test_shards_train_the_model_of_one_process(odd_tree, alone, tmp_path, repository):
    """FSDP as config/fsdp.yaml has it: validation, checkpoints and resuming need whole weights."""
    folder = tmp_path / "run"
    fsdp = yaml.safe_load((repository / "config" / "fsdp.yaml").read_text())["fsdp_config"]
    words = settings(odd_tree, folder, *ALIKE, "run.gradient_checkpointing=true")
    mp.spawn(worker_of_shards, (free_port(), [*words, "optimiser.epochs=1"], False, fsdp), nprocs=2)
    mp.spawn(worker_of_shards, (free_port(), words, True, fsdp), nprocs=2)
    assert_same_run(folder, alone)
    model = load_checkpoint(folder / "checkpoints" / "best.safetensors").build()
    assert torch.isfinite(model(torch.zeros(1, 1, 3, 64, 64)).logits).all()


@pytest.mark.parametrize(
    ("version", "overrides", "message"),
    [
        (1, [], "fsdp_version: 2"),
        (2, ["optimiser.average=0.9"], "optimiser.average"),
        (2, ["optimiser.muon_rate=0.02"], "optimiser.muon_rate"),
    ],
)
def test_what_shards_cannot_do_is_refused(version, overrides, message):
    engine = SimpleNamespace(is_fsdp2=version == 2)
    with pytest.raises(SettingsError, match=message):
        prepare_for_shards(engine, recipe("tree", "run", *overrides).optimiser)


def test_every_process_validates_equally_often_and_every_sample_counts_once():
    for samples, processes in ((3, 2), (8, 4), (5, 4), (1, 3)):
        shares = [Share(samples, process, processes) for process in range(processes)]
        assert len({len(share.indices) for share in shares}) == 1
        counted = []
        for share in shares:
            for i in range(0, len(share.indices), 2):
                draws = [Draw(index, (), 0) for index in share.indices[i : i + 2]]
                batch = Batch([None] * len(draws), draws, stand_ins=[False] * len(draws))
                counted += [draws[place].index for place in share.counted(batch)]
        assert sorted(counted) == list(range(samples))
