"""Our trunk equals the sam2 package's own forward, with and without padded windows."""

from __future__ import annotations

import copy

import pytest
import torch

from memorysam_core.architecture import SIZES, Size
from memorysam_core.sam2_parts import image_encoder
from memorysam_core.trunk import replace_blocks, run_trunk

ODD = Size(16, 1, (1, 2, 3, 2), (4,), windows=(8, 4, 14, 7), model_dim=32)
"""Small, with SAM 2's windows, which fit no small grid."""


@pytest.mark.parametrize("size", [ODD, SIZES["nano"]], ids=["padded", "nano"])
@pytest.mark.parametrize(("height", "width"), [(64, 64), (96, 160), (224, 32)])
@torch.no_grad()
def test_equals_stock_forward(size: Size, height: int, width: int) -> None:
    torch.manual_seed(0)
    stock = image_encoder(size).trunk.eval()
    for parameter in stock.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.1)
    trunk = copy.deepcopy(stock)
    replace_blocks(trunk)
    assert trunk.state_dict().keys() == stock.state_dict().keys()
    images = torch.randn(2, 3, height, width)
    position = trunk._get_pos_embed((height // 4, width // 4))
    for ours, theirs in zip(run_trunk(trunk, images, position), stock(images), strict=True):
        assert ours.shape == theirs.shape
        assert (ours - theirs).abs().max() <= 1e-5 * max(1.0, theirs.abs().max().item())
