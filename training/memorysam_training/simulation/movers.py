"""What moves by itself: where each road user is at a time, as a pure function."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from memorysam_training.simulation.mesh import Mesh
from memorysam_training.simulation.road import Road

HIP_M, SWING = 0.9, 0.5
"""Walkers swing what is below their hips, by at most this much forward for each metre down."""


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
    """In its own frame: x forward, on z = 0."""
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

    def in_step(self, t: float) -> np.ndarray:
        """Vertices in the mover's own frame at time ``t``, float32 ``(V, 3)``."""
        local = self.mesh.vertices
        if not self.stride:
            return local
        hip = np.clip(HIP_M - local[:, 2], 0, None)
        swing = np.float32(SWING * np.sin(2 * np.pi * self.stride * t)) * np.sign(local[:, 1])
        local = local.copy()
        local[:, 0] += swing * hip
        return local


class Fleet:
    """All road users of a world, placed and posed together."""

    def __init__(self, movers: list[Mover], road: Road, ego: Ego) -> None:
        self._movers, self._road, self._ego = movers, road, ego
        self._start = np.array([m.start for m in movers]).reshape(-1, 2)
        self._velocity = np.array([m.velocity for m in movers]).reshape(-1, 2)
        self._with_ego = np.array([m.with_ego for m in movers], bool)
        self._height = np.array([m.height for m in movers])
        self._turn = np.array([m.turn for m in movers])
        self._period = np.array([m.period or np.inf for m in movers])
        self._corners = np.array([_corners(m) for m in movers]).reshape(-1, 8, 3)
        counts = [len(m.mesh.triangles) for m in movers]
        self.first_triangle = np.cumsum([0, *counts])
        """Of each mover among all movers' triangles; their number at the end."""

    def coordinates(self, t: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """``s``, ``d`` and heading relative to the road of each mover, at time ``t``."""
        # NumPy's remainder of a negative time by infinity is infinity.
        phase = np.where(np.isinf(self._period), t, t % (2 * self._period))
        back = phase >= self._period
        clock = np.where(back, 2 * self._period - phase, phase)
        s, d = (self._start + self._velocity * clock[:, None]).T
        return s + self._with_ego * self._ego.progress(t), d, self._turn + np.pi * back

    def in_reach(self, t: float) -> np.ndarray:
        """Indices of the movers that any sensor could see at time ``t``.

        Nobody yields in this world; who would end up under the vehicle is left out instead.
        """
        s, d, _ = self.coordinates(t)
        ahead = s - self._ego.progress(t)
        run_over = (ahead > -5) & (ahead < 6.5) & (np.abs(d - self._ego.lane) < 1.7)
        return np.flatnonzero((ahead > -45) & (ahead < 150) & ~run_over)

    def velocity(self, t: float) -> np.ndarray:
        """World m/s along x and y, float32 ``(M, 2)``."""
        step = 0.02
        now, past = (self._road.place(*self.coordinates(at)[:2]) for at in (t, t - step))
        return ((now - past) / step).astype(np.float32)

    def boxes(self, t: float, movers: np.ndarray) -> np.ndarray:
        """Corners, in the world, of a box around each of the movers, float32 ``(K, 8, 3)``."""
        turn, place = self._placed(t)
        return self._corners[movers] @ turn[movers].transpose(0, 2, 1) + place[movers, None]

    def posed(self, t: float, movers: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """World vertices, and triangles of these with their places among all movers' triangles."""
        turn, place = self._placed(t)
        vertices, triangles, places, offset = [], [], [], 0
        for k in movers:
            mover = self._movers[k]
            vertices.append(mover.in_step(t) @ turn[k].T + place[k])
            triangles.append(mover.mesh.triangles + np.uint32(offset))
            places.append(np.arange(*self.first_triangle[k : k + 2]))
            offset += len(vertices[-1])
        return np.concatenate(vertices), np.concatenate(triangles), np.concatenate(places)

    def _placed(self, t: float) -> tuple[np.ndarray, np.ndarray]:
        """Rotation ``(M, 3, 3)`` and position ``(M, 3)`` of each mover in the world, float32."""
        s, d, turn = self.coordinates(t)
        turn = turn + self._road.direction(s)
        rotation = np.zeros((len(s), 3, 3), np.float32)
        rotation[:, 0, 0] = rotation[:, 1, 1] = np.cos(turn)
        rotation[:, 1, 0] = np.sin(turn)
        rotation[:, 0, 1] = -rotation[:, 1, 0]
        rotation[:, 2, 2] = 1
        place = np.concatenate([self._road.place(s, d), self._height[:, None]], 1)
        return rotation, place.astype(np.float32)


def _corners(mover: Mover) -> np.ndarray:
    """Of a box around the mover at any step, in its own frame, ``(8, 3)``."""
    low, high = mover.mesh.vertices.min(0), mover.mesh.vertices.max(0)
    reach = SWING * HIP_M if mover.stride else 0.0
    low, high = low - (reach, 0, 0), high + (reach, 0, 0)
    return np.array(list(itertools.product(*zip(low, high, strict=True))))
