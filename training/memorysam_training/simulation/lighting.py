"""Light: sky, sun with shadows, lamps, reflections in what is wet, haze."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from memorysam_training.simulation.conditions import Rgb, Weather
from memorysam_training.simulation.lamps import COLOUR, halos, lamplight
from memorysam_training.simulation.mesh import Material
from memorysam_training.simulation.noise import hashed, sample, smooth_sample, texture
from memorysam_training.simulation.scene import Hits, Snapshot, dot
from memorysam_training.simulation.spread import Spread
from memorysam_training.simulation.surfaces import Surface, surface_of

FOG_PATH_M = 400.0
"""Beyond this much air, more makes no difference."""
_THICK = 0.006
"""Extinction, 1/m, of air in which the sky cannot be told from haze."""
_NO_SHADOW = 0.03
"""Sunlight below this casts no shadow that could be seen."""


def sun_direction(weather: Weather, azimuth: float) -> np.ndarray:
    """Unit vector towards the sun."""
    flat = np.cos(weather.elevation)
    return np.float32([flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(weather.elevation)])


def sky(direction: np.ndarray, weather: Weather, azimuth: float, t: float) -> np.ndarray:
    """Radiance of the sky, float32 ``(3, N)``, in the directions ``(3, N)``."""
    up = np.clip(direction[2], 0, 1)
    zenith, horizon = _rgb(weather.zenith), _rgb(weather.horizon)
    colour = horizon + (zenith - horizon) * up ** np.float32(0.55)
    sun = np.clip(dot(sun_direction(weather, azimuth), direction), 0, 1)
    wide = sun * sun * sun
    halo = 0.09 * wide * wide
    near = np.flatnonzero(sun > 0.8)  # elsewhere nothing of these is seen, at much expense
    bright = sun[near]
    halo[near] += 0.22 * bright**40 + 0.9 * bright**900 + 14 * (bright > 0.9993)
    colour += (1 - weather.cloudiness * 0.8) * halo * _rgb(weather.sun)
    if weather.cloudiness < 0.99:
        _clouds(colour, direction, sun, weather, t)
    if weather.lamps > 0.7:
        star = (hashed(*np.floor(direction * 240)) > 0.9985) & (up > 0.05)
        colour += 0.10 * (1 - weather.cloudiness) * star.astype(np.float32)
    return colour


def _clouds(
    colour: np.ndarray, direction: np.ndarray, sun: np.ndarray, weather: Weather, t: float
) -> None:
    """Draws clouds over the sky's colour; ``sun`` is the cosine of the angle to it."""
    up = np.clip(direction[2], 0, 1)
    away = 42 / (up + 0.09)
    u, v = direction[0] * away + 2 * t, direction[1] * away
    fine = 0.18 * (sample(texture(1.2, 14), u * 3, v * 3) - 0.5)
    cover = smooth_sample(texture(1.9, 13), u, v) + fine
    cover = np.clip((cover + (weather.cloudiness - 0.88)) * 2.6, 0, 1) * np.clip(up * 9, 0, 1)
    shade = 0.72 + 0.28 * smooth_sample(texture(1.9, 13), u + 9, v + 5)
    bright = 1.05 * _rgb(weather.horizon) + _rgb(weather.sun) * (0.16 + 0.25 * (sun * sun) ** 2)
    colour += 0.9 * cover * (bright * shade - colour)


@dataclass
class Light:
    """Light that arrives along N rays, and how much of it came from the open sky."""

    total: np.ndarray
    """Linear, float32 ``(3, N)``."""
    skylight: np.ndarray
    """The part of it that is gone where something near hides the sky, ``(3, N)``."""


def radiance(
    snapshot: Snapshot, hits: Hits, weather: Weather, shape: tuple[int, int] | None = None
) -> Light:
    """Light that arrives along each ray.

    ``shape`` is that of the image whose pixels the rays are. Without it, light is seen second-hand,
    as in a mirror: without shadows, halos and further mirrors.
    """
    met, missed = _by_material(hits)
    out, skylight = np.zeros((2, 3, len(hits)), np.float32)
    azimuth = snapshot.scene.world.sun_azimuth
    far = sky(hits.direction.take(missed, 1), weather, azimuth, snapshot.t)
    if weather.fog > _THICK:  # clear air leaves the sky's own colours alone; fog hides it
        _veil(np.full(len(missed), FOG_PATH_M, np.float32), weather, far)
    _put(out, missed, far)
    for whole, part in zip((out, skylight), _lit(snapshot, hits, met, weather, shape), strict=True):
        _put(whole, met, part)
    if shape and weather.scatter * weather.lamps > 1e-3:
        out += weather.scatter * weather.lamps * _glow(snapshot, hits, shape) * COLOUR
    return Light(out, skylight)


