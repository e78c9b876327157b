"""Light: sky, sun with shadows, lamps with halos, reflections in what is wet, haze."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from memorysam_training.simulation.conditions import Weather
from memorysam_training.simulation.mesh import Material
from memorysam_training.simulation.noise import hashed, sample, smooth_sample, texture
from memorysam_training.simulation.scene import Hits, Snapshot
from memorysam_training.simulation.surfaces import Surface, surface_of

LAMP_COLOUR = np.float32([1.0, 0.68, 0.36])
LAMP_REACH_M = 75.0
_LAMP_POOL_M = 22.0
"""Radius of the light of a street lamp that matters."""
_HALO_M = 12.0
"""Radius of the glow around a lamp in hazy air."""
_NO_SHADOW = 0.03
"""Sunlight below this casts no shadow that could be seen."""


def sun_direction(weather: Weather, azimuth: float) -> np.ndarray:
    """Unit vector towards the sun."""
    flat = np.cos(weather.elevation)
    return np.float32([flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(weather.elevation)])


def sky(direction: np.ndarray, weather: Weather, azimuth: float, t: float) -> np.ndarray:
    """Radiance of the sky, float32 ``(N, 3)``, in the directions ``(N, 3)``."""
    up = np.clip(direction[:, 2], 0, 1)
    zenith, horizon = np.float32(weather.zenith), np.float32(weather.horizon)
    colour = horizon + (zenith - horizon) * (up**0.55)[:, None]
    sun = direction @ sun_direction(weather, azimuth)
    sun = np.clip(sun, 0, 1)
    light = np.float32(weather.sun)
    clear = 1 - weather.cloudiness * 0.8
    disc = np.zeros_like(sun)
    near = np.flatnonzero(sun > 0.88)  # elsewhere it is 0 in single precision, at much expense
    disc[near] = 0.9 * sun[near] ** 900
    halo = clear * (0.09 * sun**6 + 0.22 * sun**40 + 14 * (sun > 0.9993) + disc)
    colour = colour + halo[:, None] * light
    if weather.cloudiness < 0.99:
        away = 1 / (up + 0.09)
        u, v = direction[:, 0] * away * 42 + 2 * t, direction[:, 1] * away * 42
        cover = smooth_sample(texture(1.9, 13), u, v) + 0.18 * (
            sample(texture(1.2, 14), u * 3, v * 3) - 0.5
        )
        cover = np.clip((cover - 1 + weather.cloudiness + 0.12) * 2.6, 0, 1) * np.clip(up * 9, 0, 1)
        bright = horizon * 1.05 + light * (0.16 + 0.25 * sun**4)[:, None]
        shade = 0.72 + 0.28 * smooth_sample(texture(1.9, 13), u + 9, v + 5)
        colour = colour + (0.9 * cover)[:, None] * (bright * shade[:, None] - colour)
    if weather.lamps > 0.7:
        cells = (np.floor(direction * 240)).astype(np.int32)
        star = hashed(cells[:, 0], cells[:, 1], cells[:, 2]) > 0.9985
        colour[star & (up > 0.05)] += 0.10 * (1 - weather.cloudiness)
    return colour.astype(np.float32)


@dataclass
class Light:
    """Light that arrives along N rays, and how much of it came from the open sky."""

    total: np.ndarray
    """Linear, float32 ``(N, 3)``."""
    skylight: np.ndarray
    """The part of it that is gone where something near hides the sky, ``(N, 3)``."""


def radiance(
    snapshot: Snapshot, hits: Hits, weather: Weather, *, second_hand: bool = False
) -> Light:
    """Light that arrives along each ray.

    ``second_hand`` light is seen in a mirror: without shadows, halos and further mirrors.
    """
    world = snapshot.scene.world
    surface = surface_of(hits, world.road)
    wet = _wetness(hits, surface, weather)
    surface.albedo *= (1 - 0.45 * np.minimum(wet, 1))[:, None]
    skylight = surface.albedo * _skylight(surface, weather)
    sunlight = _sunlight(snapshot, hits, surface, weather, shadows=not second_hand)
    out = skylight + surface.albedo * sunlight[:, None] * np.float32(weather.sun)
    if weather.lamps > 0.02:
        out += surface.albedo * _lamplight(snapshot, hits, surface, weather)
    glowing = np.where(hits.material == Material.SIGNAL, 0.5 + 0.5 * weather.lamps, weather.lamps)
    out += surface.glow * glowing[:, None].astype(np.float32)
    _mirror(snapshot, hits, surface, weather, wet, out, trace=not second_hand)
    missed = np.flatnonzero(hits.triangle < 0)
    skylight[missed] = 0
    out[missed] = sky(hits.direction[missed], weather, world.sun_azimuth, snapshot.t)
    _air(snapshot, hits, weather, out, skylight, halos=not second_hand)
    return Light(out, skylight)


def _wetness(hits: Hits, surface: Surface, weather: Weather) -> np.ndarray:
    """0 dry to 1 under water; more in puddles, and only where rain stays."""
    if weather.wet < 0.01:
        return np.zeros(len(hits), np.float32)
    level = (surface.normal[:, 2] > 0.9) & (hits.material != Material.FOLIAGE)
    level &= (hits.material != Material.GRASS) & (hits.triangle >= 0)
    puddle = smooth_sample(texture(2.0, 15), hits.uv[:, 0] * 7, hits.uv[:, 1] * 9)
    deep = np.clip((puddle - 0.55) * 6, 0, 1)
    return (level * weather.wet * (0.45 + 0.55 * deep)).astype(np.float32)


def _skylight(surface: Surface, weather: Weather) -> np.ndarray:
    zenith, horizon = np.float32(weather.zenith), np.float32(weather.horizon)
    upward = (0.5 + 0.5 * surface.normal[:, 2])[:, None]
    bounce = 0.28 * (horizon + 0.3 * np.float32(weather.sun))
    return bounce + upward * ((0.45 * zenith + 0.55 * horizon) * 1.25 - bounce)


def _sunlight(
    snapshot: Snapshot, hits: Hits, surface: Surface, weather: Weather, *, shadows: bool
) -> np.ndarray:
    """Share of the sun's light that falls on each hit, ``(N,)``."""
    sun = sun_direction(weather, snapshot.scene.world.sun_azimuth)
    facing = np.clip(surface.normal @ sun, 0, 1)
    leafy = hits.material == Material.FOLIAGE
    facing[leafy] = 0.3 + 0.7 * facing[leafy]
    if shadows and max(weather.sun) * (1 - weather.cloudiness) > _NO_SHADOW:
        lit = np.flatnonzero((facing > 0.01) & (hits.triangle >= 0))
        lift = 0.02 + 0.001 * hits.distance[lit, None]
        start = hits.point.take(lit, 0) + hits.normal.take(lit, 0) * lift
        shade = snapshot.blocked(start, sun)
        facing[lit[shade]] *= 0.06
    return facing


