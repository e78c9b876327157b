"""Shared palettes: colours are drawn per object, and most palettes serve several classes,
so that a colour by itself says little about the class.
"""

from __future__ import annotations

import colorsys

import numpy as np

from memorysam_training.simulation.mesh import Colour

MASONRY = (
    (0.62, 0.57, 0.5),
    (0.5, 0.33, 0.25),
    (0.7, 0.68, 0.63),
    (0.42, 0.4, 0.4),
    (0.66, 0.52, 0.36),
    (0.55, 0.6, 0.62),
    (0.74, 0.63, 0.55),
    (0.45, 0.28, 0.24),
    (0.35, 0.37, 0.33),
    (0.72, 0.7, 0.52),
)
PAVEMENT = (
    (0.3, 0.3, 0.31),
    (0.38, 0.36, 0.34),
    (0.45, 0.42, 0.38),
    (0.36, 0.3, 0.28),
    (0.25, 0.26, 0.28),
    (0.42, 0.43, 0.44),
    (0.4, 0.33, 0.29),
)
PLANTS = (
    (0.16, 0.28, 0.08),
    (0.22, 0.33, 0.1),
    (0.3, 0.34, 0.12),
    (0.4, 0.33, 0.12),
    (0.42, 0.24, 0.1),
    (0.13, 0.22, 0.1),
    (0.34, 0.3, 0.18),
    (0.26, 0.38, 0.14),
)
PAINTS = (
    (0.7, 0.7, 0.7),
    (0.06, 0.06, 0.07),
    (0.5, 0.06, 0.06),
    (0.08, 0.16, 0.42),
    (0.32, 0.34, 0.36),
    (0.82, 0.8, 0.76),
    (0.1, 0.32, 0.22),
    (0.75, 0.5, 0.08),
    (0.16, 0.36, 0.5),
    (0.62, 0.26, 0.08),
    (0.4, 0.3, 0.22),
)
METALS = (
    (0.3, 0.31, 0.32),
    (0.12, 0.13, 0.13),
    (0.48, 0.48, 0.47),
    (0.16, 0.24, 0.2),
    (0.36, 0.28, 0.22),
    (0.2, 0.22, 0.3),
)

SHARED = MASONRY + PAINTS + METALS


def pick(rng: np.random.Generator, palette: tuple[Colour, ...]) -> Colour:
    """One colour of the palette, moved in hue, saturation and value at random.

    One object in six takes its colour from all palettes together, but for what one walks on.
    """
    if palette is PAVEMENT:
        return _moved(rng, PAVEMENT[rng.integers(len(PAVEMENT))])
    source = SHARED if rng.random() < 1 / 6 else palette
    return _moved(rng, source[rng.integers(len(source))])


def _moved(rng: np.random.Generator, colour: Colour) -> Colour:
    hue, saturation, value = colorsys.rgb_to_hsv(*colour)
    hue = (hue + rng.normal(0, 0.035)) % 1.0
    saturation = min(max(saturation * (1 + rng.normal(0, 0.3)), 0.0), 0.9)
    value = min(max(value * (1 + rng.normal(0, 0.2)), 0.05), 0.85)
    return colorsys.hsv_to_rgb(hue, saturation, value)
