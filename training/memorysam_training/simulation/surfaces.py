"""Patterns: the colour, gloss and own light of each kind of surface at each hit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from memorysam_training.simulation.mesh import Material
from memorysam_training.simulation.noise import hashed, sample, texture
from memorysam_training.simulation.scene import Hits, dot

FLOOR_M = 3.2


@dataclass
class Surface:
    """What lighting needs to know of N hits."""

    albedo: np.ndarray
    """Linear R, G, B ``(3, N)``."""
    glow: np.ndarray
    """Light given off when lamps are fully on, ``(3, N)``."""
    gloss: np.ndarray
    """Mirror reflection at right angles, 0 to 1, ``(N,)``."""
    normal: np.ndarray
    """``(3, N)``."""


@dataclass
class Patch(Surface):
    """All that is of one material: its surface to paint, and what patterns depend on."""

    u: np.ndarray
    v: np.ndarray
    grain: np.ndarray
    """How much of fine patterns can be seen at the distance, 0 to 1."""
    seed: np.ndarray
    painted: np.ndarray


def surface_of(hits: Hits) -> Surface:
    """The surfaces under the hits, which must have hit something and rise by material."""
    u, v = hits.uv
    whole = Patch(
        albedo=hits.colour.copy(),
        glow=np.zeros((3, len(hits)), np.float32),
        gloss=np.zeros(len(hits), np.float32),
        normal=hits.normal.copy(),
        u=u,
        v=v,
        grain=1 / (1 + (hits.distance / 30) ** 2),
        seed=hits.seed,
        painted=hits.painted,
    )
    fine = sample(texture(1.0), u * 60 + whole.seed * 997, v * 60) - 0.5
    broad = sample(texture(1.7, 1), u * 9 + whole.seed * 577, v * 9) - 0.5
    vary = np.clip(1 + 0.22 * broad + 0.25 * whole.grain * fine, 0.4, 1.8)
    # Each pattern works on one stretch of memory, in place.
    bounds = np.searchsorted(hits.material, np.arange(len(Material) + 1))
    for material, paint in _PATTERNS.items():
        part = slice(*bounds[material : material + 2])
        if part.start < part.stop:
            paint(Patch(**{name: a[..., part] for name, a in vars(whole).items()}))
    whole.albedo *= vary
    return whole


def _rgb(*values: float) -> np.ndarray:
    return np.float32(values)[:, None]


def _fraction(x: np.ndarray) -> np.ndarray:
    return x - np.floor(x)


def _asphalt(p: Patch) -> None:
    patch = sample(texture(2.0, 2), p.u * 4, p.v * 4)
    tracks = 1 - 0.12 * np.exp(-((np.abs(np.abs(p.v) - 1.85) - 0.8) ** 2) / 0.1)
    p.albedo *= (0.75 + 0.3 * patch) * tracks
    at = np.flatnonzero(p.painted)
    wear = np.clip(sample(texture(1.2, 3), p.u[at] * 40, p.v[at] * 40) * 3, 0.45, 1)
    for channel, pale in zip(p.albedo, (0.78, 0.77, 0.72), strict=True):
        channel[at] = wear * pale
    p.gloss[:] = 0.02


def _tiles(size_u: float, size_v: float, joint: float, shift: bool) -> Callable[[Patch], None]:
    def paint(p: Patch) -> None:
        up = p.v / size_v
        row = np.floor(up)
        along = p.u / size_u
        if shift:
            along += _fraction(row / 2)
        column = np.floor(along)
        tone = 0.82 + 0.36 * hashed(column, row)
        np.copyto(tone, 0.62, where=(along - column < joint / size_u) | (up - row < joint / size_v))
        p.albedo *= 1 + (tone - 1) * np.clip(p.grain * 1.6, 0.25, 1)

    return paint


def _facade(p: Patch) -> None:
    upright = np.abs(p.normal[2]) < 0.5
    across, up = p.u / (2.1 + 1.5 * p.seed), (p.v - 0.6) / FLOOR_M
    column, floor = np.floor(across), np.floor(up)
    aside, up = np.abs(across - column - 0.5), up - floor
    shop = (floor == 0) & (_fraction(p.seed * 7) > 0.45)
    half = 0.2 + 0.14 * _fraction(p.seed * 13)
    low, high = np.full_like(half, 0.26), np.full_like(half, 0.84)
    for array, value in ((half, 0.43), (low, 0.12), (high, 0.8)):
        np.copyto(array, value, where=shop)
    pane = upright & (aside < half) & (up > low) & (up < high) & (p.v > 0.6)
    bar = (aside < 0.025) | (aside > half - 0.035) | (up < low + 0.03) | (up > high - 0.03)
    sill = upright & (aside < half + 0.05) & (np.abs(up - low) < 0.03)
    np.copyto(p.albedo, 0.55, where=sill | (pane & bar))
    p.albedo *= 1 - 0.2 * (upright & (np.abs(up - 0.02) < 0.03)).astype(np.float32)
    glass = np.flatnonzero(pane & ~bar)
    luck = hashed(column[glass] + np.floor(p.seed[glass] * 4096), floor[glass])
    p.albedo[:, glass] = _rgb(0.05, 0.06, 0.07) + 0.1 * _fraction(luck * 5)
    p.gloss[glass] = 0.16
    lit = np.flatnonzero((luck < 0.34) | (shop[glass] & (luck < 0.8)))
    glass, luck = glass[lit], luck[lit]
    warm = _rgb(1.0, 0.72, 0.4) + _rgb(-0.25, 0.05, 0.4) * _fraction(luck * 11)
    shade = 0.5 + 0.5 * sample(texture(1.5, 4), p.u[glass] * 40, p.v[glass] * 40)
    p.glow[:, glass] = warm * (0.34 * shade)


def _foliage(p: Patch) -> None:
    leaf = sample(texture(0.8, 5), p.u * 45 + p.seed * 331, p.v * 45)
    clump = sample(texture(1.6, 6), p.u * 14, p.v * 14)
    amount = 0.35 + 0.65 * p.grain
    p.albedo *= 1 + amount * (0.9 * leaf - 0.5 + 0.5 * (clump - 0.5))
    other = sample(texture(0.8, 7), p.u * 45, p.v * 45)
    for axis, tilt in enumerate((leaf, clump, other)):
        p.normal[axis] += 1.3 * (tilt - 0.5)
    p.normal[2] += 0.15
    p.normal /= np.sqrt(dot(p.normal, p.normal))


def _grass(p: Patch) -> None:
    blade = sample(texture(0.6, 8), p.u * 70, p.v * 70)
    patch = sample(texture(1.9, 9), p.u * 6, p.v * 6)
    p.albedo *= 1 + (blade - 0.5) * (0.3 + 0.8 * p.grain) + 0.5 * (patch - 0.5)
    dry = np.clip(patch * 2 - 1, 0, 1)
    p.albedo += 0.25 * dry * (_rgb(0.3, 0.25, 0.14) - p.albedo)


def _gravel(p: Patch) -> None:
    stone = sample(texture(0.5, 10), p.u * 34, p.v * 34)
    p.albedo *= 1 + (stone - 0.5) * (0.35 + 1.1 * p.grain)


def _wood(p: Patch) -> None:
    ring = sample(texture(1.0, 11), p.u * 90, p.v * 6)
    p.albedo *= 0.75 + 0.5 * ring


def _concrete(p: Patch) -> None:
    tone = 0.78 + 0.4 * sample(texture(1.8, 12), p.u * 10, p.v * 22)
    np.copyto(tone, 0.7, where=(_fraction(p.u / 3.0) < 0.05 / 3.0) | (_fraction(p.v / 2.5) < 0.02))
    p.albedo *= tone


def _shiny(gloss: float) -> Callable[[Patch], None]:
    def paint(p: Patch) -> None:
        p.gloss[:] = gloss

    return paint


def _rail(p: Patch) -> None:
    p.albedo *= 0.7 + 0.45 * (np.abs(_fraction(p.v * 5) - 0.5) < 0.28).astype(np.float32)
    p.gloss[:] = 0.04


def _sign(p: Patch) -> None:
    """A coloured face with a pale symbol and a dark or pale edge, one of many by seed."""
    u, v, radius = p.u, p.v, np.hypot(p.u, p.v)
    shape = np.floor(p.seed * 37) % 4
    bar = (shape == 0) & (np.abs(v) < 0.13)
    bar |= (shape == 1) & (np.abs(u) < 0.1)
    bar |= (shape == 2) & (np.abs(u + v) < 0.15)
    bar |= (shape == 3) & (radius < 0.22)
    pale = bar & (radius < 0.42) | ((radius > 0.5) & (radius < 0.58))
    np.copyto(p.albedo, np.where(p.seed > 0.3, np.float32(0.75), np.float32(0.06)), where=pale)
    p.gloss[:] = 0.05
    p.glow[:] = p.albedo * 0.08  # retro-reflection, in the light of the headlights


def _lamp(strength: float) -> Callable[[Patch], None]:
    def paint(p: Patch) -> None:
        p.glow[:] = p.albedo * strength
        p.gloss[:] = 0.08

    return paint


def _signal(p: Patch) -> None:
    """The lit one of three lights is told by the object's seed; lit by day as well."""
    red, green = p.albedo[0], p.albedo[1]
    which = np.where(red < 0.5, 2, np.where(green > 0.3, 1, 0))
    lit = np.floor(p.seed * 3) == which
    p.glow[:] = p.albedo * np.where(lit, np.float32(1.6), np.float32(0))
    p.albedo *= np.where(lit, np.float32(1), np.float32(0.15))


_PATTERNS = {
    Material.ASPHALT: _asphalt,
    Material.PAVING: _tiles(0.9, 0.6, 0.035, True),
    Material.FACADE: _facade,
    Material.BRICK: _tiles(0.55, 0.22, 0.03, True),
    Material.FOLIAGE: _foliage,
    Material.WOOD: _wood,
    Material.GRASS: _grass,
    Material.WATER: _shiny(0.06),
    Material.PAINT: _shiny(0.07),
    Material.GLASS: _shiny(0.2),
    Material.LAMP: _lamp(6.0),
    Material.SIGN: _sign,
    Material.CONCRETE: _concrete,
    Material.GRAVEL: _gravel,
    Material.HEADLIGHT: _lamp(5.0),
    Material.TAILLIGHT: _lamp(1.6),
    Material.RAIL: _rail,
    Material.SIGNAL: _signal,
}
