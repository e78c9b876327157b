"""Street lamps and headlights: what they light, and their halos in hazy air."""

from __future__ import annotations

import numpy as np

from memorysam_training.simulation.scene import Hits, Snapshot, dot, turned

REACH_M = 75.0
"""How far from the vehicle lamps and what they light matter."""
COLOUR = np.float32([1.0, 0.68, 0.36])[:, None]
_HEADLIGHT = np.float32([1.0, 0.95, 0.85])[:, None]
_POOL_M = 22.0
"""Radius of the light of a street lamp that matters."""
_HALO_M = 12.0
"""Radius of the glow around a lamp in hazy air."""


def near_lamps(snapshot: Snapshot) -> np.ndarray:
    """The street lamps whose light matters near the vehicle, float32 ``(K, 3)``, at most eight."""
    world = snapshot.scene.world
    if not len(world.lamps):
        return np.zeros((0, 3), np.float32)
    pose = snapshot.vehicle
    offset = world.lamps - pose[:3, 3] - 14 * pose[:3, 0]
    away = np.linalg.norm(offset, axis=1)
    order = np.argsort(away, kind="stable")[:8]
    return world.lamps[order[away[order] < REACH_M]].astype(np.float32)


def lamplight(snapshot: Snapshot, hits: Hits, normal: np.ndarray, power: float) -> np.ndarray:
    """Light of street lamps and the vehicle's own headlights on surfaces, float32 ``(3, N)``."""
    light, pose = np.zeros((3, len(hits)), np.float32), snapshot.vehicle
    at = np.flatnonzero(hits.distance < REACH_M)
    centre = pose[:3, 3].astype(np.float32)  # nearby numbers keep single precision sharp
    point, normal = hits.point.take(at, 1) - centre[:, None], normal.take(at, 1)
    pools = 10.0 * power * _pools(near_lamps(snapshot) - centre, point, normal)
    beams = 46.0 * power * _beams(pose[:3, :3].astype(np.float32), point, normal)
    for channel, warm, white in zip(light, COLOUR, _HEADLIGHT, strict=True):
        channel[at] = warm * pools + white * beams
    return light


def _pools(lamps: np.ndarray, point: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Strength of the street lamps' light at points ``(3, N)``, ``(N,)``."""
    strength = np.zeros(point.shape[1], np.float32)
    for lamp in lamps:
        x, y = lamp[0] - point[0], lamp[1] - point[1]
        near = x * x + y * y < _POOL_M**2
        if 2 * np.count_nonzero(near) > len(near):  # to pick them out would cost more than the rest
            strength += _pool(np.stack([x, y, lamp[2] - point[2]]), normal)
        else:
            at = np.flatnonzero(near)
            away = np.stack([x[at], y[at], lamp[2] - point[2][at]])
            strength[at] += _pool(away, normal.take(at, 1))
    return strength


def _pool(away: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Light of one lamp, ``away`` ``(3, N)`` from surfaces; nothing from beyond its radius."""
    square = dot(away, away)
    inverse = 1 / np.sqrt(np.maximum(square, np.float32(0.01)))
    light = np.clip(dot(away, normal) * inverse, 0, 1)
    light *= np.clip(away[2] * inverse + np.float32(0.1), 0, 1)
    fade = np.maximum(1 - square / np.float32(_POOL_M**2), 0)
    light *= fade
    light *= fade
    light /= square + 6
    return light


def _beams(world_from_vehicle: np.ndarray, point: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Strength of the headlights' light at points ``(3, N)`` about the vehicle, ``(N,)``."""
    ray = point - (world_from_vehicle @ np.float32([1.9, 0, 0.75]))[:, None]
    square = dot(ray, ray) + np.float32(1e-3)
    ray /= np.sqrt(square)
    ahead, left, up = turned(world_from_vehicle.T, ray)
    # Two beams side by side, cut off above the horizon as a dipped headlight is.
    across = (np.abs(left) - np.float32(0.05)) / np.float32(0.17)
    above = (up + np.float32(0.05)) / np.float32(0.09)
    beam = np.exp(-across * across - above * above) * (ahead > 0.2)
    facing = np.clip(-dot(ray, normal), 0, 1)
    return beam * (0.15 + 0.85 * facing) / (square + 30)


def halos(
    snapshot: Snapshot, eye: np.ndarray, direction: np.ndarray, path: np.ndarray
) -> np.ndarray:
    """Glow of hazy air around lamps, ``(N,)``, along rays from ``eye`` (3,) of length ``path``."""
    glow = np.zeros(len(path), np.float32)
    for toward in near_lamps(snapshot) - eye:
        along = dot(toward, direction)
        square = toward @ toward - along * along
        at = np.flatnonzero((square < _HALO_M**2) & (along > -1))
        along, gap = along[at], np.sqrt(np.maximum(square[at], np.float32(0.02)))
        arc = (_arctan((path[at] - along) / gap) + _arctan(along / gap)) / gap
        near = 1 - gap / np.float32(_HALO_M)
        glow[at] += arc * near * near
    return glow


def _arctan(x: np.ndarray) -> np.ndarray:
    """Within 0.008 of the arc tangent, at a fraction of its time; a soft glow needs no more."""
    size = np.abs(x)
    above = np.float32(np.pi / 2) * size * (size + np.float32(0.8))
    return np.copysign(above / (size * (size + np.float32(1.35)) + np.float32(1.2566)), x)
