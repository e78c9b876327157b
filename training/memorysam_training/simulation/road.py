"""The street's centre line, positions along and across it, and what is painted on it.

Places are given in road coordinates: ``s`` metres along the centre line, ``d`` metres to its left.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from memorysam_training.simulation.mesh import TINTED, Colour, Mesh, surface
from memorysam_training.simulation.noise import stream

BEHIND_M = 60.0
"""Length of street before ``s = 0``."""
LINE_M = 0.26
"""Width of painted lines."""


@dataclass(frozen=True)
class Road:
    """A gently winding two-lane street, ``half_width`` from kerb to centre."""

    x: np.ndarray
    y: np.ndarray
    heading: np.ndarray
    half_width: float
    crossings: np.ndarray
    """Where zebra crossings lie, ``s`` of their middle."""
    stops: np.ndarray
    """Where stop lines lie."""
    dashed: bool
    parking: bool
    """Whether a lane for parked vehicles runs along each kerb."""

    @classmethod
    def wind(cls, seed: int, length: float, crossings: np.ndarray, stops: np.ndarray) -> Road:
        """A road for ``s`` from ``-BEHIND_M`` to ``length``, curving as the seed decides."""
        rng = stream(seed, "road")
        s = np.arange(-BEHIND_M, length + 2.0)
        bend = np.zeros_like(s)
        for wave in rng.uniform(110, 420, 3):
            bend += rng.uniform(0.0008, 0.0019) * np.sin(2 * np.pi * (s / wave + rng.random()))
        heading = np.cumsum(bend)
        heading -= np.interp(0, s, heading)
        x, y = np.cumsum(np.cos(heading)), np.cumsum(np.sin(heading))
        parking = bool(rng.random() < 0.45)
        return cls(
            x - np.interp(0, s, x),
            y - np.interp(0, s, y),
            heading,
            float(rng.uniform(5.8, 6.4) if parking else rng.uniform(3.9, 4.4)),
            crossings,
            stops,
            bool(rng.random() < 0.7),
            parking,
        )

    def _at(self, table: np.ndarray, s: np.ndarray | float) -> np.ndarray:
        return np.interp(np.asarray(s, np.float64) + BEHIND_M, np.arange(len(table)), table)

    def direction(self, s: np.ndarray | float) -> np.ndarray:
        """Heading of the road, radians anticlockwise from x."""
        return self._at(self.heading, s)

    def place(self, s: np.ndarray | float, d: np.ndarray | float) -> np.ndarray:
        """World x, y ``(..., 2)`` of road coordinates."""
        turn = self.direction(s)
        return np.stack(
            [self._at(self.x, s) - np.sin(turn) * d, self._at(self.y, s) + np.cos(turn) * d], -1
        )

    def strip(
        self,
        s: tuple[float, float],
        d: tuple[float, float],
        z: tuple[float, float],
        label: int,
        material: int,
        colour: Colour = TINTED,
    ) -> Mesh:
        """Ground between two lines along the road; uv are road coordinates."""
        rows = max(int(np.ceil((s[1] - s[0]) / 4.0)), 1) + 1
        along = np.repeat(np.linspace(s[0], s[1], rows), 2)
        across = np.tile(d, rows)
        height = np.tile(z, rows)
        vertices = np.concatenate([self.place(along, across), height[:, None]], 1)
        a = np.arange(rows - 1)[:, None] * 2
        triangles = np.concatenate([a + [0, 2, 3], a + [0, 3, 1]])
        return surface(vertices, np.stack([along, across], 1), triangles, label, material, colour)

    def painted(self, s: np.ndarray, d: np.ndarray) -> np.ndarray:
        """Which points of the carriageway lie under paint; bool, shape ``(N,)`` of ``s``."""
        edge = self.half_width - (2.35 if self.parking else 0.35)
        aside = np.abs(d)
        paint = np.abs(aside - edge) < LINE_M / 2
        if self.dashed:
            paint |= (aside < LINE_M / 2) & (s - np.floor(s / 7.0) * 7.0 < 3.6)
        else:
            paint |= np.abs(aside - 0.24) < LINE_M * 0.4
        if self.parking:
            paint |= (aside > edge) & (s - np.floor(s / 6.4) * 6.4 < LINE_M)
        for middle in self.crossings:
            at = np.flatnonzero(np.abs(s - middle) < 2.4)
            bar = (d[at] + 50.0) % 1.2 < 0.62
            paint[at] = bar & (np.abs(s[at] - middle) < 1.9)
        for stop in self.stops:
            at = np.flatnonzero(np.abs(s - stop) < 0.26)
            paint[at] |= (d[at] < -0.2) & (d[at] > -edge)
            at = np.flatnonzero(np.abs(s - stop - 13.5) < 0.26)
            paint[at] |= (d[at] > 0.2) & (d[at] < edge)
        return paint
