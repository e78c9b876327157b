"""Collects the meshes of a street while it is laid out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from memorysam_training.simulation import classes
from memorysam_training.simulation.mesh import TINTED, Colour, Material, Mesh, box, join, loft
from memorysam_training.simulation.palettes import MASONRY, PAINTS, pick
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
