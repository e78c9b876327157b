"""The depth camera: noise that grows with distance, holes at edges, on glass and on water."""

from __future__ import annotations

import numpy as np

from memorysam_training.simulation.conditions import Weather
from memorysam_training.simulation.mesh import Material
from memorysam_training.simulation.noise import SIZE, sample, texture
from memorysam_training.simulation.scene import FAR_M
from memorysam_training.simulation.sensors.view import View

CLEAR = 0.006
"""Extinction, 1/m, that active sensors do not notice."""


def measure(view: View, weather: Weather, rng: np.random.Generator) -> np.ndarray:
    """Metres along the axis, float32 ``(H, W)``; NaN where nothing was measured, 1000 for the sky.

    That the sky reads as the far plane is CARLA's way, on whose images DELIVER's frames rest.
    """
    depth = view.depth().astype(np.float32)
    sky = depth >= FAR_M
    noise = rng.standard_normal(depth.shape, np.float32)
    luck = rng.random(depth.shape, np.float32)
    sigma = (0.004 + 0.0025 * depth + 0.00006 * depth**2) * (1 + 1.5 * weather.rain)
    measured = np.maximum(depth + sigma * noise, 0.1)
    chance = np.full(depth.shape, 0.004 + 0.02 * weather.rain, np.float32)
    chance[_edges(depth)] = 0.55
    rows, columns = np.ogrid[: depth.shape[0], : depth.shape[1]]
    shift = rng.integers(0, SIZE, 2)
    blotch = sample(texture(1.8, 18), columns * 1.3 + shift[0], rows * 1.3 + shift[1])
    material = view.hits.material.reshape(depth.shape)
    chance[(material == Material.GLASS) & (blotch > 0.5)] = 0.8
    chance[(material == Material.WATER) & (blotch > 0.35)] = 0.7
    chance[blotch > 0.985] = 1.0
    thick = max(weather.fog - CLEAR, 0.0)
    chance = 1 - (1 - chance) * np.exp(-0.9 * thick * depth)
    measured[sky] = FAR_M
    lost = luck < np.where(sky, 0.0, chance)
    measured[lost] = np.nan
    return np.round(measured, 3)


def _edges(depth: np.ndarray) -> np.ndarray:
    edge = np.zeros(depth.shape, bool)
    level = np.log(depth)
    edge[:, 1:] |= np.abs(np.diff(level, axis=1)) > 0.12
    edge[1:] |= np.abs(np.diff(level, axis=0)) > 0.2
    return edge
