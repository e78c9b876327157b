"""Light: sky, sun with shadows, lamps with halos, reflections in what is wet, haze."""

from __future__ import annotations

import numpy as np

from memorysam_training.simulation.conditions import Weather
from memorysam_training.simulation.mesh import Material
from memorysam_training.simulation.noise import hashed, sample, smooth_sample, texture
from memorysam_training.simulation.scene import Hits, Snapshot
from memorysam_training.simulation.surfaces import Surface, surface_of

LAMP_COLOUR = np.float32([1.0, 0.68, 0.36])
LAMP_REACH_M = 75.0
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
    halo = clear * (0.09 * sun**6 + 0.22 * sun**40 + 14 * (sun > 0.9993) + 0.9 * sun**900)
    colour = colour + halo[:, None] * light
    if weather.cloudiness < 0.99:
        away = 1 / (up + 0.09)
        u, v = direction[:, 0] * away * 42 + 2 * t, direction[:, 1] * away * 42
        cover = smooth_sample(texture(1.9, 13), u, v) + 0.18 * (sample(texture(1.2, 14), u * 3, v * 3) - 0.5)
        cover = np.clip((cover - 1 + weather.cloudiness + 0.12) * 2.6, 0, 1) * np.clip(up * 9, 0, 1)
        bright = horizon * 1.05 + light * (0.16 + 0.25 * sun**4)[:, None]
        shade = 0.72 + 0.28 * smooth_sample(texture(1.9, 13), u + 9, v + 5)
        colour = colour + (0.9 * cover)[:, None] * (bright * shade[:, None] - colour)
    if weather.lamps > 0.7:
        cells = (np.floor(direction * 240)).astype(np.int32)
        star = hashed(cells[:, 0], cells[:, 1], cells[:, 2]) > 0.9985
        colour[star & (up > 0.05)] += 0.10 * (1 - weather.cloudiness)
    return colour.astype(np.float32)


def radiance(
    snapshot: Snapshot,
    hits: Hits,
    weather: Weather,
    *,
    ambient: np.ndarray | None = None,
    mirrors: bool = True,
    shadows: bool = True,
) -> np.ndarray:
    """Light that arrives along each ray, linear float32 ``(N, 3)``.

    ``ambient`` is the share of the sky that each hit sees (all of it where None).
    """
    world = snapshot.scene.world
    surface = surface_of(hits, world.road)
    solid = np.flatnonzero(hits.triangle >= 0)
    wet = _wetness(hits, surface, weather)
    surface.albedo *= (1 - 0.45 * np.minimum(wet, 1))[:, None]
    point = hits.point
    light = _daylight(snapshot, hits, surface, weather, point, solid, ambient, shadows)
    if weather.lamps > 0.02:
        light += _lamplight(snapshot, surface, weather, point)
    out = surface.albedo * light
    glowing = np.where(hits.material == Material.SIGNAL, 0.5 + 0.5 * weather.lamps, weather.lamps)
    out += surface.glow * glowing[:, None].astype(np.float32)
    _mirror(snapshot, hits, surface, weather, point, wet, out, mirrors)
    missed = np.flatnonzero(hits.triangle < 0)
    out[missed] = sky(hits.direction[missed], weather, world.sun_azimuth, snapshot.t)
    return _air(snapshot, hits, weather, out)


def _wetness(hits: Hits, surface: Surface, weather: Weather) -> np.ndarray:
    """0 dry to 1 under water; more in puddles, and only where rain stays."""
    if weather.wet < 0.01:
        return np.zeros(len(hits), np.float32)
    level = (surface.normal[:, 2] > 0.9) & (hits.material != Material.FOLIAGE)
    level &= (hits.material != Material.GRASS) & (hits.triangle >= 0)
    puddle = smooth_sample(texture(2.0, 15), hits.uv[:, 0] * 7, hits.uv[:, 1] * 9)
    deep = np.clip((puddle - 0.55) * 6, 0, 1)
    return (level * weather.wet * (0.45 + 0.55 * deep)).astype(np.float32)


def _daylight(
    snapshot: Snapshot, hits: Hits, surface: Surface, weather: Weather, point: np.ndarray,
    solid: np.ndarray, ambient: np.ndarray | None, shadows: bool,
) -> np.ndarray:
    zenith, horizon = np.float32(weather.zenith), np.float32(weather.horizon)
    upward = (0.5 + 0.5 * surface.normal[:, 2])[:, None]
    bounce = 0.28 * (horizon + 0.3 * np.float32(weather.sun))
    skylight = upward * (0.45 * zenith + 0.55 * horizon) * 1.25 + (1 - upward) * bounce
    if ambient is not None:
        skylight *= ambient[:, None]
    sun = sun_direction(weather, snapshot.scene.world.sun_azimuth)
    facing = np.clip(surface.normal @ sun, 0, 1)
    leafy = hits.material == Material.FOLIAGE
    facing[leafy] = 0.3 + 0.7 * facing[leafy]
    if shadows and max(weather.sun) * (1 - weather.cloudiness) > _NO_SHADOW:
        lit = solid[facing[solid] > 0.01]
        start = point[lit] + hits.normal[lit] * (0.02 + 0.001 * hits.distance[lit, None])
        shade = snapshot.blocked(start, sun)
        facing[lit[shade]] *= 0.06
    return skylight + facing[:, None] * np.float32(weather.sun)


