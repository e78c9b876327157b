"""A drive: one world, its weather and faults, and every sensor's reading at any time.

Each reading is a pure function of the drive and the time, so that order, number of processes and
the other sensors have no say in it.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from memorysam_core.frames.camera import Camera
from memorysam_training.simulation.conditions import Fault, Schedule, Weather, active
from memorysam_training.simulation.noise import stream
from memorysam_training.simulation.rig import Rig
from memorysam_training.simulation.scene import Scene, Snapshot
from memorysam_training.simulation.sensors import camera, depth, events, lidar
from memorysam_training.simulation.sensors.view import View, look
from memorysam_training.simulation.world import build_world

WINDOW_S = 0.05
"""Length of the event camera's packets, and of the window of an event frame."""
STAMP_0_NS = 1_700_000_000_000_000_000
"""Stamp of the drive's start."""


def stamp_ns(t: float) -> int:
    """The stamp of a time of the drive, whole microseconds."""
    return STAMP_0_NS + round(t * 1e6) * 1000


@dataclass(frozen=True)
class Shot:
    """What the colour camera took, and the truth about it."""

    image: np.ndarray
    """uint8 (H, W, 3)."""
    labels: np.ndarray
    """uint8 (H, W), ids of DELIVER's classes."""


class Drive:
    """Sensors on their way through a world."""

    def __init__(
        self,
        seed: int,
        seconds: float,
        conditions: tuple[str, ...],
        faults: tuple[Fault, ...] = (),
        rig: Rig | None = None,
    ) -> None:
        self.seed, self.seconds, self.faults = seed, seconds, faults
        self.rig = rig or Rig()
        self.schedule = Schedule(conditions, seconds)
        self.scene = Scene(build_world(seed, seconds))
        self._snapshot: Snapshot | None = None
        self._latest: tuple[tuple[float, Camera], View] | None = None
        mood = stream(seed, "camera mood")
        self._day = float(mood.uniform(0.7, 1.5)), float(np.exp(mood.normal(0, 0.2)))
        self._tint = mood.normal(1.0, 0.035, 3) * float(np.exp(mood.normal(0, 0.12)))

    def camera(self, t: float) -> Shot:
        """The colour image and its labels at ``t`` seconds."""
        view = self._view(t, "camera")
        weather = self.weather(t)
        image = camera.photograph(
            view,
            view.fine_light(weather),
            weather,
            active(self.faults, t),
            self._draws("camera", t),
            self._tint,
        )
        return Shot(image, view.labels())

    def truth(self, t: float) -> np.ndarray:
        """Classes that the colour camera sees at ``t``, uint8 (H, W), without its image."""
        return self._view(t, "camera").labels()

    def depth_truth(self, t: float) -> np.ndarray:
        """What :meth:`depth` would be without noise and holes, float32 (H, W)."""
        return self._view(t, "depth").depth()

    def depth(self, t: float) -> np.ndarray:
        """Metres float32 (H, W) of the depth camera; NaN where it has none."""
        return depth.measure(self._view(t, "depth"), self.weather(t), self._draws("depth", t))

    def lidar(self, t: float, sector: float = np.pi) -> lidar.Scan:
        """The LiDAR's turn about ``t``, within ``sector`` of straight ahead."""
        return lidar.scan(
            self.scene,
            self.rig,
            t,
            self.weather(t),
            active(self.faults, t),
            self._draws("lidar", t),
            sector=sector,
        )

    def events(self, t: float, window_s: float = WINDOW_S) -> events.Events:
        """Events of the window that ends at ``t``."""
        view, weather = self._view(t, "events"), self.weather(t)
        return events.fire(
            view,
            view.light(weather),
            weather,
            active(self.faults, t),
            self._draws("events", t),
            seed=self.seed,
            end_ns=stamp_ns(t),
            window_s=window_s,
        )

    def weather(self, t: float) -> Weather:
        """The weather at ``t``: the schedule's, in the mood of this drive's day."""
        weather = self.schedule.weather(t)
        return dataclasses.replace(
            weather, elevation=weather.elevation * self._day[0], fog=weather.fog * self._day[1]
        )

    def dead(self, sensor: str, t: float) -> bool:
        """Whether a fault silences the sensor at ``t``."""
        return sensor in active(self.faults, t)

    def visible(self, points: np.ndarray, t: float) -> np.ndarray:
        """Which points of the LiDAR's frame at ``t`` the colour camera truly sees, bool (N,).

        By casting a ray from the camera to each: a surface met clearly before it hides it, by more
        than 0.15 m and 3 % of the way, so that range noise does not put points of flat ground
        behind that ground. Where the image ends plays no part.
        """
        pose = self.scene.world.ego.pose(self.scene.world.road, t)
        eye = (pose @ self.rig.vehicle_from_camera)[:3, 3]
        world_from_lidar = pose @ self.rig.vehicle_from_lidar
        there = points @ world_from_lidar[:3, :3].T + world_from_lidar[:3, 3]
        way = there - eye
        distance = np.linalg.norm(way, axis=1)
        hits = self.scene.at(t).cast(eye, (way / distance[:, None]).T)
        return hits.distance > 0.97 * distance - 0.15

    def _view(self, t: float, sensor: str) -> View:
        """The sensor's view; the latest is kept, for a sensor with the same lens and moment."""
        rig = self.rig
        pose = self.scene.world.ego.pose(self.scene.world.road, t) @ rig.vehicle_from_camera
        if sensor == "depth":
            pose = pose @ rig.camera_from_depth
            return look(self._frozen(t), rig.depth_camera, pose)
        lens = rig.camera if sensor == "camera" else rig.event_camera
        if self._latest is None or self._latest[0] != (t, lens):
            self._latest = (t, lens), look(self._frozen(t), lens, pose)
        return self._latest[1]

    def _frozen(self, t: float) -> Snapshot:
        if self._snapshot is None or self._snapshot.t != t:
            self._snapshot = self.scene.at(t)
        return self._snapshot

    def _draws(self, sensor: str, t: float) -> np.random.Generator:
        return stream(self.seed, sensor, round(t * 1e6))