def _lamplight(snapshot: Snapshot, hits: Hits, surface: Surface, weather: Weather) -> np.ndarray:
    """Street lamps near the vehicle, and its own headlights, ``(N, 3)``."""
    light, near = np.zeros((len(hits), 3), np.float32), np.float32(0)
    pose = snapshot.scene.world.ego.pose(snapshot.scene.world.road, snapshot.t)
    at = np.flatnonzero((hits.triangle >= 0) & (hits.distance < LAMP_REACH_M))
    centre = pose[:3, 3].astype(np.float32)  # nearby numbers keep single precision sharp
    point, normal = hits.point.take(at, 0) - centre, surface.normal.take(at, 0)
    lamps = near_lamps(snapshot) - centre
    own = np.einsum("ij,ij->i", point, normal)[:, None]
    square = np.einsum("ij,ij->i", point, point)[:, None]
    if len(lamps):
        apart = square - 2 * (point @ lamps.T) + np.float32((lamps**2).sum(1))
        flat = np.flatnonzero(apart < _LAMP_POOL_M**2)
        row = flat // len(lamps)
        lamp = flat - row * len(lamps)
        apart = apart.ravel()[flat]
        inverse = 1 / np.sqrt(np.maximum(apart, 0.01))
        facing = np.clip(((normal @ lamps.T - own).ravel()[flat]) * inverse, 0, 1)
        above = lamps[:, 2].take(lamp) - point[:, 2].take(row)
        cone = np.clip(above * inverse + np.float32(0.1), 0, 1)
        fade = (1 - apart / np.float32(_LAMP_POOL_M**2)) ** 2
        strength = np.bincount(row, facing * cone * fade / (apart + 6), len(at))
        near = (strength * 10.0 * weather.lamps).astype(np.float32)[:, None] * LAMP_COLOUR
    source = (pose[:3, :3] @ (1.9, 0, 0.75)).astype(np.float32)
    ray = point - source
    square = np.einsum("ij,ij->i", ray, ray) + np.float32(1e-3)
    inverse = 1 / np.sqrt(square)
    local = ray @ pose[:3, :3].astype(np.float32) * inverse[:, None]
    # Two beams side by side, cut off above the horizon as a dipped headlight is.
    across = np.abs(local[:, 1]) - np.float32(0.05)
    beam = np.exp(
        -((across / np.float32(0.17)) ** 2) - ((local[:, 2] + 0.05) / np.float32(0.09)) ** 2
    )
    beam *= local[:, 0] > 0.2
    facing = np.clip(-np.einsum("ij,ij->i", ray, normal) * inverse, 0, 1)
    strength = np.float32(46.0 * weather.lamps) * beam * (0.15 + 0.85 * facing) / (square + 30)
    light[at] = near + strength[:, None] * np.float32([1.0, 0.95, 0.85])
    return light