def _lamplight(
    snapshot: Snapshot, surface: Surface, weather: Weather, point: np.ndarray
) -> np.ndarray:
    """Street lamps near the vehicle, and its own headlights."""
    light = np.zeros_like(point)
    for lamp in near_lamps(snapshot):
        ray = lamp - point
        square = np.einsum("ij,ij->i", ray, ray) + 1e-3
        inverse = 1 / np.sqrt(square)
        facing = np.clip(np.einsum("ij,ij->i", ray, surface.normal) * inverse, 0, 1)
        cone = np.clip(ray[:, 2] * inverse + 0.1, 0, 1)
        light += (facing * cone * (9.0 * weather.lamps) / (square + 6))[:, None] * LAMP_COLOUR
    pose = snapshot.scene.world.ego.pose(snapshot.scene.world.road, snapshot.t)
    for side in (-0.65, 0.65):
        source = pose[:3, :3] @ (1.9, side, 0.75) + pose[:3, 3]
        aim = pose[:3, :3] @ np.array([1.0, 0.03 * np.sign(side), -0.035])
        ray = (point - source).astype(np.float32)
        square = np.einsum("ij,ij->i", ray, ray) + 1e-3
        inverse = 1 / np.sqrt(square)
        beam = np.clip((ray @ np.float32(aim / np.linalg.norm(aim)) * inverse - 0.90) / 0.10, 0, 1)
        facing = np.clip(-np.einsum("ij,ij->i", ray, surface.normal) * inverse, 0, 1)
        strength = 34.0 * weather.lamps * beam**2 * (0.15 + 0.85 * facing) / (square + 30)
        light += strength[:, None] * np.float32([1.0, 0.95, 0.85])
    return light


def near_lamps(snapshot: Snapshot) -> np.ndarray:
    """The street lamps whose light matters near the vehicle, ``(K, 3)``, at most nine."""
    world = snapshot.scene.world
    if not len(world.lamps):
        return np.zeros((0, 3), np.float32)
    pose = world.ego.pose(world.road, snapshot.t)
    offset = world.lamps - pose[:3, 3] - 14 * pose[:3, 0]
    away = np.linalg.norm(offset, axis=1)
    order = np.argsort(away, kind="stable")[:9]
    return world.lamps[order[away[order] < LAMP_REACH_M]].astype(np.float32)


def _mirror(
    snapshot: Snapshot, hits: Hits, surface: Surface, weather: Weather, point: np.ndarray,
    wet: np.ndarray, out: np.ndarray, trace: bool,
) -> None:
    """Adds reflections: of the scene in water and wet ground, of the sky in glass and paint."""
    water = hits.material == Material.WATER
    gloss = np.maximum(surface.gloss, 0.10 * wet)
    at = np.flatnonzero((gloss > 0.03) & (hits.triangle >= 0))
    if not len(at):
        return
    normal = hits.normal[at].copy()
    u, v = hits.uv[at, 0], hits.uv[at, 1]
    ripple = np.where(water[at], 0.05, 0.035 * wet[at] * (1.2 - wet[at]))
    normal[:, 0] += ripple * (smooth_sample(texture(1.4, 16), u * 30 + 8 * snapshot.t, v * 30) - 0.5)
    normal[:, 1] += ripple * (smooth_sample(texture(1.4, 17), u * 30, v * 30 + 8 * snapshot.t) - 0.5)
    direction = hits.direction[at]
    cosine = np.clip(-np.einsum("ij,ij->i", normal, direction), 0, 1)
    bounced = direction + 2 * cosine[:, None] * normal
    bounced /= np.linalg.norm(bounced, axis=1, keepdims=True)
    share = gloss[at] + (1 - gloss[at]) * (1 - cosine) ** 5
    share *= np.where(water[at], 1, np.where(wet[at] > 0, np.minimum(wet[at] * 1.1, 1), 0.8))
    seen = sky(bounced, weather, snapshot.scene.world.sun_azimuth, snapshot.t)
    traced = np.flatnonzero((water[at] | (wet[at] > 0.05)) & (share > 0.02))
    if trace and len(traced):
        start = point[at[traced]] + hits.normal[at[traced]] * 0.02
        beyond = snapshot.cast(start, bounced[traced])
        seen[traced] = radiance(snapshot, beyond, weather, mirrors=False, shadows=False)
    else:
        bounced_low = np.clip(0.35 - bounced[:, 2], 0, 0.35) / 0.35
        seen *= (1 - 0.55 * bounced_low)[:, None]
    out[at] += share[:, None] * (seen - out[at] * np.minimum(1, share)[:, None])


def _air(snapshot: Snapshot, hits: Hits, weather: Weather, out: np.ndarray) -> np.ndarray:
    """Haze over distance, and the halos of lamps in it."""
    path = np.minimum(hits.distance, FOG_PATH_M)
    veil = 1 - np.exp(-weather.fog * path)
    # Clear air leaves the sky's own colours alone; fog hides it.
    veil = np.where(hits.triangle < 0, veil if weather.fog > 0.006 else 0, veil)
    haze = np.float32(weather.horizon) * (0.94 if weather.fog > 0.006 else 0.9)
    out += veil[:, None].astype(np.float32) * (haze - out)
    if weather.scatter * weather.lamps > 1e-3:
        for lamp in near_lamps(snapshot):
            toward = lamp - hits.origin
            along = np.einsum("ij,ij->i", toward, hits.direction)
            square = np.einsum("ij,ij->i", toward, toward)
            gap = np.sqrt(np.maximum(square - along**2, 0.02))
            arc = (np.arctan((path - along) / gap) + np.arctan(along / gap)) / gap
            out += (weather.scatter * weather.lamps * arc)[:, None] * LAMP_COLOUR
    return out


FOG_PATH_M = 400.0
"""Beyond this much air, more makes no difference."""

