"""Rows of bytes that may be longer than what they hold."""

from __future__ import annotations

import numpy as np


def unpadded(data: np.ndarray, height: int, row: int, step: int) -> np.ndarray:
    """The first ``row`` bytes of each of ``height`` rows that begin every ``step`` bytes.

    ``data`` is uint8 ``(N,)`` and may lack the padding of its last row. The result is contiguous,
    uint8 ``(height, row)``, and a view where there is no padding.
    """
    if step == row:
        return data[: height * row].reshape(height, row)
    plain = np.empty((height, row), np.uint8)
    plain[:-1] = data[: (height - 1) * step].reshape(height - 1, step)[:, :row]
    plain[-1] = data[(height - 1) * step :][:row]
    return plain
