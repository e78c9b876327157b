"""What stands along the kerb and on the pavement: borders, plants, lamps, signs, clutter."""

from __future__ import annotations

import numpy as np

from memorysam_training.simulation import props, vehicles
from memorysam_training.simulation.builder import KERB_M, Block, Builder
from memorysam_training.simulation.palettes import MASONRY, METALS, PAINTS, PLANTS, pick


def along(builder: Builder, block: Block, side: int, d: float, kind: str) -> None:
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


def plant(builder: Builder, s: float, d: float, z: float) -> None:
    """A tree, a conifer or a shrub."""
    rng = builder.rng
    make = (props.tree, props.tree, props.conifer, props.bush)[rng.integers(4)]
    builder.put(make(rng), s, d, z, rng.uniform(0, 6), pick(rng, PLANTS), rng.uniform(0.8, 1.15))


def furnish(builder: Builder, block: Block, side: int) -> None:
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


def clutter(builder: Builder, block: Block, side: int, near: float, far: float) -> None:
    """People, bins, benches and the like, between two distances from the centre line."""
    rng = builder.rng
    choices = (
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
        kind = rng.integers(len(choices))
        facing = (0.0 if side > 0 else np.pi) if kind < 2 else rng.uniform(0, 6)
        colour = pick(rng, PAINTS + METALS)
        builder.put(choices[kind](), s, side * (far if kind == 1 else d), KERB_M, facing, colour)


def parked(builder: Builder, block: Block, side: int) -> None:
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
