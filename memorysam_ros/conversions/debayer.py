"""Colours from a Bayer mosaic by bilinear interpolation, in numpy."""

from __future__ import annotations

import numpy as np


def debayer(mosaic: np.ndarray, pattern: str) -> np.ndarray:
    """A mosaic, uint8 ``(H, W)``, to uint8 ``(H, W, 3)``, R, G, B.

    ``pattern`` names the colours of the top left 2 x 2 pixels, row by row, such as ``rggb``.
    A colour that a pixel lacks is the mean of its nearest neighbours that have it.
    """
    height, width = mosaic.shape
    # Reflection about the border pixel keeps the phase of the pattern. Images of one row or
    # column have nothing to reflect.
    padded = np.pad(mosaic, 1, mode="reflect" if min(height, width) > 1 else "edge").astype(
        np.uint16
    )
    colours = np.empty((height, width, 3), np.uint8)
    for index, letter in enumerate(pattern):
        row, column = divmod(index, 2)

        def mean(*offsets: tuple[int, int], row: int = row, column: int = column) -> np.ndarray:
            total = np.zeros(colours[row::2, column::2].shape[:2], np.uint16)
            for dy, dx in offsets:
                rows = slice(1 + row + dy, 1 + height + dy, 2)
                total += padded[rows, 1 + column + dx : 1 + width + dx : 2]
            return ((total + len(offsets) // 2) // len(offsets)).astype(np.uint8)

        site = colours[row::2, column::2]
        if letter == "g":
            along_row = "rgb".index(pattern[index ^ 1])
            site[:, :, 1] = mean((0, 0))
            site[:, :, along_row] = mean((0, -1), (0, 1))
            site[:, :, 2 - along_row] = mean((-1, 0), (1, 0))
        else:
            own = "rgb".index(letter)
            site[:, :, own] = mean((0, 0))
            site[:, :, 1] = mean((0, -1), (0, 1), (-1, 0), (1, 0))
            site[:, :, 2 - own] = mean((-1, -1), (-1, 1), (1, -1), (1, 1))
    return colours
