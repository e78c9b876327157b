"""Ten thousand sets, and the process is no bigger than after the first few hundred."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest
import torch

from memorysam_core.architecture import Architecture
from memorysam_core.checkpoint import build_model, save_checkpoint
from memorysam_core.contract import InputContract, deliver_modalities
from memorysam_core.engines.memory_use import memory_mb
from memorysam_core.labels import numbered
from memorysam_core.segmenter import Segmenter

SETS, WARM_UP, EVERY = 10_000, 500, 500
GROWTH_MB = 4.0
SIZE = (32, 64)
SUBSETS = (("image", "depth", "event", "lidar"), ("image", "depth", "event"), ("image", "lidar"))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_memory_is_flat_over_ten_thousand_sets(tmp_path: Path) -> None:
    torch.manual_seed(0)
    contract = InputContract(deliver_modalities(), numbered(25), SIZE)
    path = save_checkpoint(
        tmp_path / "nano.safetensors", build_model(Architecture("nano")), contract
    )
    segmenter = Segmenter(path, "cpu")
    rng = np.random.default_rng(0)
    frames = {name: np.zeros((*SIZE, 3), np.uint8) for name in contract.names}
    used = []
    for number in range(SETS):
        subset = SUBSETS[number % len(SUBSETS)]
        for name in subset[: 1 + number % 3]:  # the others are held
            frames[name] = rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
        result = segmenter.segment({name: frames[name] for name in subset}, (48, 80))
        assert result.labels.shape == (48, 80) and result.modalities == subset
        if number >= WARM_UP and number % EVERY == 0:
            gc.collect()
            used.append(memory_mb(segmenter.device))
    print(f"{SETS} sets: {used[0]:.1f} MB warm, {used[-1]:.1f} in the end, most {max(used):.1f}")
    assert max(used) - used[0] < GROWTH_MB
