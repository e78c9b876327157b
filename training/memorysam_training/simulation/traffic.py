"""Moving road users: oncoming and leading vehicles, riders and walkers."""

from __future__ import annotations

import numpy as np

from memorysam_training.simulation import vehicles
from memorysam_training.simulation.movers import Ego, Mover
from memorysam_training.simulation.palettes import PAINTS, pick
from memorysam_training.simulation.road import Road


def populate(
    rng: np.random.Generator, road: Road, ego: Ego, seconds: float, junctions: list[float]
) -> list[Mover]:
    """All movers that a drive of ``seconds`` may meet."""
    reach = ego.progress(seconds) + 150
    movers = _oncoming(rng, ego, seconds, reach) + _ahead(rng)
    edge = road.half_width
    for _ in range(int((reach + 40) / 9)):
        side = rng.choice([-1, 1])
        way = float(rng.choice([-1.0, 1.0]))
        speed = rng.uniform(0.9, 1.6)
        start = rng.uniform(-30, reach), side * (edge + rng.uniform(0.8, 2.4))
        movers.append(
            _mover(
                rng,
                vehicles.person(rng),
                start,
                (way * speed, 0),
                0.15,
                stride=speed * 0.8,
                turn=0.0 if way > 0 else np.pi,
            )
        )
    for junction in junctions:
        for _ in range(int(rng.integers(0, 4))):
            speed, side = rng.uniform(0.9, 1.5), float(rng.choice([-1, 1]))
            start = junction + 3.2 + rng.uniform(-1.2, 1.2), -side * (edge + 0.5)
            movers.append(
                _mover(
                    rng,
                    vehicles.person(rng),
                    start,
                    (0, side * speed),
                    0.0,
                    stride=speed * 0.8,
                    turn=side * np.pi / 2,
                    period=(2 * edge + 1) / speed,
                )
            )
    return movers


def _mover(
    rng: np.random.Generator,
    mesh: vehicles.Mesh,
    start: tuple[float, float],
    velocity: tuple[float, float],
    height: float = 0.0,
    *,
    with_ego: bool = False,
    stride: float = 0.0,
    turn: float = 0.0,
    period: float = 0.0,
) -> Mover:
    painted = mesh.placed((0, 0, 0), colour=pick(rng, PAINTS), seed=float(rng.random()))
    place, speed = (float(start[0]), float(start[1])), (float(velocity[0]), float(velocity[1]))
    return Mover(painted, place, speed, with_ego, height, stride, float(turn), float(period))


def _oncoming(rng: np.random.Generator, ego: Ego, seconds: float, reach: float) -> list[Mover]:
    makers = (vehicles.car, vehicles.bus, vehicles.truck, vehicles.two_wheeler)
    movers = []
    speed = rng.uniform(5.5, 9.0)
    s = 18.0
    while s < reach + speed * seconds:
        kind = rng.choice(4, p=(0.48, 0.16, 0.18, 0.18))
        lane = 1.85 if kind < 3 else rng.uniform(2.4, 3.2)
        movers.append(_mover(rng, makers[kind](rng), (s, lane), (-speed, 0), turn=np.pi))
        s += rng.uniform(14, 40)
    return movers


def _ahead(rng: np.random.Generator) -> list[Mover]:
    """Traffic of the ego lane, that keeps its distance, and riders at the kerb."""
    makers = (vehicles.car, vehicles.bus, vehicles.truck, vehicles.two_wheeler)
    movers = []
    gap = rng.uniform(13, 30)
    for _ in range(4):
        kind = rng.choice(4, p=(0.4, 0.2, 0.22, 0.18))
        movers.append(
            _mover(rng, makers[kind](rng), (gap, -1.85), (rng.normal(0, 0.15), 0), with_ego=True)
        )
        gap += rng.uniform(17, 40)
    for _ in range(2):
        start = rng.uniform(8, 26), rng.uniform(-3.3, -3.0)
        movers.append(
            _mover(rng, vehicles.two_wheeler(rng), start, (rng.normal(0, 0.4), 0), with_ego=True)
        )
    return movers
