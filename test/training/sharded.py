"""What each process of the test of FSDP does; importable, as spawned processes need it."""

from __future__ import annotations

import os

import torch
from accelerate import PartialState
from accelerate.utils import DistributedType
from torch.distributed.tensor import DTensor

from memorysam_training import train as training
from memorysam_training.recipe import Recipe


def worker(rank: int, port: int, overrides: list[str], resume: bool, fsdp: dict) -> None:
    """Trains under Accelerate's FSDP, which asks for GPUs but shards on processors as well."""
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "OMP_NUM_THREADS": "1",
        "ACCELERATE_USE_FSDP": "true",
        **{key.upper(): str(value).lower() for key, value in fsdp.items()},
    }
    torch.set_num_threads(1)
    PartialState(cpu=True)
    PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU
    real = training.setup

    def setup(recipe):
        session = real(recipe)
        assert all(isinstance(p, DTensor) for p in session.model.parameters())
        return session

    training.setup = setup
    training.train(Recipe.load(None, overrides), resume)