def near_lamps(snapshot: Snapshot) -> np.ndarray:
    """The street lamps whose light matters near the vehicle, ``(K, 3)``, at most eight."""
    world = snapshot.scene.world
    if not len(world.lamps):
        return np.zeros((0, 3), np.float32)
    pose = world.ego.pose(world.road, snapshot.t)
    offset = world.lamps - pose[:3, 3] - 14 * pose[:3, 0]
    away = np.linalg.norm(offset, axis=1)
    order = np.argsort(away, kind="stable")[:8]
    return world.lamps[order[away[order] < LAMP_REACH_M]].astype(np.float32)


def _mirror(
    snapshot: Snapshot,
    hits: Hits,
    surface: Surface,
    weather: Weather,
    wet: np.ndarray,
    out: np.ndarray,
    *,
    trace: bool,
) -> None:
    """Adds reflections: of the scene in water and wet ground, of the sky in glass and paint."""
    water = hits.material == Material.WATER
    gloss = np.maximum(surface.gloss, 0.10 * wet)
    at = np.flatnonzero((gloss > 0.03) & (hits.triangle >= 0))
    if not len(at):
        return
    normal, water, wet = hits.normal.take(at, 0), water[at], wet[at]
    u, v = hits.uv[at, 0] * 30, hits.uv[at, 1] * 30
    ripple = np.where(water, np.float32(0.05), np.float32(0.035) * wet * (1.2 - wet))
    drift = 8 * snapshot.t
    normal[:, 0] += ripple * (smooth_sample(texture(1.4, 16), u + drift, v) - 0.5)
    normal[:, 1] += ripple * (smooth_sample(texture(1.4, 17), u, v + drift) - 0.5)
    direction = hits.direction.take(at, 0)
    cosine = np.clip(-np.einsum("ij,ij->i", normal, direction), 0, 1)
    bounced = direction + 2 * cosine[:, None] * normal
    bounced /= np.sqrt(np.einsum("ij,ij->i", bounced, bounced))[:, None]
    share = gloss[at] + (1 - gloss[at]) * (1 - cosine) ** 5
    share *= np.where(water, 1, np.where(wet > 0, np.minimum(wet * 1.1, 1), 0.8))
    near = water | (wet > 0.05)
    traced = np.flatnonzero(near & (share > 0.03)) if trace else np.zeros(0, np.int64)
    plain = np.ones(len(at), bool)
    plain[traced] = False
    seen = np.empty((len(at), 3), np.float32)
    seen[plain] = sky(bounced[plain], weather, snapshot.scene.world.sun_azimuth, snapshot.t)
    seen[plain] *= (1 - 0.55 * np.clip(1 - bounced[plain, 2] / 0.35, 0, 1))[:, None]
    if len(traced):
        start = hits.point[at[traced]] + hits.normal[at[traced]] * np.float32(0.02)
        beyond = snapshot.cast(start, bounced[traced])
        seen[traced] = radiance(snapshot, beyond, weather, second_hand=True).total
    share = np.minimum(share, 1).astype(np.float32)[:, None]
    before = out.take(at, 0)
    out[at] = before + share * (seen - before * share)


def _air(
    snapshot: Snapshot,
    hits: Hits,
    weather: Weather,
    out: np.ndarray,
    skylight: np.ndarray,
    *,
    halos: bool,
) -> None:
    """Haze over distance, and the halos of lamps in it."""
    path = np.minimum(hits.distance, np.float32(FOG_PATH_M))
    veil = 1 - np.exp(np.float32(-weather.fog) * path)
    thick = weather.fog > 0.006
    # Clear air leaves the sky's own colours alone; fog hides it.
    veil = np.where(hits.triangle < 0, veil if thick else 0, veil)[:, None].astype(np.float32)
    haze = np.float32(weather.horizon) * np.float32(0.94 if thick else 0.9)
    out += veil * (haze - out)
    skylight *= 1 - veil
    lamps = near_lamps(snapshot)
    if halos and len(lamps) and weather.scatter * weather.lamps > 1e-3:
        toward = lamps - hits.origin[0]
        along = hits.direction @ toward.T
        square = (toward**2).sum(1) - along**2
        flat = np.flatnonzero((square < _HALO_M**2) & (along > -1))
        row = flat // len(lamps)
        along, gap = along.ravel()[flat], np.sqrt(np.maximum(square.ravel()[flat], 0.02))
        arc = (_arctan((path[row] - along) / gap) + _arctan(along / gap)) / gap
        arc *= (1 - gap / np.float32(_HALO_M)) ** 2
        glow = np.bincount(row, arc, len(hits)) * (weather.scatter * weather.lamps)
        out += glow.astype(np.float32)[:, None] * LAMP_COLOUR


def _arctan(x: np.ndarray) -> np.ndarray:
    """Within 0.008 of the arc tangent, at a fraction of its time; a soft glow needs no more."""
    size = np.abs(x)
    above = np.float32(np.pi / 2) * size * (size + np.float32(0.8))
    return np.copysign(above / (size * (size + np.float32(1.35)) + np.float32(1.2566)), x)


FOG_PATH_M = 400.0
"""Beyond this much air, more makes no difference."""
