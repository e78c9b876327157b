"""16-bit engines on the weights that ship: the eager engine's labels, in the same precision."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from memorysam_core.checkpoint import SHIPPED, load_checkpoint
from memorysam_core.engines import engine
from memorysam_core.engines import export as exporting
from memorysam_core.engines.compiled import CACHE_VARIABLE
from memorysam_core.engines.graphs import Graph
from memorysam_core.engines.placement import choose_precision
from memorysam_core.segmenter import Segmenter

SIZE = (256, 448)
"""What the weights were trained at. Of fewer pixels, more lie where rounding decides."""
AGREEMENT = 0.995
GRAPHS = [Graph("encode", 2), Graph("sequence", 2)]
FAST = choose_precision("auto", torch.device("cpu")) == "bf16"
"""Elsewhere bf16 is emulated, slowly, and used only where a user insists."""


def street(seed: int) -> dict[str, np.ndarray]:
    """Camera and depth frame of a road between walls under a sky, drawn by hand."""
    height, width = SIZE
    y = np.linspace(0, 1, height)[:, None].repeat(width, 1)
    x = np.linspace(-1, 1, width)[None].repeat(height, 0)
    sky, road = y < 0.45, (y >= 0.45) & (np.abs(x) < 1.7 * (y - 0.4))
    wall = (y > 0.2) & (y < 0.6) & (np.abs(x) > 0.6)
    image = np.zeros((height, width, 3))
    image[:] = (95, 110, 70)
    for part, colour in ((sky, (140, 170, 215)), (road, (80, 80, 84)), (wall, (150, 110, 95))):
        image[part] = colour
    image += np.random.default_rng(seed).normal(0, 4, image.shape)
    depth = np.where(wall, 130, np.where(sky, 0, 40 + 300 * (y - 0.45)))
    return {
        "image": image.clip(0, 255).astype(np.uint8),
        "depth": depth.clip(0, 255).astype(np.uint8)[..., None].repeat(3, 2),
    }


@pytest.fixture
def graphs_of_two_frames(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Compile no more than a sequence of two takes, and nothing that an earlier test left."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setenv("TORCHINDUCTOR_DEBUG_COMPILE", "1")  # fast to compile, slow to run
    for module in (engine, exporting):
        monkeypatch.setattr(module, "graphs_for", lambda lengths: list(GRAPHS))


@pytest.mark.timeout(1500)  # a minute of compiling, on a machine that does nothing else
@pytest.mark.usefixtures("graphs_of_two_frames")
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("compiled", marks=[] if FAST else pytest.mark.slow),
        pytest.param("aoti", marks=pytest.mark.slow),
    ],
)
def test_labels_are_the_eager_engines(kind: str, tmp_path: Path) -> None:
    eager = Segmenter(SHIPPED, "cpu", "bf16", SIZE)
    if kind == "compiled":
        other = Segmenter(SHIPPED, "cpu", "bf16", SIZE, engine="compiled")
        other.warm_up([("image", "depth")], [2], others=False)
    else:
        path = tmp_path / "robot.pt2"
        exporting.export(
            load_checkpoint(SHIPPED), path, size=SIZE, lengths=[2], device="cpu", precision="bf16"
        )
        other = Segmenter(path, "cpu")
    for seed in range(3):
        other.forget()  # both frames are encoded together
        one, same = other.segment(street(seed)), eager.segment(street(seed))
        assert (one.labels == same.labels).mean() >= AGREEMENT
        assert len(np.unique(same.labels)) >= 5
