"""Patterns: the colour, gloss and own light of each kind of surface at each hit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from memorysam_training.simulation.mesh import Material
from memorysam_training.simulation.noise import hashed, sample, texture
from memorysam_training.simulation.road import Road
from memorysam_training.simulation.scene import Hits

FLOOR_M = 3.2


@dataclass
class Surface:
    """What lighting needs to know of N hits."""

    albedo: np.ndarray
    """Linear R, G, B ``(N, 3)``."""
    glow: np.ndarray
    """Light given off when lamps are fully on, ``(N, 3)``."""
    gloss: np.ndarray
    """Mirror reflection at right angles, 0 to 1, ``(N,)``."""
    normal: np.ndarray


def surface_of(hits: Hits, road: Road) -> Surface:
    """The surfaces under the hits."""
    count = len(hits)
    surface = Surface(
        hits.colour.copy(),
        np.zeros((count, 3), np.float32),
        np.zeros(count, np.float32),
        hits.normal,
    )
    grain = np.float32(1) / (1 + (hits.distance / 30) ** 2)
    u, v = hits.uv[:, 0], hits.uv[:, 1]
    fine = sample(texture(1.0), u * 60 + hits.seed * 997, v * 60) - 0.5
    broad = sample(texture(1.7, 1), u * 9 + hits.seed * 577, v * 9) - 0.5
    vary = 1 + 0.22 * broad + 0.25 * grain * fine
    order = np.argsort(hits.material, kind="stable")
    bounds = np.searchsorted(hits.material[order], np.arange(len(Material) + 1))
    for material, paint in _PATTERNS.items():
        at = order[bounds[material] : bounds[material + 1]]
        if len(at):
            paint(surface, at, hits, u[at], v[at], grain[at], road)
    surface.albedo *= np.clip(vary, 0.4, 1.8)[:, None]
    return surface


def _asphalt(surface, at, hits, u, v, grain, road) -> None:
    patch = sample(texture(2.0, 2), u * 4, v * 4)
    tracks = 1 - 0.12 * np.exp(-((np.abs(np.abs(v) - 1.85) - 0.8) ** 2) / 0.1)
    surface.albedo[at] *= ((0.75 + 0.3 * patch) * tracks)[:, None]
    painted = road.painted(u, v)
    wear = np.clip(sample(texture(1.2, 3), u * 40, v * 40) * 3, 0.45, 1)[painted]
    surface.albedo[at[painted]] = wear[:, None] * np.float32([0.78, 0.77, 0.72])
    surface.gloss[at] = 0.02


def _tiles(size_u: float, size_v: float, joint: float, shift: bool):
    def paint(surface, at, hits, u, v, grain, road) -> None:
        row = np.floor(v / size_v)
        along = u / size_u + (0.5 * (row % 2) if shift else 0)
        column = np.floor(along)
        tone = 0.82 + 0.36 * hashed(column, row)
        near = ((along - column) * size_u < joint) | ((v / size_v - row) * size_v < joint)
        tone = np.where(near, 0.62, tone)
        surface.albedo[at] *= (1 + (tone - 1) * np.clip(grain * 1.6, 0.25, 1))[:, None]

    return paint


def _facade(surface, at, hits, u, v, grain, road) -> None:
    seed = hits.seed[at]
    upright = np.abs(hits.normal[at, 2]) < 0.5
    pitch = 2.1 + 1.5 * seed
    floor = np.floor((v - 0.6) / FLOOR_M)
    across, up = u / pitch, (v - 0.6) / FLOOR_M - floor
    column = np.floor(across)
    across = across - column
    shop = (floor == 0) & (seed * 7 % 1 > 0.45)
    half = np.where(shop, 0.43, 0.2 + 0.14 * (seed * 13 % 1))
    low, high = np.where(shop, 0.12, 0.26), np.where(shop, 0.8, 0.84)
    pane = upright & (np.abs(across - 0.5) < half) & (up > low) & (up < high) & (v > 0.6)
    bar = (np.abs(across - 0.5) < 0.025) | (np.abs(across - 0.5) > half - 0.035)
    bar |= (up < low + 0.03) | (up > high - 0.03)
    sill = upright & (np.abs(across - 0.5) < half + 0.05) & (np.abs(up - low) < 0.03)
    surface.albedo[at[sill | (pane & bar)]] = 0.55
    draw = hashed(column + np.floor(seed * 4096), floor)
    course = upright & (np.abs(up - 0.02) < 0.03)
    surface.albedo[at[course]] *= 0.8
    glass = pane & ~bar
    where, luck = at[glass], draw[glass]
    surface.albedo[where] = np.float32([0.05, 0.06, 0.07]) + 0.1 * (luck * 5 % 1)[:, None]
    surface.gloss[where] = 0.16
    lit = (luck < 0.34) | (shop[glass] & (luck < 0.8))
    warm = np.float32([1.0, 0.72, 0.4]) + np.float32([-0.25, 0.05, 0.4]) * (luck * 11 % 1)[:, None]
    shade = 0.5 + 0.5 * sample(texture(1.5, 4), u[glass] * 40, v[glass] * 40)
    surface.glow[where[lit]] = warm[lit] * (0.34 * shade[lit])[:, None]


def _foliage(surface, at, hits, u, v, grain, road) -> None:
    leaf = sample(texture(0.8, 5), u * 45 + hits.seed[at] * 331, v * 45)
    clump = sample(texture(1.6, 6), u * 14, v * 14)
    amount = 0.35 + 0.65 * grain
    surface.albedo[at] *= (1 + amount * (0.9 * leaf - 0.5 + 0.5 * (clump - 0.5)))[:, None]
    tilt = np.stack([leaf, clump, sample(texture(0.8, 7), u * 45, v * 45)], 1) - 0.5
    bent = hits.normal[at] + 1.3 * tilt + np.float32([0, 0, 0.15])
    surface.normal = surface.normal.copy() if surface.normal is hits.normal else surface.normal
    surface.normal[at] = bent / np.linalg.norm(bent, axis=1, keepdims=True)


def _grass(surface, at, hits, u, v, grain, road) -> None:
    blade = sample(texture(0.6, 8), u * 70, v * 70)
    patch = sample(texture(1.9, 9), u * 6, v * 6)
    tone = 1 + (blade - 0.5) * (0.3 + 0.8 * grain) + 0.5 * (patch - 0.5)
    surface.albedo[at] *= tone[:, None] * np.float32([1, 1, 1])
    dry = np.clip(patch * 2 - 1, 0, 1)[:, None]
    surface.albedo[at] += 0.25 * dry * (np.float32([0.3, 0.25, 0.14]) - surface.albedo[at])


def _gravel(surface, at, hits, u, v, grain, road) -> None:
    stone = sample(texture(0.5, 10), u * 34, v * 34)
    surface.albedo[at] *= (1 + (stone - 0.5) * (0.35 + 1.1 * grain))[:, None]


def _wood(surface, at, hits, u, v, grain, road) -> None:
    ring = sample(texture(1.0, 11), u * 90, v * 6)
    surface.albedo[at] *= (0.75 + 0.5 * ring)[:, None]


def _concrete(surface, at, hits, u, v, grain, road) -> None:
    stain = sample(texture(1.8, 12), u * 10, v * 22)
    joint = (u % 3.0 < 0.05) | (v % 2.5 < 0.05)
    surface.albedo[at] *= np.where(joint, 0.7, 0.78 + 0.4 * stain)[:, None]


def _paint(surface, at, hits, u, v, grain, road) -> None:
    surface.gloss[at] = 0.07


def _glass(surface, at, hits, u, v, grain, road) -> None:
    surface.gloss[at] = 0.2


def _water(surface, at, hits, u, v, grain, road) -> None:
    surface.gloss[at] = 0.06


def _rail(surface, at, hits, u, v, grain, road) -> None:
    surface.albedo[at] *= (0.7 + 0.45 * (np.abs((v * 5) % 1 - 0.5) < 0.28))[:, None]
    surface.gloss[at] = 0.04


def _sign(surface, at, hits, u, v, grain, road) -> None:
    """A coloured face with a pale symbol and a dark or pale edge, one of many by seed."""
    seed = hits.seed[at]
    radius = np.hypot(u, v)
    shape = np.floor(seed * 37) % 4
    bar = np.where(shape == 0, np.abs(v) < 0.13, np.where(shape == 1, np.abs(u) < 0.1, False))
    bar |= (shape == 2) & (np.abs(u + v) < 0.15)
    bar |= (shape == 3) & (np.hypot(u, v) < 0.22)
    pale = bar & (radius < 0.42) | ((radius > 0.5) & (radius < 0.58))
    surface.albedo[at[pale]] = np.where(
        (seed[pale] > 0.3)[:, None], np.float32(0.75), np.float32(0.06)
    )
    surface.gloss[at] = 0.05
    surface.glow[at] = surface.albedo[at] * 0.08  # retro-reflection, in the light of the headlights


def _lamp(strength: float):
    def paint(surface, at, hits, u, v, grain, road) -> None:
        surface.glow[at] = surface.albedo[at] * strength
        surface.gloss[at] = 0.08

    return paint


def _signal(surface, at, hits, u, v, grain, road) -> None:
    """The lit one of three lights is told by the object's seed; lit by day as well."""
    red, green = surface.albedo[at, 0], surface.albedo[at, 1]
    which = np.where(red < 0.5, 2, np.where(green > 0.3, 1, 0))
    lit = np.floor(hits.seed[at] * 3) == which
    surface.glow[at] = surface.albedo[at] * np.where(lit, 1.6, 0)[:, None]
    surface.albedo[at] *= np.where(lit, 1.0, 0.15)[:, None]


_PATTERNS = {
    Material.ASPHALT: _asphalt,
    Material.PAVING: _tiles(0.9, 0.6, 0.035, True),
    Material.FACADE: _facade,
    Material.BRICK: _tiles(0.55, 0.22, 0.03, True),
    Material.FOLIAGE: _foliage,
    Material.WOOD: _wood,
    Material.GRASS: _grass,
    Material.WATER: _water,
    Material.PAINT: _paint,
    Material.GLASS: _glass,
    Material.LAMP: _lamp(6.0),
    Material.SIGN: _sign,
    Material.CONCRETE: _concrete,
    Material.GRAVEL: _gravel,
    Material.HEADLIGHT: _lamp(5.0),
    Material.TAILLIGHT: _lamp(1.6),
    Material.RAIL: _rail,
    Material.SIGNAL: _signal,
}
