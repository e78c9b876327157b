"""The vehicle's sensors: where they sit, what they resolve, how often and when they speak."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import numpy as np

from memorysam_core.frames.camera import Camera

OPTICAL = np.array([[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]], float)
"""``body_from_optical``: x right, y down, z forward into x forward, y left, z up (REP-103)."""


@dataclass(frozen=True)
class Timing:
    """When a sensor measures and when its message arrives."""

    rate_hz: float
    phase_s: float = 0.0
    """Time of the first measurement."""
    jitter_s: float = 0.0005
    """Standard deviation of the stamps about the even beat."""
    latency_s: float = 0.02
    """From measurement to message; of the LiDAR, from its last one of a turn."""


@dataclass(frozen=True)
class Rig:
    """All sensors, in the vehicle's frame: origin on the ground, x forward, y left, z up."""

    image_size: tuple[int, int] = (640, 384)
    """Width and height of the colour camera."""
    depth_size: tuple[int, int] = (640, 384)
    event_size: tuple[int, int] = (640, 384)
    focal: float = 0.6
    """Focal length of all cameras over their image width: 0.6 sees 79.6 degrees across."""
    camera_at: tuple[float, float, float] = (1.4, 0.0, 2.0)
    camera_pitch: float = 0.06
    """Downwards, radians."""
    depth_baseline_m: float = 0.05
    """The depth camera sits this far to the right of the colour camera."""
    lidar_back_m: float = 1.2
    lidar_up_m: float = 1.2
    """How far the LiDAR sits behind and above the camera."""
    rings: int = 64
    columns: int = 1024
    """Measurements per ring and revolution."""
    elevation: tuple[float, float] = (-0.47, 0.19)
    """Of the lowest and highest ring, radians."""
    exposure_s: float = 0.004
    timing: dict[str, Timing] = field(
        default_factory=lambda: {
            "camera": Timing(10.0, 0.060, 0.0006, 0.035),
            "depth": Timing(15.0, 0.051, 0.0008, 0.025),
            "lidar": Timing(10.0, 0.072, 0.0010, 0.015),
            "events": Timing(20.0, 0.050, 0.0, 0.004),
        }
    )

    def __post_init__(self) -> None:
        for name in ("image_size", "depth_size", "event_size"):
            width, height = getattr(self, name)
            if width < 32 or height < 32:
                raise ValueError(f"{name} is {width}x{height}; give at least 32x32 pixels")
        if self.rings < 2 or self.columns < 16:
            raise ValueError(
                f"a LiDAR of {self.rings} rings and {self.columns} columns; "
                "give at least 2 rings and 16 columns"
            )

    def replace(self, **changes: object) -> Rig:
        """A copy with some values changed."""
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]

    def _camera(self, size: tuple[int, int]) -> Camera:
        width, height = size
        focal = self.focal * width
        return Camera(width, height, focal, focal, width / 2, height / 2)

    @property
    def camera(self) -> Camera:
        """The colour camera."""
        return self._camera(self.image_size)

    @property
    def depth_camera(self) -> Camera:
        """The depth camera."""
        return self._camera(self.depth_size)

    @property
    def event_camera(self) -> Camera:
        """The event camera; it looks through the colour camera's lens."""
        return self._camera(self.event_size)

    @property
    def vehicle_from_camera(self) -> np.ndarray:
        """4 x 4, from the optical frame of the colour (and event) camera."""
        cos, sin = np.cos(self.camera_pitch), np.sin(self.camera_pitch)
        tilt = np.array([[cos, 0, sin, 0], [0, 1, 0, 0], [-sin, 0, cos, 0], [0, 0, 0, 1.0]])
        pose = tilt @ OPTICAL
        pose[:3, 3] = self.camera_at
        return pose

    @property
    def camera_from_depth(self) -> np.ndarray:
        """4 x 4 between optical frames."""
        pose = np.eye(4)
        pose[0, 3] = self.depth_baseline_m
        return pose

    @property
    def vehicle_from_lidar(self) -> np.ndarray:
        """4 x 4; the LiDAR stands upright."""
        pose = np.eye(4)
        x, y, z = self.camera_at
        pose[:3, 3] = (x - self.lidar_back_m, y, z + self.lidar_up_m)
        return pose

    @property
    def camera_from_lidar(self) -> np.ndarray:
        """4 x 4 into the colour camera's optical frame."""
        return np.linalg.inv(self.vehicle_from_camera) @ self.vehicle_from_lidar
