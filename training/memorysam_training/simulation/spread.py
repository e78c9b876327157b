"""What all pixels of a part of an image show, from a quarter of them."""

from __future__ import annotations

import numpy as np


class Spread:
    """Chooses pixels to work out, and gives the others the mean of their neighbours.

    For reflections in wet ground, which are seen blurred and as a small share of the light.
    """

    def __init__(self, pixel: np.ndarray, shape: tuple[int, int], every: np.ndarray) -> None:
        """``pixel`` are indices ``(N,)`` into an image of ``shape``.

        Those of even row and column stand for their neighbours. To work out are these, those who
        have no such neighbour, and all where ``every`` (bool) says so, as on water.
        """
        row, column = np.divmod(pixel, shape[1])
        even = np.flatnonzero(((row | column) % 2 == 0) & ~every)
        place = np.full((shape[0] + 2, shape[1] + 2), len(pixel))
        place[row[even], column[even]] = even
        # The neighbours of even row and column; some come twice, to even weights.
        self._around = [
            place[(row + i) // 2 * 2, (column + j) // 2 * 2] for i in (0, 1) for j in (0, 1)
        ]
        weight = np.add.reduce([around < len(pixel) for around in self._around], dtype=np.float32)
        worked = every | (weight == 0)
        self._own = np.flatnonzero(worked)
        self._weight = np.maximum(weight, 1)
        worked[even] = True
        self.few = np.flatnonzero(worked)
        """Which of the pixels to work out, ``(K,)``."""

    def __call__(self, light: np.ndarray) -> np.ndarray:
        """Light of all pixels ``(3, N)`` from that of the few ``(3, K)``."""
        out = np.empty((len(light), len(self._weight)), np.float32)
        given = np.zeros(len(self._weight) + 1, np.float32)
        for channel, few in zip(out, light, strict=True):
            given[self.few] = few
            np.divide(sum(given.take(around) for around in self._around), self._weight, channel)
            channel[self._own] = given[self._own]
        return out
