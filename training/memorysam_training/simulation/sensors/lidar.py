"""The spinning LiDAR: rings and columns, rays cast from where the sensor is at each moment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from memorysam_training.simulation.conditions import Weather
from memorysam_training.simulation.mesh import Material
from memorysam_training.simulation.movers import Fleet
from memorysam_training.simulation.rig import Rig
from memorysam_training.simulation.scene import FAR_M, Scene, dot
from memorysam_training.simulation.sensors.depth import CLEAR

MAX_RANGE_M = 100.0
SLICES, LONGEST_SLICE_S = 4, 0.025
"""Moving things are posed anew so many times in a full turn, or as often as that takes."""
_ECHO_M = 7.0
"""Mean distance of false echoes from drops."""


@dataclass(frozen=True)
class Scan:
    """Returns of one turn, in the LiDAR's frame at the scan's stamp (the vehicle's own motion
    during the turn is taken out, as drivers do); the stamp is when the beam faces forward.
    """

    xyz: np.ndarray
    """float32 (N, 3)."""
    intensity: np.ndarray
    """float32 (N,), 0 to 255."""
    ring: np.ndarray
    """uint16 (N,), 0 is the lowest."""
    time_s: np.ndarray
    """float32 (N,), from the stamp: negative before, positive after."""


def scan(
    scene: Scene,
    rig: Rig,
    t: float,
    weather: Weather,
    faults: frozenset[str],
    rng: np.random.Generator,
    *,
    sector: float = np.pi,
) -> Scan:
    """One turn about time ``t``; only azimuths within ``sector`` of straight ahead, radians."""
    period = 1.0 / rig.timing["lidar"].rate_hz
    azimuth = np.pi - (np.arange(rig.columns) + 0.5) * (2 * np.pi / rig.columns)
    azimuth = azimuth[np.abs(azimuth) <= sector]  # clockwise seen from above, from behind
    when = -azimuth / (2 * np.pi) * period
    shape = (len(azimuth), rig.rings)
    draws = rng.random((3, *shape), np.float32)
    noise = rng.standard_normal(shape, np.float32)
    jolt = rng.standard_normal((4, len(azimuth)), np.float32)
    elevation = np.linspace(*rig.elevation, rig.rings)
    if "lidarjitter" not in faults:
        jolt = np.zeros_like(jolt)
    turn = azimuth + 0.022 * jolt[0]
    tilt = elevation + 0.018 * jolt[1][:, None]
    world_from_then = _poses(scene, rig, t, when)
    beam = _unit(turn, tilt)
    distance, strength, material = _range(scene, rig, t, when, beam, world_from_then)
    thick = max(weather.fog - CLEAR, 0.0)
    kept = draws[0] < _chance(distance, strength, material) * np.exp(-1.3 * thick * distance)
    kept &= (distance < MAX_RANGE_M) & (draws[1] > 0.12 * weather.rain)
    distance = distance + 0.02 * noise + 0.3 * jolt[2][:, None] * draws[1]
    from_drop = 1.5 - _ECHO_M * np.log(np.maximum(draws[1], 1e-4))
    echo = (draws[2] < 0.012 * weather.rain + 0.5 * thick) & (from_drop < distance)
    distance = np.where(echo, from_drop, distance)
    kept = (kept | echo) & (distance > 0.5) & (distance < MAX_RANGE_M)
    # What the sensor believes of its beams, not where they truly went, makes the points.
    now_from_world = np.linalg.inv(
        scene.world.ego.pose(scene.world.road, t) @ rig.vehicle_from_lidar
    )
    now_from_then = (now_from_world @ world_from_then).astype(np.float32)
    points = _carried(now_from_then, _unit(azimuth, elevation) * distance)
    points += now_from_then[:, :3, 3].T[..., None]
    column, ring = np.nonzero(kept)
    intensity = np.where(echo, np.float32(4), np.clip(strength * 255, 1, 255))
    return Scan(
        np.stack([axis[kept] for axis in points], 1),
        intensity[kept],
        ring.astype(np.uint16),
        when[column].astype(np.float32),
    )


def _unit(azimuth: np.ndarray, elevation: np.ndarray) -> np.ndarray:
    """Directions float32 (3, columns, rings) of the columns at the rings' elevations."""
    azimuth, flat = azimuth[:, None], np.cos(elevation)
    parts = flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)
    return np.stack(np.broadcast_arrays(*parts)).astype(np.float32)


