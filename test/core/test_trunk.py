"""Our trunk equals the sam2 package's own forward, with and without padded windows."""

from __future__ import annotations

import pytest
import torch

from memorysam_core.architecture import SIZES, Size
from memorysam_core.sam2_parts import image_encoder
from memorysam_core.trunk import run_trunk

ODD = Size(16, 1, (1, 2, 3, 2), (4,), windows=(8, 4, 14, 7), model_dim=32)
"""Small, with SAM 2's windows, which fit no small grid."""


@pytest.mark.parametrize("size", [ODD, SIZES["nano"]], ids=["padded", "nano"])
@pytest.mark.parametrize(("height", "width"), [(64, 64), (96, 160), (224, 32)])
@torch.no_grad()
def test_equals_stock_forward(size: Size, height: int, width: int) -> None:
    torch.manual_seed(0)
    trunk = image_encoder(size).trunk.eval()
    for parameter in trunk.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.1)
    images = torch.randn(2, 3, height, width)
    position = trunk._get_pos_embed((height // 4, width // 4))
    for ours, stock in zip(run_trunk(trunk, images, position), trunk(images), strict=True):
        assert ours.shape == stock.shape
        assert (ours - stock).abs().max() <= 1e-5 * max(1.0, stock.abs().max().item())
