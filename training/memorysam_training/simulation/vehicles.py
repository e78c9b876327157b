"""Road users: cars, buses, trucks, two-wheelers and people. All face +x and stand on z = 0."""

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
    loft,
)

DARK: Colour = (0.03, 0.03, 0.035)
PALE: Colour = (0.75, 0.74, 0.7)
SKIN = ((0.62, 0.42, 0.32), (0.36, 0.22, 0.15), (0.72, 0.54, 0.44), (0.5, 0.33, 0.22))


def _wheels(label: int, xs: tuple[float, ...], y: float, radius: float, width: float) -> list[Mesh]:
    wheels = []
    for x in xs:
        for side in (-1, 1):
            a, b = (x, side * y, radius), (x, side * (y - width), radius)
            wheels.append(cylinder(a, b, radius, label, Material.RUBBER, DARK, 14))
            hub = (x, side * (y + 0.01), radius)
            wheels.append(cylinder(hub, a, radius * 0.55, label, Material.PLAIN, (0.4, 0.4, 0.42)))
    return wheels


def _lights(label: int, front: float, back: float, y: float, z: float, size: float) -> list[Mesh]:
    lights = []
    for side in (-1, 1):
        lens = (0.06, size * 1.6, size)
        lights.append(box(lens, (front, side * y, z), label, Material.HEADLIGHT, PALE))
        red = (0.06, size * 1.3, size * 1.1)
        lights.append(
            box(red, (back, side * y, z + 0.1), label, Material.TAILLIGHT, (0.5, 0.03, 0.02))
        )
    plate = (0.5, 0.5, 0.42)
    lights.append(box((0.03, 0.5, 0.12), (back - 0.02, 0, z - 0.15), label, Material.PLAIN, plate))
    return lights


def car(rng: np.random.Generator) -> Mesh:
    """A hatchback, saloon, estate or van-like car, 3.8 to 4.9 m long."""
    label = classes.CARS
    length, width = rng.uniform(3.9, 4.9), rng.uniform(0.86, 0.95)
    roof, belt = rng.uniform(1.45, 1.85), rng.uniform(0.85, 0.98)
    h = length / 2
    tail = rng.choice([0.0, 0.75])  # the boot of a saloon
    body = loft(
        [
            (-h, 0.32, belt - 0.12, width * 0.92, width * 0.85),
            (-h + 0.15, 0.25, belt, width, width * 0.95),
            (-0.3, 0.22, belt + 0.03, width, width * 0.97),
            (h * 0.4, 0.22, belt, width, width * 0.96),
            (h - 0.25, 0.24, belt - 0.16, width * 0.97, width * 0.88),
            (h, 0.32, belt - 0.28, width * 0.88, width * 0.8),
        ],
        label,
        Material.PAINT,
    )
    back, front = -h + 0.1 + tail, h * 0.45
    cabin = loft(
        [
            (back, belt - 0.02, belt, width * 0.94, width * 0.92),
            (back + 0.35, belt - 0.02, roof - 0.05, width * 0.95, width * 0.74),
            (front - 0.85, belt - 0.02, roof - 0.04, width * 0.95, width * 0.74),
            (front, belt - 0.02, belt, width * 0.94, width * 0.92),
        ],
        label,
        Material.GLASS,
        (0.04, 0.05, 0.06),
    )
    top = loft(
        [
            (back + 0.3, roof - 0.07, roof - 0.02, width * 0.78, width * 0.7),
            ((back + front) / 2 - 0.3, roof - 0.07, roof, width * 0.78, width * 0.7),
            (front - 0.8, roof - 0.08, roof - 0.03, width * 0.78, width * 0.7),
        ],
        label,
        Material.PAINT,
    )
    pillars = []
    for x in (back + 0.42, (back + front) / 2 - 0.35):
        for side in (-1, 1):
            foot, head = (
                (x, side * width * 0.965, belt),
                (x + 0.02, side * width * 0.76, roof - 0.05),
            )
            pillars.append(cylinder(foot, head, 0.05, label, Material.PAINT, sides=4))
    mirrors = [
        box(
            (0.12, 0.2, 0.14),
            (front - 0.35, s * (width + 0.08), belt + 0.06),
            label,
            Material.PAINT,
        )
        for s in (-1, 1)
    ]
    skirt = box((length - 0.5, width * 1.9, 0.16), (0, 0, 0.24), label, Material.PLAIN, DARK)
    wheels = _wheels(label, (-h * 0.62, h * 0.62), width + 0.01, 0.33, 0.22)
    lights = _lights(label, h - 0.04, -h - 0.01, width * 0.66, belt - 0.3, 0.17)
    return join([body, cabin, top, *pillars, *mirrors, skirt, *wheels, *lights])


