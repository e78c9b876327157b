"""A street and all that stands along it, grown from a seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from memorysam_training.simulation import classes, oddments, props
from memorysam_training.simulation.builder import Block, Builder
from memorysam_training.simulation.mesh import Material, Mesh, box, join, surface
from memorysam_training.simulation.movers import Ego, Mover
from memorysam_training.simulation.noise import smooth_sample, stream, texture
from memorysam_training.simulation.palettes import METALS, PAINTS, PAVEMENT, PLANTS, pick
from memorysam_training.simulation.road import BEHIND_M, Road
from memorysam_training.simulation.roadside import KINDS, SHARES, build_side
from memorysam_training.simulation.traffic import populate

VIEW_M = 170.0
"""Length of street built beyond the end of the drive."""
JUNCTION_M = 14.0


@dataclass(frozen=True)
class World:
    """Everything that sensors can see, and the vehicle that carries them."""

    seed: int
    road: Road
    static: Mesh
    movers: list[Mover]
    ego: Ego
    lamps: np.ndarray
    """Street lamps ``(L, 3)``, world metres."""
    sun_azimuth: float
    """Radians anticlockwise from the direction of the drive."""


def build_world(seed: int, seconds: float) -> World:
    """The world of a seed, long enough for a drive of that many seconds."""
    rng = stream(seed, "world")
    ego = Ego(
        start=float(rng.uniform(4, 14)),
        speed=float(rng.uniform(6.0, 9.5)),
        surge=float(rng.uniform(0.5, 3.0)),
        lane=-1.85,
    )
    length = ego.progress(seconds) + VIEW_M
    blocks, junctions = _plan(rng, length)
    road = Road.wind(
        seed, length, np.array([j + 3.2 for j in junctions]), np.array([j - 0.2 for j in junctions])
    )
    builder = Builder(rng, road)
    _pave(builder, length, junctions)
    for side in (1, -1):
        kind = rng.choice(KINDS, p=SHARES)
        for block in blocks:
            if rng.random() < 0.6:  # land goes on as it was more often than not
                kind = rng.choice(KINDS, p=SHARES)
            build_side(builder, block, side, kind)
        for junction in junctions:
            _junction_side(builder, junction, side)
    for junction in junctions:
        if rng.random() < 0.22:
            _overpass(builder, junction + JUNCTION_M / 2)
    builder.add(_hills(rng, road))
    _skyline(builder, length)
    oddments.scatter(Builder(stream(seed, "oddments"), road, builder.meshes), blocks)
    movers = populate(rng, road, ego, seconds, junctions)
    sun = float(rng.uniform(0.5, 2.6) * rng.choice([-1, 1]))
    return World(seed, road, join(builder.meshes), movers, ego, np.array(builder.lamps), sun)


def _plan(rng: np.random.Generator, length: float) -> tuple[list[Block], list[float]]:
    blocks, junctions = [], []
    s = -BEHIND_M
    while s < length:
        end = s + float(rng.uniform(32, 58))
        if end > length - 30:  # what is left is too short for a block of its own
            end = length
        blocks.append(Block(s, end))
        if end < length:
            junctions.append(end)
        s = end + JUNCTION_M
    return blocks, junctions


def _pave(builder: Builder, length: float, junctions: list[float]) -> None:
    road, half = builder.road, builder.road.half_width
    colour = pick(builder.rng, PAVEMENT)
    for d in ((-half, 0.0), (0.0, half)):
        builder.add(
            road.strip((-BEHIND_M, length), d, (0, 0), classes.ROAD, Material.ASPHALT, colour)
        )
    for junction in junctions:
        for side in (1, -1):
            builder.add(
                road.strip(
                    (junction + 4.0, junction + JUNCTION_M - 4.0 + 3.0),
                    (side * half, side * 60),
                    (0.01, 0.01),
                    classes.ROAD,
                    Material.CONCRETE,
                    colour,
                )
            )


def _junction_side(builder: Builder, junction: float, side: int) -> None:
    """Corners, lights and signs where a side street meets the road."""
    rng, half = builder.rng, builder.road.half_width
    pavement = pick(rng, PAVEMENT)
    for s0, s1 in (
        (junction, junction + 4.0),
        (junction + JUNCTION_M - 3.0, junction + JUNCTION_M),
    ):
        builder.ground(
            s0, s1, side, half, half + 3.4, 0.15, classes.SIDEWALK, Material.PAVING, pavement
        )
        builder.ground(
            s0, s1, side, half + 3.4, 45, 0.12, classes.GROUND, Material.GRAVEL, pick(rng, PAVEMENT)
        )
    metal = pick(rng, METALS)
    if side < 0:
        builder.put(props.traffic_light(True), junction + 0.3, -half - 0.7, 0.15, 0.0, metal)
        builder.put(
            props.traffic_light(False), junction + JUNCTION_M - 1, -half - 0.7, 0.15, 0.0, metal
        )
        builder.put(
            props.traffic_sign(rng), junction - 4, -half - 0.8, 0.15, 0.0, pick(rng, PAINTS)
        )
    else:
        builder.put(props.traffic_light(False), junction + 1.0, half + 0.8, 0.15, 0.0, metal)
        builder.put(
            props.traffic_light(True), junction + JUNCTION_M, half + 0.8, 0.15, np.pi, metal
        )


def _overpass(builder: Builder, s: float) -> None:
    """A bridge across the road, on piers."""
    road, rng = builder.road, builder.rng
    label, colour = classes.BRIDGE, pick(rng, PAVEMENT)
    parts = [box((8.0, 110.0, 1.3), (0, 0, 6.6), label, Material.CONCRETE)]
    for x in (-4.0, 4.0):
        parts.append(box((0.4, 110.0, 1.0), (x, 0, 7.6), label, Material.CONCRETE))
        for y in (-24.0, -road.half_width - 4.4, road.half_width + 4.4, 24.0):
            parts.append(box((1.1, 1.5, 6.0), (x * 0.7, y, 3.0), label, Material.CONCRETE))
    builder.put(join(parts), s, 0.0, 0.0, 0.0, colour)


def _hills(rng: np.random.Generator, road: Road) -> Mesh:
    """Country beyond the street: flat near it, hilly far away."""
    x = np.arange(road.x.min() - 420, road.x.max() + 420, 24.0)
    y = np.arange(road.y.min() - 420, road.y.max() + 420, 24.0)
    gx, gy = np.meshgrid(x, y)
    path = np.stack([road.x[::12], road.y[::12]], -1)
    away = np.full(gx.shape, np.inf)
    for px, py in path:
        away = np.minimum(away, np.hypot(gx - px, gy - py))
    shift = rng.uniform(0, 512, 2)
    relief = smooth_sample(texture(2.4), gx * 0.35 + shift[0], gy * 0.35 + shift[1])
    rise = np.clip((away - 90) / 260, 0, 1)
    gz = -1.6 + rise**1.5 * (6 + 70 * relief)
    vertices = np.stack([gx, gy, gz], -1).reshape(-1, 3)
    rows, columns = gx.shape
    a = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).reshape(-1, 1)
    triangles = np.concatenate([a + [0, 1, columns + 1], a + [0, columns + 1, columns]])
    return surface(
        vertices, vertices[:, :2], triangles, classes.TERRAIN, Material.GRASS, pick(rng, PLANTS[:4])
    )


def _skyline(builder: Builder, length: float) -> None:
    """Tall houses and woods in the distance."""
    rng = builder.rng
    for _ in range(int(length / 14)):
        s, side = rng.uniform(-BEHIND_M, length + 60), rng.choice([-1, 1])
        d = side * rng.uniform(64, 130)
        if rng.random() < 0.45:
            builder.house(s, d, rng.uniform(12, 26), rng.uniform(10, 20), rng.uniform(14, 44), -2.0)
        else:
            kind = props.conifer if rng.random() < 0.5 else props.tree
            for _ in range(4):
                builder.put(
                    kind(rng),
                    s + rng.normal(0, 7),
                    d + rng.normal(0, 5),
                    -1.6,
                    rng.uniform(0, 6),
                    pick(rng, PLANTS),
                    rng.uniform(1.1, 1.7),
                )
