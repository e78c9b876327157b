"""Triangle meshes with what a renderer needs to know of every triangle, and primitive solids.

Axes follow REP-103: x forward, y left, z up; lengths in metres. Texture coordinates are metres on
the surface as well, so that a brick is as large on a shed as on a tower.
"""

from __future__ import annotations

import enum
import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

TINTED = (-1.0, -1.0, -1.0)
"""Colour of triangles that take the colour given when the mesh is placed."""

Colour = tuple[float, float, float]


class Material(enum.IntEnum):
    """How a surface answers to light, and which pattern it wears."""

    PLAIN = 0
    ASPHALT = 1
    PAVING = 2
    FACADE = 3
    BRICK = 4
    FOLIAGE = 5
    WOOD = 6
    GRASS = 7
    WATER = 8
    PAINT = 9
    GLASS = 10
    RUBBER = 11
    LAMP = 12
    SIGN = 13
    CONCRETE = 14
    GRAVEL = 15
    HEADLIGHT = 16
    TAILLIGHT = 17
    RAIL = 18
    SIGNAL = 19


@dataclass
class Mesh:
    """Triangles: vertices and uv ``(V, ...)``; everything else per triangle ``(T, ...)``."""

    vertices: np.ndarray
    uv: np.ndarray
    triangles: np.ndarray
    label: np.ndarray
    material: np.ndarray
    colour: np.ndarray
    seed: np.ndarray

    def placed(
        self,
        position: tuple[float, float, float],
        yaw: float = 0.0,
        scale: float | tuple[float, float, float] = 1.0,
        colour: Colour | None = None,
        seed: float = 0.0,
    ) -> Mesh:
        """A copy scaled, turned about z by ``yaw`` (radians), moved, and coloured."""
        cos, sin = np.cos(yaw), np.sin(yaw)
        turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]], np.float32)
        vertices = (self.vertices * np.float32(scale)) @ turn.T + np.float32(position)
        colours = self.colour
        if colour is not None:
            colours = np.where(colours < 0, np.float32(colour), colours)
        seeds = np.full(len(self.triangles), seed, np.float32)
        return Mesh(vertices, self.uv, self.triangles, self.label, self.material, colours, seeds)

    def labelled(self, label: int) -> Mesh:
        """The same mesh with every triangle of class ``label``."""
        labels = np.full(len(self.triangles), label, np.uint8)
        return Mesh(
            self.vertices, self.uv, self.triangles, labels, self.material, self.colour, self.seed
        )


def join(meshes: list[Mesh]) -> Mesh:
    """One mesh of all the given ones, in order."""
    offsets = np.cumsum([0] + [len(m.vertices) for m in meshes[:-1]])
    return Mesh(
        vertices=np.concatenate([m.vertices for m in meshes]).astype(np.float32),
        uv=np.concatenate([m.uv for m in meshes]).astype(np.float32),
        triangles=np.concatenate(
            [m.triangles + offset for m, offset in zip(meshes, offsets, strict=True)]
        ).astype(np.uint32),
        label=np.concatenate([m.label for m in meshes]),
        material=np.concatenate([m.material for m in meshes]),
        colour=np.concatenate([m.colour for m in meshes]).astype(np.float32),
        seed=np.concatenate([m.seed for m in meshes]).astype(np.float32),
    )


def surface(
    vertices: np.ndarray,
    uv: np.ndarray,
    triangles: np.ndarray,
    label: int,
    material: int,
    colour: Colour = TINTED,
) -> Mesh:
    """A mesh of one class, material and colour."""
    count = len(triangles)
    return Mesh(
        np.asarray(vertices, np.float32),
        np.asarray(uv, np.float32),
        np.asarray(triangles, np.uint32),
        np.full(count, label, np.uint8),
        np.full(count, material, np.uint8),
        np.full((count, 3), colour, np.float32),
        np.zeros(count, np.float32),
    )


def quads(corners: np.ndarray, label: int, material: int, colour: Colour = TINTED) -> Mesh:
    """Quadrilaterals ``(N, 4, 3)``, corners in turn; u runs along the first edge, v the second."""
    corners = np.asarray(corners, np.float64)
    along, up = corners[:, 1] - corners[:, 0], corners[:, 3] - corners[:, 0]
    uv = np.zeros((len(corners), 4, 2))
    uv[:, 1:3, 0] = np.sqrt((along * along).sum(1))[:, None]
    uv[:, 2:, 1] = np.sqrt((up * up).sum(1))[:, None]
    vertices = corners.astype(np.float32)
    triangles = _halves(len(corners))
    # Where corners meet, as at the poles of a blob, a triangle has no area: nothing can hit it.
    met = (vertices == vertices[:, (1, 2, 3, 0)]).all(2)
    folded = (vertices[:, 0] == vertices[:, 2]).all(1)
    if met.any() or folded.any():
        empty = np.stack([met[:, 0] | met[:, 1] | folded, met[:, 2] | met[:, 3] | folded], 1)
        triangles = triangles[~empty.reshape(-1)]
    return surface(vertices.reshape(-1, 3), uv.reshape(-1, 2), triangles, label, material, colour)


@functools.cache
def _halves(count: int) -> np.ndarray:
    """Corner numbers of the two triangles of each of ``count`` quadrilaterals, ``(2 count, 3)``."""
    start = np.arange(0, 4 * count, 4, dtype=np.uint32)[:, None, None]
    halves = (np.array([[0, 1, 2], [0, 2, 3]], np.uint32) + start).reshape(-1, 3)
    halves.flags.writeable = False
    return halves