def bus(rng: np.random.Generator) -> Mesh:
    """A city bus: long, tall, with a band of windows and a lit sign over the windscreen."""
    label = classes.BUS
    length, width, height = rng.uniform(10.5, 12.5), 1.27, rng.uniform(3.0, 3.3)
    h = length / 2
    body = loft(
        [
            (-h, 0.4, height - 0.08, width * 0.97, width * 0.9),
            (-h + 0.2, 0.3, height, width, width * 0.94),
            (h - 0.25, 0.3, height, width, width * 0.94),
            (h, 0.36, height - 0.15, width * 0.96, width * 0.88),
        ],
        label,
        Material.PAINT,
    )
    stripe = box((length - 0.1, width * 2 + 0.02, 0.3), (0, 0, 0.95), label, Material.PLAIN, PALE)
    parts = [body, stripe]
    panes = 7
    pitch = (length - 1.6) / panes
    for side in (-1, 1):
        for pane in range(panes):
            x = -h + 0.8 + pitch * (pane + 0.5)
            size, centre = (pitch - 0.16, 0.06, 1.15), (x, side * width * 0.98, 1.95)
            parts.append(box(size, centre, label, Material.GLASS, (0.05, 0.06, 0.07)))
        for x in (h - 1.1, 0.3):
            door = (1.1, 0.05, 2.1)
            centre = (x, -width - 0.005, 1.45)
            parts.append(box(door, centre, label, Material.GLASS, (0.04, 0.05, 0.05)))
    parts.append(
        box((0.08, 2.1, 1.4), (h - 0.02, 0, 1.85), label, Material.GLASS, (0.05, 0.06, 0.07))
    )
    parts.append(
        box((0.08, 1.9, 0.9), (-h + 0.02, 0, 2.05), label, Material.GLASS, (0.05, 0.06, 0.07))
    )
    sign = (0.95, 0.6, 0.12)
    parts.append(box((0.1, 1.7, 0.3), (h - 0.03, 0, height - 0.32), label, Material.LAMP, sign))
    parts.append(
        box((length * 0.4, 1.5, 0.28), (-1.0, 0, height + 0.1), label, Material.PLAIN, PALE)
    )
    parts += _wheels(label, (-h * 0.55, h * 0.6), width + 0.01, 0.48, 0.3)
    parts += _lights(label, h - 0.01, -h - 0.01, 0.9, 0.75, 0.2)
    return join(parts)


