"""What belongs to no other class: monuments, parasols, inflatable figures. All stand on z = 0."""

from __future__ import annotations

import numpy as np

from memorysam_training.simulation import classes
from memorysam_training.simulation.builder import KERB_M, Block, Builder
from memorysam_training.simulation.mesh import Material, Mesh, blob, box, cylinder, join
from memorysam_training.simulation.palettes import MASONRY, METALS, PAINTS, pick

LABEL = classes.OTHER


def monument(rng: np.random.Generator) -> Mesh:
    """An obelisk, or a cast figure, on stone steps."""
    parts = [
        box((2.0, 2.0, 0.25), (0, 0, 0.12), LABEL, Material.CONCRETE),
        box((1.5, 1.5, 0.25), (0, 0, 0.37), LABEL, Material.CONCRETE),
        box((1.0, 1.0, 1.0), (0, 0, 1.0), LABEL, Material.CONCRETE),
    ]
    if rng.random() < 0.5:
        taper = (0.5, 0.28)
        parts.append(cylinder((0, 0, 1.5), (0, 0, 4.4), taper, LABEL, Material.CONCRETE, sides=4))
        parts.append(cylinder((0, 0, 4.4), (0, 0, 4.9), (0.28, 0.01), LABEL, Material.CONCRETE))
    else:
        bronze = (0.22, 0.33, 0.26)
        parts += [
            blob(rng, (0.34, 0.42, 0.75), (0, 0, 2.2), LABEL, Material.PLAIN, bronze, 0.12),
            blob(rng, (0.2, 0.2, 0.24), (0, 0, 3.1), LABEL, Material.PLAIN, bronze, 0.05),
            cylinder((0, 0.3, 2.5), (0.5, 0.7, 3.2), 0.11, LABEL, Material.PLAIN, bronze, 8),
        ]
    return join(parts)


def parasol(rng: np.random.Generator) -> Mesh:
    """A café's parasol over a round table."""
    wide = rng.uniform(1.2, 1.6)
    return join(
        [
            cylinder((0, 0, 2.2), (0, 0, 2.85), (wide, 0.05), LABEL, Material.PLAIN, sides=8),
            cylinder((0, 0, 2.05), (0, 0, 2.2), wide, LABEL, Material.PLAIN, sides=8),
            cylinder((0, 0, 0), (0, 0, 2.3), 0.06, LABEL, Material.WOOD, sides=6),
            cylinder((0, 0, 0.7), (0, 0, 0.76), 0.6, LABEL, Material.WOOD, sides=12),
        ]
    )


def inflatable(rng: np.random.Generator) -> Mesh:
    """A shop's waving figure of cloth and air."""
    bend = rng.normal(0, 0.22, 4)
    parts, at = [], np.zeros(3)
    for k, lean in enumerate(bend):
        to = at + (0.25 * lean, lean, 0.85)
        radius = (0.42 - 0.05 * k, 0.37 - 0.05 * k)
        parts.append(cylinder(tuple(at), tuple(to), radius, LABEL, Material.PAINT))
        at = to
    shoulder = at - (0, 0, 0.9)
    for side in (-1, 1):
        hand = shoulder + (0, side * rng.uniform(0.9, 1.3), rng.uniform(-0.2, 1.1))
        parts.append(cylinder(tuple(shoulder), tuple(hand), 0.13, LABEL, Material.PAINT, sides=8))
    return join(parts)


def scatter(builder: Builder, blocks: list[Block]) -> None:
    """A few of them along each block, on the pavement of either side."""
    rng, half = builder.rng, builder.road.half_width
    kinds = (
        (monument, MASONRY + METALS),
        (parasol, PAINTS),
        (parasol, PAINTS),
        (inflatable, PAINTS),
    )
    for block in blocks:
        for side in (1, -1):
            for _ in range(rng.integers(1, 4)):
                make, palette = kinds[rng.integers(len(kinds))]
                s, d = rng.uniform(block.start + 2, block.end - 2), half + rng.uniform(1.4, 2.4)
                turn = rng.uniform(0, 2 * np.pi)
                builder.put(make(rng), s, side * d, KERB_M, turn, pick(rng, palette))
