"""The two sides of the street, block by block: houses, parks, yards, water, railway, walls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from memorysam_training.simulation import classes, props, vehicles
from memorysam_training.simulation.mesh import TINTED, Colour, Material, Mesh, box, join, loft
from memorysam_training.simulation.palettes import MASONRY, METALS, PAINTS, PAVEMENT, PLANTS, pick
from memorysam_training.simulation.road import Road

KERB_M = 0.15
DEEP_M = 45.0
"""How far from the centre line the land along the street is laid out."""


@dataclass(frozen=True)
class Block:
    """A stretch of street between two junctions, ``s`` from ``start`` to ``end``."""

    start: float
    end: float


@dataclass
class Builder:
    """Collects meshes while a street is laid out."""

    rng: np.random.Generator
    road: Road
    meshes: list[Mesh] = field(default_factory=list)
    lamps: list[tuple[float, float, float]] = field(default_factory=list)

    def add(self, mesh: Mesh) -> None:
        """Take a mesh whose vertices are in the world."""
        self.meshes.append(mesh)

    def put(
        self,
        mesh: Mesh,
        s: float,
        d: float,
        z: float,
        turn: float,
        colour: Colour,
        scale: float | tuple[float, float, float] = 1.0,
    ) -> None:
        """Place a mesh at road coordinates, turned relative to the road."""
        x, y = self.road.place(s, d)
        yaw = float(self.road.direction(s)) + turn
        self.add(mesh.placed((x, y, z), yaw, scale, colour, float(self.rng.random())))

    def ground(
        self,
        s0: float,
        s1: float,
        side: int,
        d0: float,
        d1: float,
        z: float,
        label: int,
        material: int,
        colour: Colour = TINTED,
    ) -> None:
        """A flat strip along one side, with a riser towards the road."""
        self.add(self.road.strip((s0, s1), (side * d0, side * d1), (z, z), label, material, colour))
        riser = (side * d0, side * (d0 + 0.01))
        self.add(self.road.strip((s0, s1), riser, (min(z, 0) - 0.3, z), label, material, colour))

    def bank(
        self,
        block: Block,
        side: int,
        border: float,
        rise: tuple[float, float],
        label: int,
        material: int,
        colour: Colour,
    ) -> Callable[[float], float]:
        """Land that rises by ``rise[0]`` metres over ``rise[1]`` and stays there.

        Returns its height at a distance from the centre line.
        """
        (height, width), span = rise, (block.start, block.end)
        low, high = KERB_M, KERB_M + height
        top, end = border + width, max(border + width + 5, DEEP_M)
        self.ground(*span, side, border, border + 0.1, low, label, material, colour)
        for d, z in (((border, top), (low, high)), ((top, end), (high, high))):
            across = (side * d[0], side * d[1])
            self.add(self.road.strip(span, across, z, label, material, colour))
        return lambda d: low + height * float(np.clip((abs(d) - border) / width, 0, 1))

    def house(
        self, s: float, d: float, width: float, depth: float, height: float, z: float
    ) -> None:
        """A building centred at ``s, d``, its front parallel to the road."""
        label, rng = classes.BUILDING, self.rng
        parts = [box((width, depth, height), (0, 0, height / 2), label, Material.FACADE)]
        trim = pick(rng, MASONRY)
        if height < 11 and rng.random() < 0.7:
            tiles = pick(rng, MASONRY)
            ridge = height + rng.uniform(2.0, 4.0)
            roof = loft(
                [
                    (-width / 2 - 0.4, height, ridge, depth / 2 + 0.5, 0.1),
                    (width / 2 + 0.4, height, ridge, depth / 2 + 0.5, 0.1),
                ],
                label,
                Material.BRICK,
                tiles,
            )
            parts.append(roof)
        else:
            cornice = (width + 0.5, depth + 0.5, 0.5)
            parts.append(box(cornice, (0, 0, height), label, Material.PLAIN, trim))
            top = (width * 0.3, depth * 0.3, 2.2)
            parts.append(box(top, (width * 0.1, 0, height + 1.2), label, Material.PLAIN, trim))
        parts.append(
            box((width + 0.16, depth + 0.16, 0.7), (0, 0, 0.35), label, Material.CONCRETE, trim)
        )
        front = -np.sign(d) * depth / 2
        if rng.random() < 0.6:
            awning = pick(rng, PAINTS)
            parts.append(
                box(
                    (width * 0.7, 1.1, 0.22),
                    (0, front * (1 + 1.1 / depth), 2.95),
                    label,
                    Material.PLAIN,
                    awning,
                )
            )
        if rng.random() < 0.5 and height > 8:
            for floor in range(1, int(height / 3.2)):
                for x in np.arange(-width / 2 + 2.6, width / 2 - 1.6, 5.2):
                    balcony = (2.2, 1.0, 0.95)
                    at = (x, front * (1 + 1.0 / depth), 3.2 * floor + 0.6)
                    parts.append(box(balcony, at, label, Material.PLAIN, trim))
        self.put(join(parts), s, d, z, 0.0, pick(rng, MASONRY))


def build_side(builder: Builder, block: Block, side: int, kind: str) -> None:
    """Lay out one side of a block: kerb, pavement and the land of that kind (see ``KINDS``)."""
    rng, half = builder.rng, builder.road.half_width
    build, narrow, wide = _KINDS[kind]
    border = half + rng.uniform(narrow, wide)
    if kind != "railway":
        builder.ground(
            block.start, block.end, side, half, border, KERB_M, classes.SIDEWALK,
            Material.PAVING, pick(rng, PAVEMENT),
        )  # fmt: skip
    build(builder, block, side, border)
    _furnish(builder, block, side)
    if kind not in ("railway", "waterside"):
        _clutter(builder, block, side, half + 1.0, max(border - 0.9, half + 3.0))
    if builder.road.parking:
        _park_vehicles(builder, block, side)


def _houses(builder: Builder, block: Block, side: int, border: float) -> None:
    rng = builder.rng
    setback = float(rng.choice([0.0, 0.0, 4.0]))
    material, label = (
        (Material.GRASS, classes.TERRAIN)
        if rng.random() < 0.5
        else (Material.GRAVEL, classes.GROUND)
    )
    palette = PLANTS if label == classes.TERRAIN else PAVEMENT
    builder.ground(
        block.start, block.end, side, border, DEEP_M, 0.12, label, material, pick(rng, palette)
    )
    if setback:
        _along(builder, block, side, border + 0.2, rng.choice(["fence", "hedge", "wall"]))
    s = block.start + rng.uniform(0, 2)
    tall = rng.uniform(1, 6)
    while s < block.end - 8:
        width = min(rng.uniform(9, 19), block.end - s)
        depth, floors = rng.uniform(9, 13), max(2, round(rng.normal(tall, 1)))
        d = side * (border + setback + depth / 2 + 0.2)
        builder.house(s + width / 2, d, width, depth, floors * 3.2 + 0.6, 0.1)
        gap = rng.choice([0.0, 0.0, rng.uniform(2.5, 6)])
        if gap:
            _plant(builder, s + width + gap / 2, side * (border + 4), 0.1)
        s += width + gap


def _park(builder: Builder, block: Block, side: int, border: float) -> None:
    rng = builder.rng
    rise = (rng.uniform(0.3, 1.9), rng.uniform(7, 14))
    level = builder.bank(
        block, side, border, rise, classes.TERRAIN, Material.GRASS, pick(rng, PLANTS)
    )
    _along(builder, block, side, border + 0.25, rng.choice(["fence", "hedge", "none", "none"]))
    for _ in range(int((block.end - block.start) / 3.2)):
        d = side * rng.uniform(border + 4, 42)
        _plant(builder, rng.uniform(block.start, block.end), d, level(d) - 0.05)
    for _ in range(2):
        s, d = rng.uniform(block.start + 2, block.end - 2), side * (border + rng.uniform(1, 3))
        turn = 0.0 if side > 0 else np.pi
        builder.put(props.bench(), s, d, level(d), turn, pick(rng, METALS))


def _yard(builder: Builder, block: Block, side: int, border: float) -> None:
    rng = builder.rng
    rise = (rng.uniform(0.0, 0.9), 16.0)
    level = builder.bank(
        block, side, border, rise, classes.GROUND, Material.GRAVEL, pick(rng, PAVEMENT)
    )
    _along(builder, block, side, border + 0.25, rng.choice(["fence", "bollards", "none"]))
    s = (block.start + block.end) / 2
    width = (block.end - block.start) * 0.8
    builder.house(s, side * 34, width, 14, rng.uniform(7, 10), level(34))
    for _ in range(5):
        s, d = rng.uniform(block.start + 4, block.end - 4), side * rng.uniform(border + 6, 24)
        if rng.random() < 0.4:
            make = vehicles.truck if rng.random() < 0.6 else vehicles.car
            builder.put(make(rng), s, d, level(d), rng.uniform(0, 6), pick(rng, PAINTS))
        else:
            prop = props.bin_container if rng.random() < 0.6 else props.kiosk
            builder.put(prop(), s, d, level(d), rng.uniform(0, 6), pick(rng, PAINTS))


def _waterside(builder: Builder, block: Block, side: int, border: float) -> None:
    rng = builder.rng
    builder.ground(
        block.start,
        block.end,
        side,
        border,
        border + 0.3,
        0.15,
        classes.SIDEWALK,
        Material.CONCRETE,
        pick(rng, PAVEMENT),
    )
    quay = (side * (border + 0.3), side * (border + 0.4))
    builder.add(
        builder.road.strip(
            (block.start, block.end),
            quay,
            (0.15, -1.2),
            classes.WALL,
            Material.BRICK,
            pick(rng, MASONRY),
        )
    )
    far = border + 50
    builder.add(
        builder.road.strip(
            (block.start, block.end),
            (side * (border + 0.3), side * far),
            (-0.5, -0.5),
            classes.WATER,
            Material.WATER,
            (0.05, 0.1, 0.11),
        )
    )
    kind = rng.choice(["guard_rail", "guard_rail", "bollards"])
    _along(builder, block, side, border + 0.1, kind)
    builder.ground(
        block.start,
        block.end,
        side,
        far,
        far + 30,
        0.5,
        classes.TERRAIN,
        Material.GRASS,
        pick(rng, PLANTS),
    )
    for _ in range(8):
        _plant(builder, rng.uniform(block.start, block.end), side * (far + rng.uniform(2, 14)), 0.4)


def _railway(builder: Builder, block: Block, side: int, border: float) -> None:
    rng, road = builder.rng, builder.road
    span = (block.start, block.end)
    kerb = builder.road.half_width
    builder.ground(
        *span, side, kerb, border + 0.4, 0.1, classes.TERRAIN, Material.GRASS, pick(rng, PLANTS)
    )
    _along(builder, block, side, border, "guard_rail")
    bed = border + 0.4
    builder.ground(
        *span, side, bed, bed + 7.8, 0.6, classes.RAIL_TRACK, Material.GRAVEL, pick(rng, PAVEMENT)
    )
    for track in (bed + 2.0, bed + 5.8):
        for s in np.arange(block.start + 0.6, block.end, 1.3):
            sleeper = box(
                (0.5, 2.7, 0.14), (0, 0, 0.07), classes.RAIL_TRACK, Material.WOOD, (0.2, 0.16, 0.13)
            )
            builder.put(sleeper, s, side * track, 0.58, 0.0, (0, 0, 0))
        for rail in (track - 0.8, track + 0.8):
            builder.add(
                road.strip(
                    span,
                    (side * (rail - 0.09), side * (rail + 0.09)),
                    (0.85, 0.85),
                    classes.RAIL_TRACK,
                    Material.RAIL,
                    (0.5, 0.48, 0.46),
                )
            )
            for edge in (-0.09, 0.09):
                line = (side * (rail + edge), side * (rail + edge + 0.001))
                builder.add(
                    road.strip(
                        span, line, (0.6, 0.85), classes.RAIL_TRACK, Material.RAIL, (0.3, 0.24, 0.2)
                    )
                )
    back = bed + 7.8
    builder.ground(
        *span, side, back, DEEP_M, 0.2, classes.TERRAIN, Material.GRASS, pick(rng, PLANTS)
    )
    _along(builder, block, side, back + 0.6, rng.choice(["fence", "wall"]))
    for _ in range(int((block.end - block.start) / 4)):
        _plant(builder, rng.uniform(*span), side * rng.uniform(back + 3, 42), 0.15)


def _walled(builder: Builder, block: Block, side: int, border: float) -> None:
    rng = builder.rng
    level = builder.bank(
        block, side, border, (1.0, 6.0), classes.TERRAIN, Material.GRASS, pick(rng, PLANTS)
    )
    _along(builder, block, side, border + 0.4, "wall")
    for _ in range(int((block.end - block.start) / 3)):
        d = side * rng.uniform(border + 3, 40)
        _plant(builder, rng.uniform(block.start, block.end), d, level(d) - 0.05)
    builder.house((block.start + block.end) / 2, side * 30, 16, 11, rng.uniform(6, 14), 1.0)


def _along(builder: Builder, block: Block, side: int, d: float, kind: str) -> None:
    """A border along the block, in pieces short enough to follow the curve."""
    rng = builder.rng
    if kind == "none":
        return
    palette = {"hedge": PLANTS, "wall": MASONRY}.get(kind, METALS + PAINTS)
    colour = pick(rng, palette)
    tall = rng.uniform(1.9, 2.6)
    pieces = max(round((block.end - block.start) / 4.0), 1)
    length = (block.end - block.start) / pieces
    for k in range(pieces):
        s = block.start + length * (k + 0.5)
        if kind == "bollards":
            for step in (-0.25, 0.25):
                builder.put(props.bollard(), s + step * length, side * d, 0.15, 0.0, colour)
            continue
        mesh = {
            "fence": lambda: props.fence(length, 1.6),
            "hedge": lambda: props.hedge(rng, length),
            "wall": lambda: props.wall(length, tall),
            "guard_rail": lambda: props.guard_rail(length),
        }[kind]()
        builder.put(mesh, s, side * d, 0.15, 0.0 if side > 0 else np.pi, colour)


def _plant(builder: Builder, s: float, d: float, z: float) -> None:
    rng = builder.rng
    make = (props.tree, props.tree, props.conifer, props.bush)[rng.integers(4)]
    builder.put(make(rng), s, d, z, rng.uniform(0, 6), pick(rng, PLANTS), rng.uniform(0.8, 1.15))


def _furnish(builder: Builder, block: Block, side: int) -> None:
    """Lamps, trees and signs along the kerb."""
    rng, half = builder.rng, builder.road.half_width
    metal = pick(rng, METALS)
    kerb = half + 0.55
    planted = rng.random() < 0.45
    inward = -np.pi / 2 * side
    s = block.start + rng.uniform(2, 8)
    while s < block.end - 2:
        builder.put(props.lamp_post(rng), s, side * kerb, KERB_M, inward, metal)
        x, y = builder.road.place(s, side * (kerb - props.LAMP_HEAD[0]))
        builder.lamps.append((float(x), float(y), props.LAMP_HEAD[2] + KERB_M))
        if planted:
            builder.put(
                props.tree(rng),
                s + 8,
                side * (kerb + 0.2),
                KERB_M,
                rng.uniform(0, 6),
                pick(rng, PLANTS),
                0.75,
            )
        s += rng.uniform(17, 22)
    for _ in range(2):
        s = rng.uniform(block.start + 2, block.end - 2)
        builder.put(
            props.traffic_sign(rng),
            s,
            side * kerb,
            KERB_M,
            0.0 if side < 0 else np.pi,
            pick(rng, PAINTS),
        )


def _clutter(builder: Builder, block: Block, side: int, near: float, far: float) -> None:
    """People, bins, benches and the like, between two distances from the centre line."""
    rng = builder.rng
    clutter = (
        lambda: props.bench(),
        lambda: props.shelter(),
        lambda: props.planter(rng),
        lambda: props.kiosk(),
        lambda: props.bin_container(),
        lambda: props.bin_container(),
        lambda: props.cone_barrel(),
        lambda: props.cone_barrel(),
        lambda: vehicles.two_wheeler(rng),
        lambda: vehicles.person(rng),
        lambda: vehicles.person(rng),
        lambda: props.utility_pole(),
    )
    for _ in range(9):
        s, d = rng.uniform(block.start + 1, block.end - 1), rng.uniform(near, far)
        kind = rng.integers(len(clutter))
        facing = (0.0 if side > 0 else np.pi) if kind < 2 else rng.uniform(0, 6)
        colour = pick(rng, PAINTS + METALS)
        builder.put(clutter[kind](), s, side * (far if kind == 1 else d), KERB_M, facing, colour)


def _park_vehicles(builder: Builder, block: Block, side: int) -> None:
    """Vehicles in the parking lane, with gaps."""
    rng = builder.rng
    full = rng.choice([0.05, 0.25, 0.6])
    s = block.start + 3.0
    while s < block.end - 6:
        if rng.random() > full:
            s += 6.4
            continue
        kind = rng.choice(4, p=(0.72, 0.12, 0.06, 0.1))
        make = (vehicles.car, vehicles.truck, vehicles.bus, vehicles.two_wheeler)[kind]
        need = (6.4, 11.0, 13.5, 3.0)[kind]
        if s + need > block.end:
            break
        d = side * (builder.road.half_width - 1.25)
        turn = (0.0 if side < 0 else np.pi) + rng.normal(0, 0.02)
        builder.put(make(rng), s + need / 2, d, 0.0, turn, pick(rng, PAINTS))
        s += need + rng.uniform(0, 1.5)


_KINDS = {
    "houses": (_houses, 2.2, 3.2),
    "park": (_park, 1.6, 2.6),
    "yard": (_yard, 1.3, 2.0),
    "waterside": (_waterside, 1.4, 2.0),
    "railway": (_railway, 0.3, 0.5),
    "walled": (_walled, 1.5, 2.4),
}
KINDS = tuple(_KINDS)
"""What the land along the street may be."""
SHARES = (0.24, 0.16, 0.17, 0.17, 0.16, 0.10)
"""How often each is drawn."""