def truck(rng: np.random.Generator) -> Mesh:
    """A lorry: a cab, a gap, and a box, a tank or a load of timber."""
    label = classes.TRUCK
    length, width = rng.uniform(7.0, 9.5), 1.24
    height, h = rng.uniform(3.2, 3.8), length / 2
    cab = loft(
        [
            (h - 2.0, 0.5, 2.75, width * 0.95, width * 0.9),
            (h - 0.5, 0.45, 2.8, width * 0.97, width * 0.9),
            (h, 0.45, 1.7, width * 0.95, width * 0.9),
        ],
        label,
        Material.PAINT,
    )
    glass = (0.04, 0.05, 0.06)
    screen = loft(
        [(h - 0.46, 1.62, 2.62, 1.06, 1.0), (h + 0.03, 1.62, 1.64, 1.06, 1.05)],
        label,
        Material.GLASS,
        glass,
    )
    panes = box((0.8, width * 1.92, 0.65), (h - 1.0, 0, 2.05), label, Material.GLASS, glass)
    bumper = box((0.2, width * 1.9, 0.4), (h + 0.02, 0, 0.6), label, Material.PLAIN, DARK)
    frame = box((length - 0.4, 1.0, 0.25), (-0.2, 0, 0.75), label, Material.PLAIN, DARK)
    parts = [cab, screen, panes, bumper, frame]
    back, front = -h, h - 2.25
    middle, span = (back + front) / 2, front - back
    cargo = tuple(rng.uniform(0.25, 0.8, 3))
    kind = rng.integers(3)
    if kind == 0:
        tank = ((back, 0, 2.0), (front, 0, 2.0))
        parts.append(cylinder(*tank, 1.15, label, Material.PAINT, cargo, 16))
        for x in np.linspace(back + 0.5, front - 0.5, 4):
            parts.append(cylinder((x, 0, 2), (x + 0.1, 0, 2), 1.2, label, Material.PLAIN, DARK, 16))
    else:
        parts.append(
            box(
                (span, width * 2, height - 0.95),
                (middle, 0, (height + 0.95) / 2),
                label,
                Material.RAIL if kind == 1 else Material.PAINT,
                cargo,
            )
        )
        for x in np.arange(back + 0.6, front, 1.1):
            rib = (0.08, width * 2 + 0.06, height - 0.95)
            parts.append(box(rib, (x, 0, (height + 0.95) / 2), label, Material.PLAIN, cargo))
        door = (0.03, 0.05, height - 1.1)
        parts.append(box(door, (back - 0.02, 0, (height + 0.95) / 2), label, Material.PLAIN, DARK))
    guard = (span * 0.5, width * 1.96, 0.3)
    parts.append(box(guard, (middle + 0.3, 0, 0.65), label, Material.PLAIN, (0.5, 0.5, 0.5)))
    parts += _wheels(label, (-h + 0.9, -h + 2.0, h - 1.1), width, 0.5, 0.32)
    parts += _lights(label, h + 0.06, -h - 0.02, 0.95, 0.7, 0.2)
    return join(parts)


def person(rng: np.random.Generator, label: int = classes.PEDESTRIAN) -> Mesh:
    """Someone standing, 1.6 to 1.95 m tall; walking is a shear of what is below the hips."""
    cloth = [tuple(rng.uniform(0.05, 0.6) * rng.uniform(0.6, 1.2, 3)) for _ in range(2)]
    skin = SKIN[rng.integers(len(SKIN))]
    parts = []
    for side in (-1, 1):
        foot = (0.04, side * 0.13, 0.0)
        parts.append(
            cylinder(foot, (0, side * 0.11, 0.92), (0.1, 0.13), label, Material.PLAIN, cloth[0], 8)
        )
        parts.append(box((0.28, 0.12, 0.1), (0.07, side * 0.13, 0.05), label, Material.PLAIN, DARK))
        parts.append(
            cylinder(
                (0.06, side * 0.34, 0.85),
                (0, side * 0.27, 1.45),
                (0.06, 0.09),
                label,
                Material.PLAIN,
                cloth[1],
                7,
            )
        )
    parts.append(cylinder((0, 0, 0.86), (0, 0, 1.5), (0.24, 0.27), label, Material.PLAIN, cloth[1]))
    parts.append(cylinder((0, 0, 1.45), (0, 0, 1.6), (0.22, 0.08), label, Material.PLAIN, cloth[1]))
    parts.append(
        blob(rng, (0.13, 0.12, 0.17), (0.02, 0, 1.72), label, Material.PLAIN, skin, 0.02, 5)
    )
    parts.append(
        blob(
            rng,
            (0.14, 0.13, 0.1),
            (-0.02, 0, 1.82),
            label,
            Material.PLAIN,
            (0.12, 0.08, 0.05),
            0.05,
            4,
        )
    )
    if rng.random() < 0.5:
        bag = tuple(rng.uniform(0.05, 0.6, 3))
        parts.append(box((0.2, 0.34, 0.45), (-0.28, 0, 1.25), label, Material.PLAIN, bag))
    return join(parts).placed((0, 0, 0), scale=rng.uniform(0.95, 1.06))


