"""The two sides of the street, block by block: houses, parks, yards, water, railway, walls."""

from __future__ import annotations

import numpy as np

from memorysam_training.simulation import classes, props, vehicles
from memorysam_training.simulation.builder import DEEP_M, KERB_M, Block, Builder
from memorysam_training.simulation.furniture import along, clutter, furnish, parked, plant
from memorysam_training.simulation.mesh import Material, box
from memorysam_training.simulation.palettes import MASONRY, METALS, PAINTS, PAVEMENT, PLANTS, pick


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
    furnish(builder, block, side)
    if kind not in ("railway", "waterside"):
        clutter(builder, block, side, half + 1.0, max(border - 0.9, half + 3.0))
    if builder.road.parking:
        parked(builder, block, side)


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
        along(builder, block, side, border + 0.2, rng.choice(["fence", "hedge", "wall"]))
    s = block.start + rng.uniform(0, 2)
    tall = rng.uniform(1, 6)
    while s < block.end - 8:
        width = min(rng.uniform(9, 19), block.end - s)
        depth, floors = rng.uniform(9, 13), max(2, round(rng.normal(tall, 1)))
        d = side * (border + setback + depth / 2 + 0.2)
        builder.house(s + width / 2, d, width, depth, floors * 3.2 + 0.6, 0.1)
        gap = rng.choice([0.0, 0.0, rng.uniform(2.5, 6)])
        if gap:
            plant(builder, s + width + gap / 2, side * (border + 4), 0.1)
        s += width + gap


def _park(builder: Builder, block: Block, side: int, border: float) -> None:
    rng = builder.rng
    rise = (rng.uniform(0.3, 1.9), rng.uniform(7, 14))
    level = builder.bank(
        block, side, border, rise, classes.TERRAIN, Material.GRASS, pick(rng, PLANTS)
    )
    along(builder, block, side, border + 0.25, rng.choice(["fence", "hedge", "none", "none"]))
    for _ in range(int((block.end - block.start) / 3.2)):
        d = side * rng.uniform(border + 4, 42)
        plant(builder, rng.uniform(block.start, block.end), d, level(d) - 0.05)
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
    along(builder, block, side, border + 0.25, rng.choice(["fence", "bollards", "none"]))
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
    along(builder, block, side, border + 0.1, kind)
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
        plant(builder, rng.uniform(block.start, block.end), side * (far + rng.uniform(2, 14)), 0.4)


def _railway(builder: Builder, block: Block, side: int, border: float) -> None:
    rng, road = builder.rng, builder.road
    span = (block.start, block.end)
    kerb = builder.road.half_width
    builder.ground(
        *span, side, kerb, border + 0.4, 0.1, classes.TERRAIN, Material.GRASS, pick(rng, PLANTS)
    )
    along(builder, block, side, border, "guard_rail")
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
    along(builder, block, side, back + 0.6, rng.choice(["fence", "wall"]))
    for _ in range(int((block.end - block.start) / 4)):
        plant(builder, rng.uniform(*span), side * rng.uniform(back + 3, 42), 0.15)


def _walled(builder: Builder, block: Block, side: int, border: float) -> None:
    rng = builder.rng
    level = builder.bank(
        block, side, border, (1.0, 6.0), classes.TERRAIN, Material.GRASS, pick(rng, PLANTS)
    )
    along(builder, block, side, border + 0.4, "wall")
    for _ in range(int((block.end - block.start) / 3)):
        d = side * rng.uniform(border + 3, 40)
        plant(builder, rng.uniform(block.start, block.end), d, level(d) - 0.05)
    builder.house((block.start + block.end) / 2, side * 30, 16, 11, rng.uniform(6, 14), 1.0)


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
