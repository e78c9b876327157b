"""A checkpoint small enough to compile in a test."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from memorysam_core.architecture import SIZES, Architecture
from memorysam_core.checkpoint import build_model, save_checkpoint
from memorysam_core.contract import InputContract, deliver_modalities
from memorysam_core.engines.graphs import Modules
from memorysam_core.labels import numbered

SIZE = (32, 64)
NAMES = ("image", "depth", "event", "lidar")


@pytest.fixture(scope="session")
def small() -> Iterator[str]:
    """The name of a size with one block a stage, known while tests of this folder run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(
            SIZES,
            "pico",
            dataclasses.replace(
                SIZES["nano"],
                embed_dim=16,
                stages=(1, 1, 1, 1),
                global_blocks=(2,),
                windows=(8, 4, 4, 4),
                model_dim=32,
                memory_dim=16,
                memory_layers=1,
                memory_feedforward=32,
                decoder_feedforward=32,
            ),
        )
        yield "pico"


@pytest.fixture(scope="session")
def checkpoint(small: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model = build_model(Architecture(small, num_classes=5))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    contract = InputContract(deliver_modalities(), numbered(5), SIZE)
    return save_checkpoint(tmp_path_factory.mktemp("weights") / "pico.safetensors", model, contract)


@pytest.fixture
def modules(small: str) -> Modules:
    torch.manual_seed(1)
    model = build_model(Architecture(small, num_classes=3)).fuse()
    return Modules(model, InputContract(deliver_modalities(), numbered(3), SIZE), SIZE)


@pytest.fixture
def frames() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {name: rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8) for name in NAMES}