def _by_material(hits: Hits) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the rays that meet something, in the order of materials, and of the others."""
    order = np.argsort(np.where(hits.triangle < 0, np.uint8(255), hits.material), kind="stable")
    count = np.count_nonzero(hits.triangle >= 0)
    return order[:count], order[count:]


def _lit(
    snapshot: Snapshot,
    hits: Hits,
    met: np.ndarray,
    weather: Weather,
    shape: tuple[int, int] | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Of the rays ``met`` (K,), which meet something: light, and the skylight in it, ``(3, K)``."""
    hits = hits.take(met)
    surface = surface_of(hits)
    wet = _wetness(hits, surface, weather)
    surface.albedo *= 1 - 0.45 * wet
    skylight = surface.albedo * _skylight(surface, weather)
    sunlight = _sunlight(snapshot, hits, surface, weather, shadows=shape is not None)
    direct = sunlight * _rgb(weather.sun)
    if weather.lamps > 0.02:
        direct += lamplight(snapshot, hits, surface.normal, weather.lamps)
    out = surface.albedo * direct + skylight
    signal = (hits.material == Material.SIGNAL).astype(np.float32)
    out += surface.glow * (weather.lamps + (0.5 - 0.5 * weather.lamps) * signal)
    _mirror(snapshot, hits, surface, weather, wet, out, met, shape)
    skylight *= 1 - _veil(np.minimum(hits.distance, FOG_PATH_M), weather, out)
    return out, skylight


def _glow(snapshot: Snapshot, hits: Hits, shape: tuple[int, int]) -> np.ndarray:
    """Of hazy air around lamps, ``(N,)``; soft enough to be seen by every fourth pixel."""
    path = np.minimum(hits.distance, FOG_PATH_M).reshape(shape)[::2, ::2]
    direction = hits.direction.reshape(3, *shape)[:, ::2, ::2]
    glow = halos(snapshot, hits.origin[:, 0], direction.reshape(3, -1), path.ravel())
    image = torch.from_numpy(glow.reshape(path.shape))[None, None]
    return torch.nn.functional.interpolate(image, shape, mode="bilinear").numpy().ravel()


def _rgb(values: Rgb) -> np.ndarray:
    return np.float32(values)[:, None]


def _put(array: np.ndarray, at: np.ndarray, values: np.ndarray) -> None:
    """``array[:, at] = values``, row by row: numpy takes a third of the time."""
    for row, value in zip(array, values, strict=True):
        row[at] = value


def _wetness(hits: Hits, surface: Surface, weather: Weather) -> np.ndarray:
    """0 dry to 1 under water; more in puddles, and only where rain stays."""
    wet = np.zeros(len(hits), np.float32)
    if weather.wet < 0.01:
        return wet
    level = (surface.normal[2] > 0.9) & (hits.material != Material.FOLIAGE)
    level &= hits.material != Material.GRASS
    at = np.flatnonzero(level)
    u, v = hits.uv.take(at, 1)
    puddle = smooth_sample(texture(2.0, 15), u * 7, v * 9)
    wet[at] = weather.wet * (0.45 + 0.55 * np.clip((puddle - 0.55) * 6, 0, 1))
    return wet


def _skylight(surface: Surface, weather: Weather) -> np.ndarray:
    """Of the open sky and the ground's bounce on each hit, ``(3, N)``."""
    bounce = 0.28 * (_rgb(weather.horizon) + 0.3 * _rgb(weather.sun))
    above = (0.45 * _rgb(weather.zenith) + 0.55 * _rgb(weather.horizon)) * 1.25
    return (above + bounce) / 2 + (above - bounce) / 2 * surface.normal[2]


