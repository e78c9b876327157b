"""A small street with known truth, ray-cast: which LiDAR returns can the camera see?

Boxes, cylinders and spheres on the ground, in the camera's optical frame (x right, y down, z
forward), so that the occlusion removal can be measured without the simulator. Needs Open3D.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import open3d as o3d

from memorysam_core.frames.camera import Camera

CAMERA_HEIGHT_M = 1.6
_SURFACE_TOLERANCE = 0.005
"""Part of the distance, and metres times ten, by which a ray may fall short of a visible point."""


@dataclass(frozen=True)
class Scan:
    """What a spinning LiDAR saw of a street, and the truth about the camera's view of it."""

    xyz: np.ndarray
    """float32 ``(N, 3)``, in the LiDAR's frame (x forward, y left, z up), with range noise."""
    camera_from_lidar: np.ndarray
    """4 x 4."""
    occluded: np.ndarray
    """bool ``(N,)``: the camera sees a nearer surface in the point's place."""


@dataclass(frozen=True)
class Lidar:
    """Rings between two elevations, degrees, and returns in a turn."""

    rings: int = 64
    lowest_deg: float = -24.8
    highest_deg: float = 2.0
    columns: int = 2048
    noise_m: float = 0.02
    max_range_m: float = 100.0


class Street:
    """A random street; the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self._scene = o3d.t.geometry.RaycastingScene()
        rng = np.random.default_rng(seed)
        self._box((0, 0, 0), (400, 0.2, 400), sink=0.2)
        for side in (-1, 1):
            z = -20.0
            while z < 110:
                length = rng.uniform(8, 25)
                width, height = rng.uniform(6, 14), rng.uniform(4, 18)
                x = side * (rng.uniform(8, 12) + width / 2)
                if rng.random() < 0.8:
                    self._box((x, 0, z + length / 2), (width, height, length))
                z += length + rng.uniform(0.5, 8)
            for z in np.arange(4, 90, 7.0) + rng.uniform(0, 5):
                self._furniture(rng, side * rng.uniform(4.5, 7), z)
            for z in np.arange(5, 90, 6.5) + rng.uniform(0, 4):
                if rng.random() < 0.7:
                    self._vehicle(rng, side * rng.uniform(2.2, 3.6), z)
        for _ in range(12):
            place = rng.uniform(-7, 7), 0, rng.uniform(4, 60)
            self._box(place, (0.45, rng.uniform(1.5, 1.9), 0.35))

    def scan(self, lidar: Lidar, camera_from_lidar: np.ndarray, seed: int = 0) -> Scan:
        """Casts the LiDAR's rays, then one ray from the camera to each point that was hit."""
        elevation = np.deg2rad(np.linspace(lidar.lowest_deg, lidar.highest_deg, lidar.rings))
        azimuth = np.arange(lidar.columns) * (2 * np.pi / lidar.columns)
        elevation, azimuth = np.meshgrid(elevation, azimuth, indexing="ij")
        toward = np.stack(
            (
                np.cos(elevation) * np.cos(azimuth),
                np.cos(elevation) * np.sin(azimuth),
                np.sin(elevation),
            ),
            -1,
        ).reshape(-1, 3)
        rotation, origin = camera_from_lidar[:3, :3], camera_from_lidar[:3, 3]
        distance = self.cast(origin, toward @ rotation.T)
        hit = distance < lidar.max_range_m
        toward, distance = toward[hit], distance[hit]
        exact = distance[:, None] * (toward @ rotation.T) + origin
        from_camera = np.linalg.norm(exact, axis=1)
        reached = self.cast(np.zeros(3), exact / from_camera[:, None])
        occluded = reached < from_camera * (1 - _SURFACE_TOLERANCE) - 10 * _SURFACE_TOLERANCE
        noise = np.random.default_rng(seed).normal(0, lidar.noise_m, distance.shape)
        xyz = (toward * (distance + noise)[:, None]).astype(np.float32)
        return Scan(xyz, camera_from_lidar, occluded)

    def cast(self, origin: np.ndarray, directions: np.ndarray) -> np.ndarray:
        """Distance to the first surface along unit ``directions (N, 3)``, infinity for none."""
        rays = np.concatenate((np.broadcast_to(origin, directions.shape), directions), -1)
        return self._scene.cast_rays(rays.astype(np.float32))["t_hit"].numpy()

    def _box(self, foot: tuple, size: tuple, sink: float = 0.0) -> None:
        """A box whose foot's centre stands at (x, above ground, z)."""
        width, height, length = size
        mesh = o3d.t.geometry.TriangleMesh.create_box(width, height, length)
        x, up, z = foot
        top = CAMERA_HEIGHT_M + sink - up - height
        self._scene.add_triangles(mesh.translate((x - width / 2, top, z - length / 2)))

    def _cylinder(self, x: float, z: float, radius: float, height: float) -> None:
        mesh = o3d.t.geometry.TriangleMesh.create_cylinder(radius, height, 12)
        mesh = mesh.rotate(np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]], float), (0, 0, 0))
        self._scene.add_triangles(mesh.translate((x, CAMERA_HEIGHT_M - height / 2, z)))

    def _furniture(self, rng: np.random.Generator, x: float, z: float) -> None:
        kind = rng.choice(["tree", "sign", "lamp", "fence", "hedge"])
        if kind == "tree":
            self._cylinder(x, z, 0.18, 3.0)
            crown = o3d.t.geometry.TriangleMesh.create_sphere(rng.uniform(1.2, 2.2), 10)
            self._scene.add_triangles(crown.translate((x, CAMERA_HEIGHT_M - 4.2, z)))
        elif kind == "sign":
            self._cylinder(x, z, 0.04, 2.6)
            self._box((x, 1.9, z - 0.06), (0.7, 0.7, 0.03))
        elif kind == "lamp":
            self._cylinder(x, z, 0.1, 7.0)
        elif kind == "fence":
            for k in range(8):
                self._box((x, 0, z + 0.6 * k), (0.06, 1.2, 0.06))
            self._box((x, 1.0, z + 2.1), (0.05, 0.08, 4.8))
        else:
            self._box((x, 0, z), (0.8, rng.uniform(0.8, 1.4), 4.0))

    def _vehicle(self, rng: np.random.Generator, x: float, z: float) -> None:
        if rng.random() < 0.2:
            self._box((x, 0.4, z), (2.3, rng.uniform(2.2, 3.0), 6.5))
            return
        self._box((x, 0.3, z), (1.8, 0.6, 4.2))
        self._box((x, 0.9, z + 0.3), (1.6, 0.55, 2.2))


def mounted(back_m: float, up_m: float, left_m: float = 0.0, pitch_deg: float = 0.0) -> np.ndarray:
    """camera_from_lidar of a LiDAR that far behind, above and left of the camera."""
    c, s = np.cos(np.deg2rad(pitch_deg)), np.sin(np.deg2rad(pitch_deg))
    transform = np.eye(4)
    transform[:3, :3] = np.array([[0, -1, 0], [0, 0, -1], [1, 0, 0]]) @ np.array(
        [[c, 0, s], [0, 1, 0], [-s, 0, c]]
    )
    transform[:3, 3] = -left_m, -up_m, -back_m
    return transform


def front_camera(width: int = 1024, height: int = 1024) -> Camera:
    """A centred pinhole camera of about 91 degrees, as DELIVER's."""
    focal = width * 512 / 1042
    return Camera(width, height, focal, focal, width / 2, height / 2)
