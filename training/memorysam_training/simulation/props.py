"""Street furniture and plants. All stand on z = 0; those with a front show it towards -x."""

from __future__ import annotations

import numpy as np

from memorysam_training.simulation import classes
from memorysam_training.simulation.mesh import (
    Colour,
    Material,
    Mesh,
    blob,
    box,
    cylinder,
    join,
    surface,
)

DARK: Colour = (0.04, 0.04, 0.045)


def leaves(
    rng: np.random.Generator, radius: tuple[float, float, float], height: float, count: int
) -> Mesh:
    """Loose triangles around an ellipsoid, which break up the outline of a crown."""
    direction = rng.standard_normal((count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    centre = direction * np.array(radius) * rng.uniform(0.9, 1.1, (count, 1))
    centre[:, 2] += height
    corners = centre[:, None] + rng.normal(0, 0.17 * min(radius), (count, 3, 3))
    vertices = corners.reshape(-1, 3)
    triangles = np.arange(count * 3).reshape(-1, 3)
    uv = vertices[:, :2] + vertices[:, 2:] * 0.7
    return surface(vertices, uv, triangles, classes.VEGETATION, Material.FOLIAGE)


def tree(rng: np.random.Generator) -> Mesh:
    """A broad-leaved tree or a poplar, 6 to 10 m tall; trunk and crown are both vegetation."""
    label = classes.VEGETATION
    slim = rng.random() < 0.25
    wide = rng.uniform(0.9, 1.3) if slim else rng.uniform(1.7, 2.6)
    tall = rng.uniform(2.6, 3.6) if slim else rng.uniform(1.7, 2.4)
    middle = tall + rng.uniform(1.9, 2.8)
    bark = (0.2, 0.15, 0.11)
    parts = [cylinder((0, 0, 0), (0, 0, middle), (0.3, 0.16), label, Material.WOOD, bark, 8)]
    for _ in range(1 if slim else 4):
        offset = (0, 0) if slim else rng.normal(0, wide * 0.4, 2)
        size = np.array([wide, wide, tall]) * (1.0 if slim else rng.uniform(0.62, 0.85))
        z = middle + (0 if slim else rng.normal(0, tall * 0.3))
        crown = blob(rng, tuple(size), (*offset, z), label, Material.FOLIAGE, bumps=0.16, bands=6)
        cards = leaves(rng, tuple(size), z, 60)
        cards.vertices[:, :2] += np.float32(offset)
        parts += [crown, cards]
    return join(parts)


def conifer(rng: np.random.Generator) -> Mesh:
    """A spruce of stacked cones."""
    label, bark = classes.VEGETATION, (0.18, 0.13, 0.1)
    height, wide = rng.uniform(6.5, 10.0), rng.uniform(1.5, 2.2)
    parts = [cylinder((0, 0, 0), (0, 0, height * 0.4), 0.22, label, Material.WOOD, bark, 8)]
    for k in range(4):
        low = height * (0.14 + 0.2 * k)
        radius = wide * (1 - 0.2 * k)
        parts.append(
            cylinder(
                (0, 0, low),
                (0, 0, low + height * 0.32),
                (radius, 0.05),
                label,
                Material.FOLIAGE,
                sides=11,
            )
        )
        parts.append(leaves(rng, (radius * 0.75, radius * 0.75, 0.5), low + 0.5, 40))
    return join(parts)


def hedge(rng: np.random.Generator, length: float) -> Mesh:
    """A clipped hedge along x."""
    label = classes.VEGETATION
    body = box((length, 0.9, 1.15), (0, 0, 0.57), label, Material.FOLIAGE)
    cards = leaves(rng, (length / 2, 0.5, 0.6), 0.65, int(length * 14))
    cards.vertices[:] = np.clip(cards.vertices, (-length / 2, -0.6, 0.1), (length / 2, 0.6, 1.35))
    return join([body, cards])


def bush(rng: np.random.Generator) -> Mesh:
    """A round shrub."""
    size = tuple(rng.uniform(0.6, 1.1, 3))
    body = blob(rng, size, (0, 0, size[2] * 0.7), classes.VEGETATION, Material.FOLIAGE, bumps=0.2)
    return join([body, leaves(rng, size, size[2] * 0.7, 50)])


def lamp_post(rng: np.random.Generator) -> Mesh:
    """A street lamp whose arm reaches towards +x; see ``LAMP_HEAD`` for the light's place."""
    label = classes.POLE
    return join(
        [
            cylinder((0, 0, 0), (0, 0, 6.4), (0.2, 0.14), label, Material.PLAIN),
            cylinder((0, 0, 0), (0, 0, 1.0), (0.27, 0.24), label, Material.PLAIN),
            cylinder((0, 0, 6.3), (1.7, 0, 6.75), 0.1, label, Material.PLAIN, sides=8),
            box((0.9, 0.4, 0.16), (1.9, 0, 6.72), label, Material.PLAIN),
            box((0.7, 0.3, 0.05), (1.9, 0, 6.62), label, Material.LAMP, (1.0, 0.85, 0.6)),
        ]
    )


LAMP_HEAD = (1.9, 0.0, 6.55)


def bollard() -> Mesh:
    """A thick short post."""
    parts = [
        cylinder((0, 0, 0), (0, 0, 1.05), 0.16, classes.POLE, Material.PLAIN),
        cylinder((0, 0, 0.75), (0, 0, 0.9), 0.165, classes.POLE, Material.PLAIN, (0.7, 0.7, 0.7)),
    ]
    return join(parts)


def utility_pole() -> Mesh:
    """A tall pole of wood with a cross-arm."""
    label = classes.POLE
    return join(
        [
            cylinder((0, 0, 0), (0, 0, 8.5), (0.22, 0.17), label, Material.WOOD),
            box((0.16, 2.4, 0.18), (0, 0, 7.9), label, Material.WOOD),
        ]
    )


def traffic_sign(rng: np.random.Generator) -> Mesh:
    """A sign on its post: disc, triangle, or board; pole and sign are classes of their own."""
    post = cylinder((0.08, 0, 0), (0.08, 0, 3.3), 0.1, classes.POLE, Material.PLAIN)
    kind = rng.integers(3)
    size, height = (0.62, 2.75)
    if kind == 2:
        face = box((0.07, 1.5, 1.0), (0, 0, 2.8), classes.SIGN, Material.SIGN)
    else:
        sides = 20 if kind == 0 else 3
        face = cylinder(
            (-0.04, 0, height),
            (0.04, 0, height),
            size + 0.12 * kind,
            classes.SIGN,
            Material.SIGN,
            sides=sides,
        )
        face.uv[:] = face.vertices[:, 1:] - np.float32([0, height])
    if kind == 2:
        face.uv[:] = (face.vertices[:, 1:] - np.float32([0, 2.8])) / np.float32([1.2, 0.8])
    return join([post, face])


def traffic_light(over_road: bool) -> Mesh:
    """Three lights in a dark box with a pale edge, at the roadside or on an arm towards +y."""
    parts = [
        cylinder(
            (0.25, 0, 0), (0.25, 0, 6.2 if over_road else 3.0), 0.15, classes.POLE, Material.PLAIN
        )
    ]
    heads = [(0.0, 2.9)]
    if over_road:
        parts.append(cylinder((0.25, 0, 6.0), (0.25, 4.2, 6.0), 0.11, classes.POLE, Material.PLAIN))
        heads.append((4.0, 5.7))
    for y, z in heads:
        label = classes.TRAFFIC_LIGHT
        parts.append(
            box((0.05, 0.95, 1.75), (0.12, y, z), label, Material.PLAIN, (0.55, 0.55, 0.5))
        )
        parts.append(box((0.3, 0.72, 1.55), (0, y, z), label, Material.PLAIN, DARK))
        for k, colour in enumerate(((0.9, 0.08, 0.05), (0.95, 0.6, 0.05), (0.1, 0.85, 0.4))):
            at = z + 0.48 * (1 - k)
            parts.append(
                cylinder((-0.2, y, at), (-0.14, y, at), 0.2, label, Material.SIGNAL, colour, 12)
            )
    return join(parts)


def fence(length: float, height: float = 1.5) -> Mesh:
    """Thick pickets between two rails along x: one looks through it."""
    label = classes.FENCE
    parts = [
        box((length, 0.1, 0.16), (0, 0, z), label, Material.PLAIN) for z in (0.3, height - 0.15)
    ]
    for x in np.arange(-length / 2 + 0.15, length / 2, 0.34):
        parts.append(box((0.19, 0.07, height), (x, 0, height / 2), label, Material.PLAIN))
    return join(parts)


def guard_rail(length: float) -> Mesh:
    """A crash barrier along x: two horizontal beams on short posts."""
    label = classes.GUARD_RAIL
    parts = [box((length, 0.12, 0.26), (0, 0, z), label, Material.RAIL) for z in (0.92, 0.5)]
    for x in np.arange(-length / 2 + 0.5, length / 2, 2.0):
        parts.append(box((0.16, 0.14, 1.0), (x, 0.1, 0.5), label, Material.PLAIN))
    return join(parts)


def wall(length: float, height: float) -> Mesh:
    """A free-standing wall with a coping, along x."""
    label = classes.WALL
    return join(
        [
            box((length, 0.4, height), (0, 0, height / 2), label, Material.BRICK),
            box((length, 0.56, 0.16), (0, 0, height + 0.05), label, Material.CONCRETE),
        ]
    )


def bench() -> Mesh:
    """A park bench, facing -y."""
    label = classes.STATIC
    parts = [
        box((2.0, 0.6, 0.12), (0, 0, 0.5), label, Material.WOOD),
        box((2.0, 0.12, 0.55), (0, 0.3, 0.85), label, Material.WOOD),
    ]
    parts += [box((0.14, 0.55, 0.5), (x, 0, 0.25), label, Material.PLAIN) for x in (-0.8, 0.8)]
    return join(parts)


def shelter() -> Mesh:
    """A bus shelter, open towards -y."""
    label = classes.STATIC
    parts = [
        box((4.2, 1.7, 0.16), (0, 0, 2.55), label, Material.PLAIN),
        box((4.0, 0.1, 1.9), (0, 0.75, 1.35), label, Material.GLASS, (0.2, 0.25, 0.26)),
        box((0.14, 1.4, 2.0), (1.95, 0.05, 1.4), label, Material.SIGN, (0.8, 0.75, 0.7)),
        box((2.6, 0.45, 0.1), (-0.3, 0.4, 0.55), label, Material.WOOD),
    ]
    parts += [
        cylinder((x, y, 0), (x, y, 2.5), 0.09, label, Material.PLAIN, sides=6)
        for x in (-1.95, 1.95)
        for y in (-0.6, 0.75)
    ]
    return join(parts)


def planter(rng: np.random.Generator) -> Mesh:
    """A big concrete tub; what grows in it is vegetation."""
    tub = cylinder((0, 0, 0), (0, 0, 0.85), (0.65, 0.9), classes.STATIC, Material.CONCRETE, sides=8)
    plant = blob(rng, (0.75, 0.75, 0.5), (0, 0, 1.0), classes.VEGETATION, Material.FOLIAGE)
    return join([tub, plant])


def kiosk() -> Mesh:
    """An advertising column."""
    label = classes.STATIC
    return join(
        [
            cylinder((0, 0, 0), (0, 0, 2.9), 0.75, label, Material.SIGN, sides=14),
            cylinder((0, 0, 0), (0, 0, 0.35), 0.85, label, Material.CONCRETE, sides=14),
            cylinder((0, 0, 2.9), (0, 0, 3.5), (0.95, 0.1), label, Material.PLAIN, sides=14),
        ]
    )


def bin_container() -> Mesh:
    """A wheeled refuse container with a slanted lid."""
    label = classes.DYNAMIC
    return join(
        [
            cylinder((0, 0, 0.12), (0, 0, 1.15), (0.5, 0.68), label, Material.PLAIN, sides=4),
            box((1.1, 1.1, 0.13), (0, 0, 1.2), label, Material.PLAIN, DARK),
            box((0.16, 0.9, 0.2), (-0.4, 0, 0.1), label, Material.RUBBER, DARK),
        ]
    )


def cone_barrel() -> Mesh:
    """A road-works barrel with pale bands."""
    label = classes.DYNAMIC
    parts = [
        cylinder((0, 0, 0), (0, 0, 1.2), (0.5, 0.36), label, Material.PLAIN, (0.8, 0.28, 0.05))
    ]
    for z in (0.45, 0.85):
        radius = 0.52 - 0.117 * z
        parts.append(
            cylinder((0, 0, z), (0, 0, z + 0.17), radius, label, Material.PLAIN, (0.75, 0.75, 0.72))
        )
    return join(parts)