def _sunlight(
    snapshot: Snapshot, hits: Hits, surface: Surface, weather: Weather, *, shadows: bool
) -> np.ndarray:
    """Share of the sun's light that falls on each hit, ``(N,)``."""
    sun = sun_direction(weather, snapshot.scene.world.sun_azimuth)
    facing = np.clip(dot(sun, surface.normal), 0, 1)
    leafy = np.flatnonzero(hits.material == Material.FOLIAGE)
    facing[leafy] = 0.3 + 0.7 * facing[leafy]
    if shadows and max(weather.sun) * (1 - weather.cloudiness) > _NO_SHADOW:
        lit = np.flatnonzero(facing > 0.01)
        lift = 0.02 + 0.001 * hits.distance[lit]
        start = hits.point.take(lit, 1) + hits.normal.take(lit, 1) * lift
        facing[lit[snapshot.blocked(start, sun)]] *= 0.06
    return facing


def _mirror(
    snapshot: Snapshot,
    hits: Hits,
    surface: Surface,
    weather: Weather,
    wet: np.ndarray,
    out: np.ndarray,
    pixel: np.ndarray,
    shape: tuple[int, int] | None,
) -> None:
    """Adds reflections: of the scene in water and wet ground, of the sky in glass and paint."""
    gloss = np.maximum(surface.gloss, np.float32(0.10) * wet)
    at = np.flatnonzero(gloss > 0.03)
    if not len(at):
        return
    water, wet, gloss = hits.material[at] == Material.WATER, wet[at], gloss[at]
    normal, direction = _rippled(snapshot, hits, at, wet, water), hits.direction.take(at, 1)
    cosine = np.clip(-dot(normal, direction), 0, 1)
    bounced = direction + 2 * cosine * normal
    bounced /= np.sqrt(dot(bounced, bounced))
    grazing = 1 - cosine
    share = gloss + (1 - gloss) * grazing * (grazing * grazing) ** 2  # Schlick
    rough = np.where(wet > 0, np.minimum(wet * 1.1, 1), np.float32(0.8))
    share = np.minimum(np.where(water, share, rough * share), 1)
    traced = (water | (wet > 0.05)) & (share > 0.03) & (shape is not None)
    plain, traced = np.flatnonzero(~traced), np.flatnonzero(traced)
    up, seen = bounced.take(plain, 1), np.empty_like(bounced)
    far = sky(up, weather, snapshot.scene.world.sun_azimuth, snapshot.t)
    _put(seen, plain, far * (1 - 0.55 * np.clip(1 - up[2] / 0.35, 0, 1)))
    if shape and len(traced):
        spread = Spread(pixel[at[traced]], shape, water[traced])
        few = traced[spread.few]
        start = hits.point.take(at[few], 1) + np.float32(0.02) * hits.normal.take(at[few], 1)
        beyond = snapshot.cast(start, bounced.take(few, 1))
        _put(seen, traced, spread(radiance(snapshot, beyond, weather).total))
    before = out.take(at, 1)
    _put(out, at, before + share * (seen - before * share))


def _rippled(
    snapshot: Snapshot, hits: Hits, at: np.ndarray, wet: np.ndarray, water: np.ndarray
) -> np.ndarray:
    """Normals at some of the hits, disturbed where there is water, ``(3, K)``."""
    normal = hits.normal.take(at, 1)
    ripple = np.where(water, np.float32(0.05), np.float32(0.035) * wet * (1.2 - wet))
    moved = np.flatnonzero(ripple)
    (u, v), drift = hits.uv.take(at[moved], 1) * 30, 8 * snapshot.t
    normal[0, moved] += ripple[moved] * (smooth_sample(texture(1.4, 16), u + drift, v) - 0.5)
    normal[1, moved] += ripple[moved] * (smooth_sample(texture(1.4, 17), u, v + drift) - 0.5)
    return normal


def _veil(path: np.ndarray, weather: Weather, light: np.ndarray) -> np.ndarray:
    """Puts the haze of so many metres of air over light ``(3, N)``; its share of it, ``(N,)``."""
    veil = 1 - np.exp(-weather.fog * path)
    haze = _rgb(weather.horizon) * np.float32(0.94 if weather.fog > _THICK else 0.9)
    light += veil * (haze - light)
    return veil
