"""What moves by itself: where each road user is at a time, as a pure function."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from memorysam_training.simulation.mesh import Mesh
from memorysam_training.simulation.road import Road


@dataclass(frozen=True)
class Ego:
    """The vehicle that carries the sensors: it follows its lane at a gently varying speed."""

    start: float
    speed: float
    surge: float
    """Amplitude, metres, of the slow variation of progress."""
    lane: float

    def progress(self, t: float) -> float:
        """Road coordinate ``s`` at time ``t``, seconds."""
        return self.start + self.speed * t + self.surge * float(np.sin(0.35 * t))

    def pose(self, road: Road, t: float) -> np.ndarray:
        """``world_from_vehicle`` 4 x 4: origin on the ground, with the body's pitch and roll."""
        s = self.progress(t)
        d = self.lane + 0.15 * np.sin(0.23 * t)
        yaw = float(road.direction(s)) + 0.012 * np.sin(0.6 * t + 1.0)
        pitch = 0.008 * np.sin(2.3 * t) + 0.003 * np.sin(7.1 * t)
        roll = 0.006 * np.sin(1.7 * t + 0.5)
        pose = np.eye(4)
        pose[:3, :3] = _turn_z(yaw) @ _turn_y(pitch) @ _turn_x(roll)
        pose[:2, 3] = road.place(s, d)
        return pose


def _turn_x(a: float) -> np.ndarray:
    return np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])


def _turn_y(a: float) -> np.ndarray:
    return np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])


def _turn_z(a: float) -> np.ndarray:
    return np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])


@dataclass(frozen=True)
class Mover:
    """A road user on its way: along the road, across it, or with the traffic of the ego lane."""

    mesh: Mesh
    start: tuple[float, float]
    """``s, d`` at time 0; ``s`` is ahead of the ego vehicle where ``with_ego``."""
    velocity: tuple[float, float]
    """Change of ``s`` and ``d``, m/s (on top of the ego vehicle's where ``with_ego``)."""
    with_ego: bool = False
    height: float = 0.0
    stride: float = 0.0
    """Steps per second of walkers; their legs swing."""
    turn: float = 0.0
    """Heading relative to the road, radians."""
    period: float = 0.0
    """Seconds after which someone who crosses the road turns back, 0 never."""

    def coordinates(self, ego: Ego, t: float) -> tuple[float, float, float]:
        """``s``, ``d`` and heading relative to the road, at time ``t``."""
        clock, turn = t, self.turn
        if self.period:
            phase = t % (2 * self.period)
            clock = phase if phase < self.period else 2 * self.period - phase
            turn += 0.0 if phase < self.period else np.pi
        s, d = self.start[0] + self.velocity[0] * clock, self.start[1] + self.velocity[1] * clock
        return (s + ego.progress(t) if self.with_ego else s), d, turn

    def posed(self, road: Road, ego: Ego, t: float) -> np.ndarray:
        """Vertices in the world at time ``t``, float32 ``(V, 3)``."""
        s, d, turn = self.coordinates(ego, t)
        local = self.mesh.vertices
        if self.stride:
            hip = np.clip(0.9 - local[:, 2], 0, None)
            swing = 0.5 * np.sin(2 * np.pi * self.stride * t) * np.sign(local[:, 1])
            local = local.copy()
            local[:, 0] += swing * hip
        yaw = float(road.direction(s)) + turn
        x, y = road.place(s, d)
        return (local @ _turn_z(yaw).T + (x, y, self.height)).astype(np.float32)


def in_reach(movers: list[Mover], ego: Ego, t: float) -> list[int]:
    """Indices of the movers that any sensor could see at time ``t``.

    Nobody yields in this world; who would end up under the vehicle is left out instead.
    """
    here, found = ego.progress(t), []
    for k, mover in enumerate(movers):
        s, d, _ = mover.coordinates(ego, t)
        run_over = -5 < s - here < 6.5 and abs(d - ego.lane) < 1.7
        if -45 < s - here < 150 and not run_over:
            found.append(k)
    return found