def loft(
    sections: list[tuple[float, float, float, float, float]],
    label: int,
    material: int,
    colour: Colour = TINTED,
) -> Mesh:
    """A closed body along x through sections ``(x, bottom z, top z, half width low, high)``."""
    rings = np.array(
        [
            [(x, -low, z0), (x, low, z0), (x, high, z1), (x, -high, z1)]
            for x, z0, z1, low, high in sections
        ]
    )
    faces = [rings[0], rings[-1][::-1]]
    for near, far in itertools.pairwise(rings):
        for a in range(4):
            b = (a + 1) % 4
            faces.append(np.array([near[a], far[a], far[b], near[b]]))
    return quads(np.array(faces), label, material, colour)


def box(
    size: tuple[float, float, float],
    centre: tuple[float, float, float],
    label: int,
    material: int,
    colour: Colour = TINTED,
) -> Mesh:
    """A box with edges along the axes; u is horizontal and v vertical on its sides."""
    middle, half = np.array(centre, float), np.array(size, float) / 2
    corners = np.where(_BOX == 1, middle + half, middle - half)
    return quads(corners, label, material, colour)


_BOX = np.array(
    [
        [(0, 0, 0), (1, 0, 0), (1, 0, 1), (0, 0, 1)],
        [(1, 1, 0), (0, 1, 0), (0, 1, 1), (1, 1, 1)],
        [(1, 0, 0), (1, 1, 0), (1, 1, 1), (1, 0, 1)],
        [(0, 1, 0), (0, 0, 0), (0, 0, 1), (0, 1, 1)],
        [(0, 0, 1), (1, 0, 1), (1, 1, 1), (0, 1, 1)],
        [(0, 1, 0), (1, 1, 0), (1, 0, 0), (0, 0, 0)],
    ]
)
"""The faces of a box, whose corners are at its lower (0) or upper (1) end along each axis."""


def cylinder(
    start: tuple[float, float, float],
    end: tuple[float, float, float],
    radius: float | tuple[float, float],
    label: int,
    material: int,
    colour: Colour = TINTED,
    sides: int = 10,
) -> Mesh:
    """A (tapering) cylinder between two points, closed at both ends."""
    a, b = np.array(start, float), np.array(end, float)
    axis = b - a
    axis /= math.sqrt(axis @ axis)
    across = _cross(axis, (1.0, 0.0, 0.0) if abs(axis[0]) < 0.9 else (0.0, 1.0, 0.0))
    across /= math.sqrt(across @ across)
    cos, sin = _rim(sides)
    rim = cos * across + sin * _cross(axis, across)
    low, high = radius if isinstance(radius, tuple) else (radius, radius)
    ring_a, ring_b = a + low * rim, b + high * rim
    corners = np.empty((3, sides, 4, 3))
    side, *caps = corners
    for corner, ring in enumerate((ring_a[:-1], ring_a[1:], ring_b[1:], ring_b[:-1])):
        side[:, corner] = ring
    for cap, ring, centre in zip(caps, (ring_a, ring_b), (a, b), strict=True):
        cap[:, 0], cap[:, 1], cap[:, 2:] = ring[:-1], ring[1:], centre
    body = quads(corners.reshape(-1, 4, 3), label, material, colour)
    body.uv[: sides * 4, 0] += np.arange(sides).repeat(4) * (2 * np.pi * low / sides)
    return body


def _cross(a: Sequence[float], b: Sequence[float]) -> np.ndarray:
    """Of two vectors; numpy's is made for many, and takes 14 times as long for one."""
    (ax, ay, az), (bx, by, bz) = a, b
    return np.array([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx])


@functools.cache
def _rim(sides: int) -> tuple[np.ndarray, np.ndarray]:
    """Cosines and sines ``(sides + 1, 1)`` once around."""
    turn = np.arange(sides + 1)[:, None] * (2 * np.pi / sides)
    return np.cos(turn), np.sin(turn)


def blob(
    rng: np.random.Generator,
    radius: tuple[float, float, float],
    centre: tuple[float, float, float],
    label: int,
    material: int,
    colour: Colour = TINTED,
    bumps: float = 0.2,
    bands: int = 7,
) -> Mesh:
    """A lumpy ellipsoid."""
    lumps = 1 + bumps * rng.standard_normal((bands + 1, 2 * bands + 1)) * 0.6
    lumps[:, -1] = lumps[:, 0]
    lumps[0], lumps[-1] = lumps[0, 0], lumps[-1, 0]
    grid = _sphere(bands) * lumps[..., None] * np.array(radius) + np.array(centre)
    corners = np.stack([grid[:-1, :-1], grid[:-1, 1:], grid[1:, 1:], grid[1:, :-1]], 2)
    mesh = quads(corners.reshape(-1, 4, 3), label, material, colour)
    mesh.uv[:] = mesh.vertices[:, :2] + mesh.vertices[:, 2:] * 0.7
    return mesh


@functools.cache
def _sphere(bands: int) -> np.ndarray:
    """Points of the unit sphere from pole to pole and around, ``(bands + 1, 2 bands + 1, 3)``."""
    polar = np.linspace(0, np.pi, bands + 1)[:, None]
    azimuth = np.linspace(0, 2 * np.pi, 2 * bands + 1)
    x, y = np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth)
    return np.stack([x, y, np.cos(polar) + 0 * azimuth], -1)
