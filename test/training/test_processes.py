"""Two processes with half a batch each equal one process with the whole."""

from __future__ import annotations

import socket

import pytest
import torch
import torch.multiprocessing as mp
from two_processes import Net, train, worker


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
