"""Points over an image, coloured by their distance: near ones red, far ones blue."""

from __future__ import annotations

import colorsys

import numpy as np

NEAR_M, FAR_M = 2.0, 80.0
"""Whatever is nearer or farther has the colour of these."""
_FAR_HUE = 2 / 3
_PALETTE = np.array(
    [
        [round(255 * c) for c in colorsys.hsv_to_rgb(_FAR_HUE * k / 255, 1.0, 1.0)]
        for k in range(256)
    ],
    np.uint8,
)
_COLUMNS_PER_PX = 512
"""A point is one pixel wide, and one more for each so many columns of the picture."""


def paint_points(picture: np.ndarray, pixel: np.ndarray, range_m: np.ndarray) -> None:
    """Paints points ``(N,)`` into a picture, uint8 ``(H, W, 3)``; nearer ones over farther ones.

    ``pixel`` are flat, ``row * W + column``. Distances are told apart by their logarithm.
    """
    height, width = picture.shape[:2]
    span = np.log(FAR_M / NEAR_M)
    level = np.log(np.maximum(range_m, NEAR_M) / NEAR_M) * (255 / span)
    order = np.argsort(-range_m, kind="stable")
    colours = _PALETTE[np.minimum(level, 255).astype(np.uint8)][order]
    rows, columns = np.divmod(pixel[order], width)
    size_px = 1 + width // _COLUMNS_PER_PX
    steps = range(-((size_px - 1) // 2), size_px // 2 + 1)
    around = np.array([(dy, dx) for dy in steps for dx in steps])  # (K, 2)
    # Point by point, all of its pixels: of several values for one pixel, NumPy keeps the last.
    rows = np.clip(rows[:, None] + around[:, 0], 0, height - 1)
    columns = np.clip(columns[:, None] + around[:, 1], 0, width - 1)
    picture[rows, columns] = colours[:, None]
