"""Two processes with half a batch each equal one process with the whole."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import miniatures
import pytest
import torch
import torch.multiprocessing as mp
from two_processes import Net, train, worker

from memorysam_training.runs import read_metrics


@pytest.mark.parametrize(
    "confidence",
    [0.7, 1e-3],
    ids=["enough hard pixels", "filled up with the largest losses"],
)
def test_two_processes_equal_one(tmp_path, confidence):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mp.spawn(worker, (port, confidence, str(tmp_path)), nprocs=2)
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


@pytest.mark.timeout(300)
def test_torchrun_trains_one_model(tmp_path, repository):
    """Under torchrun, on processors, the processes share each batch and keep one record."""
    tree = miniatures.deliver(tmp_path / "tree")
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone",
        "-m", "memorysam_core.cli", "train", str(repository / "config" / "train_sim_nano.yaml"),
        f"data.root={tree}", "data.cache=", "data.size=[64,64]", f"run.folder={tmp_path / 'run'}",
        "augment.early_size=[0,0]", "augment.early_share=0", "optimiser.batch=2",
        "optimiser.batch_per_process=1", "optimiser.epochs=1", "run.validate_every=1",
        "run.log_every=1",
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("best mIoU on val") == 1
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [row["step"] for row in rows if row["kind"] == "train"] == [1, 2]