def two_wheeler(rng: np.random.Generator) -> Mesh:
    """A bicycle or a motorcycle with its rider, of one class."""
    label = classes.TWO_WHEELER
    motor = rng.random() < 0.5
    radius = 0.32 if motor else 0.36
    width = 0.14 if motor else 0.08
    parts = []
    for x in (-0.62, 0.62):
        parts.append(
            cylinder(
                (x, -width / 2, radius),
                (x, width / 2, radius),
                radius,
                label,
                Material.RUBBER,
                DARK,
                16,
            )
        )
        parts.append(
            cylinder(
                (x, -width / 2 - 0.01, radius),
                (x, width / 2 + 0.01, radius),
                radius * 0.7,
                label,
                Material.PLAIN,
                (0.5, 0.5, 0.5),
                16,
            )
        )
    if motor:
        parts.append(
            loft(
                [
                    (-0.75, 0.65, 0.95, 0.16, 0.12),
                    (-0.1, 0.35, 0.9, 0.22, 0.2),
                    (0.45, 0.45, 1.05, 0.2, 0.14),
                ],
                label,
                Material.PAINT,
            )
        )
        parts.append(box((0.12, 0.3, 0.3), (0.55, 0, 0.95), label, Material.HEADLIGHT, PALE))
        parts.append(
            box((0.08, 0.2, 0.12), (-0.8, 0, 0.85), label, Material.TAILLIGHT, (0.5, 0, 0))
        )
    else:
        rods = [
            ((-0.62, 0, radius), (-0.1, 0, 0.9)),
            ((-0.1, 0, 0.85), (0.5, 0, 0.9)),
            ((0.0, 0, 0.35), (0.5, 0, 0.85)),
            ((-0.1, 0, 0.9), (0.05, 0, 0.35)),
            ((0.62, 0, radius), (0.48, 0, 1.1)),
            ((-0.62, 0, radius), (0.05, 0, 0.35)),
        ]
        parts += [cylinder(a, b, 0.04, label, Material.PAINT, sides=6) for a, b in rods]
        parts.append(box((0.3, 0.16, 0.07), (-0.12, 0, 0.97), label, Material.PLAIN, DARK))
    parts.append(
        cylinder((0.42, -0.32, 1.1), (0.42, 0.32, 1.1), 0.035, label, Material.PLAIN, DARK, 6)
    )
    parts += _rider(rng, label)
    return join(parts)


def _rider(rng: np.random.Generator, label: int) -> list[Mesh]:
    cloth = [tuple(rng.uniform(0.05, 0.6) * rng.uniform(0.6, 1.2, 3)) for _ in range(3)]
    parts = [
        cylinder(
            (-0.16, 0, 0.98), (0.05, 0, 1.55), (0.22, 0.25), label, Material.PLAIN, cloth[0], 9
        ),
        blob(rng, (0.16, 0.15, 0.18), (0.12, 0, 1.75), label, Material.PLAIN, cloth[2], 0.02, 5),
    ]
    for side in (-1, 1):
        knee, hip, foot = (
            (0.28, side * 0.16, 0.8),
            (-0.14, side * 0.13, 1.0),
            (0.1, side * 0.14, 0.32),
        )
        parts.append(cylinder(hip, knee, (0.12, 0.1), label, Material.PLAIN, cloth[1], 7))
        parts.append(cylinder(foot, knee, (0.07, 0.1), label, Material.PLAIN, cloth[1], 7))
        hand, shoulder = (0.42, side * 0.26, 1.12), (0.03, side * 0.26, 1.5)
        parts.append(cylinder(hand, shoulder, (0.05, 0.08), label, Material.PLAIN, cloth[0], 7))
    return parts
