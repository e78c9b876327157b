"""Resizing: colour is averaged, measurements are picked."""

import numpy as np
import torch
from PIL import Image

from memorysam_core.frames.resize import nearest, smooth


def test_colour_agrees_with_pillow_both_ways():
    image = np.random.default_rng(0).integers(0, 256, (90, 160, 3), np.uint8)
    for size in ((30, 64), (128, 300)):
        expected = np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR))
        got = smooth(torch.from_numpy(image), size).numpy()
        assert np.abs(got.astype(int) - expected).max() <= 1


def test_fine_lines_are_averaged_not_dropped():
    image = torch.zeros(64, 64, 3, dtype=torch.uint8)
    image[:, ::4] = 200
    assert (smooth(image, (16, 16)).float().mean() - 50).abs() < 2


def test_measurements_are_never_mixed():
    values = torch.tensor([[1.0, 100.0]]).repeat(4, 3)
    assert set(nearest(values, (3, 5)).unique().tolist()) <= {1.0, 100.0}


def test_the_pixel_under_the_centre_is_taken():
    row = torch.arange(6)[None]
    assert nearest(row, (1, 3)).tolist() == [[1, 3, 5]]
    assert nearest(row, (1, 4)).tolist() == [[0, 2, 3, 5]]
    assert nearest(row, (2, 12)).tolist() == [[0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]] * 2