def _carried(poses: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Vectors (3, columns, rings), turned by the poses of their columns (columns, 4, 4)."""
    return np.stack([dot(row, vectors) for row in poses[:, :3, :3].transpose(1, 2, 0)[..., None]])


def _range(
    scene: Scene, rig: Rig, t: float, when: np.ndarray, beam: np.ndarray, poses: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distance, strength of the return (0 to 1) and material under each beam (columns, rings)."""
    poses = poses.astype(np.float32)
    direction = _carried(poses, beam)
    origin = np.broadcast_to(poses[:, :3, 3].T[..., None], beam.shape)
    distance, strength = np.empty(beam.shape[1:], np.float32), np.empty(beam.shape[1:], np.float32)
    material = np.empty(beam.shape[1:], np.uint8)
    period = 1.0 / rig.timing["lidar"].rate_hz
    count = max(SLICES, int(np.ceil(period / LONGEST_SLICE_S - 1e-9)))
    slices = np.round(when / period * count).astype(int)
    for number in np.unique(slices):
        part = slices == number
        shape = -1, beam.shape[2]
        start, beams = origin[:, part].reshape(3, -1), direction[:, part].reshape(3, -1)
        moment = t + number * period / count
        hits = scene.at(moment, _met(scene.fleet, moment, start, beams)).cast(start, beams)
        facing = np.abs(dot(hits.normal, hits.direction))
        bright = np.clip(hits.colour.mean(0), 0.03, 1)
        retro = 1 + 1.5 * (hits.material == Material.SIGN).astype(np.float32)
        power = bright * (0.25 + 0.75 * facing) * retro / (1 + (hits.distance / 70) ** 2)
        distance[part] = hits.distance.reshape(shape)
        strength[part] = np.clip(power, 0, 1).reshape(shape)
        material[part] = hits.material.reshape(shape)
    return distance, strength, material


def _met(fleet: Fleet, t: float, origin: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """The movers that beams of less than half a turn may meet within range, by index.

    Without the others: to pose them for nothing would take most of a slice's time.
    """
    movers = fleet.in_reach(t)
    corners = fleet.boxes(t, movers)[..., :2]
    eye = origin[:2].mean(1)
    centre = corners.mean(1)
    wide = np.linalg.norm(corners - centre[:, None], axis=-1).max(1)
    wide += np.linalg.norm(origin[:2] - eye[:, None], axis=0).max()  # as the eye moves in the slice
    flat = direction[:2] / np.linalg.norm(direction[:2], axis=0)
    axis = flat.mean(1) / np.linalg.norm(flat.mean(1))
    half = np.arccos(np.clip((axis @ flat).min(), -1, 1))
    away = np.linalg.norm(centre - eye, axis=1)
    aside = np.arccos(np.clip((centre - eye) @ axis / away, -1, 1))
    meets = aside < half + np.arcsin(np.clip(wide / away, 0, 1)) + 1e-3
    return movers[(away < wide) | (meets & (away - wide < MAX_RANGE_M))]


def _poses(scene: Scene, rig: Rig, t: float, when: np.ndarray) -> np.ndarray:
    """``world_from_lidar`` (columns, 4, 4) at ``t + when``; straight between knots 10 ms apart."""
    knots = np.linspace(when.min(), when.max(), max(2, round(np.ptp(when) / 0.01)))
    world = scene.world
    poses = np.stack([world.ego.pose(world.road, t + k) @ rig.vehicle_from_lidar for k in knots])
    after = np.clip(np.searchsorted(knots, when), 1, len(knots) - 1)
    share = (when - knots[after - 1]) / (knots[after] - knots[after - 1])
    return poses[after - 1] + share[:, None, None] * (poses[after] - poses[after - 1])


def _chance(distance: np.ndarray, strength: np.ndarray, material: np.ndarray) -> np.ndarray:
    """Probability that a beam returns: less from what is dark, far, clear or wet."""
    chance = 0.975 * np.clip(strength * 30 - 0.1, 0, 1)
    chance = np.where(material == Material.GLASS, 0.45 * chance, chance)
    chance = np.where(material == Material.WATER, 0.12 * chance, chance)
    return np.where(distance < FAR_M, chance, 0)
