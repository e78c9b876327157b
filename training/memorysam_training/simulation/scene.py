"""Ray casting: what a ray meets first, among what stands and what moves."""

from __future__ import annotations

import functools

import numpy as np
import open3d as o3d

from memorysam_training.simulation import classes
from memorysam_training.simulation.mesh import Material
from memorysam_training.simulation.movers import Fleet
from memorysam_training.simulation.world import World

FAR_M = 1000.0
"""Distance at which rays that meet nothing are said to end, as in CARLA."""


class Hits:
    """First hits of N rays; rays that meet nothing have ``triangle`` -1 and the class sky.

    What a sensor does not ask for is never worked out.
    """

    def __init__(
        self,
        scene: Scene,
        origin: np.ndarray,
        direction: np.ndarray,
        distance: np.ndarray,
        triangle: np.ndarray,
        normal: np.ndarray,
        within: np.ndarray,
    ) -> None:
        self._scene, self._normal, self._within = scene, normal, within
        self.origin, self.direction = origin, direction
        """float32 ``(3, N)``, or ``(3, 1)`` of a common origin; directions have unit length."""
        self.distance, self.triangle = distance, triangle

    def __len__(self) -> int:
        return len(self.distance)

    def take(self, at: np.ndarray) -> Hits:
        """Some of the hits, by their indices ``(K,)``."""
        origin = self.origin if self.origin.shape[1] == 1 else self.origin.take(at, 1)
        part = Hits(
            self._scene,
            origin,
            self.direction.take(at, 1),
            self.distance.take(at),
            self.triangle.take(at),
            self._normal.take(at, 0),
            self._within.take(at, 0),
        )
        part.painted = self.painted.take(at)  # which whoever asks for labels wants of all hits
        return part

    @functools.cached_property
    def point(self) -> np.ndarray:
        """World coordinates of the hits, float32 ``(3, N)``."""
        return self.origin + self.direction * self.distance

    @functools.cached_property
    def normal(self) -> np.ndarray:
        """Unit length, towards the ray's origin, float32 ``(3, N)``."""
        normal = np.ascontiguousarray(self._normal.T)
        return np.copysign(1, -dot(normal, self.direction)) * normal

    @functools.cached_property
    def uv(self) -> np.ndarray:
        """Texture coordinates, metres, float32 ``(2, N)``."""
        return self._uv(self.triangle, self._within)

    def _uv(self, triangle: np.ndarray, within: np.ndarray) -> np.ndarray:
        edges = self._scene.uv.take(triangle, 1)
        u, v = np.ascontiguousarray(within.T)
        return edges[:2] + u * edges[2:4] + v * edges[4:]

    @functools.cached_property
    def label(self) -> np.ndarray:
        """Class of each hit, uint8 ``(N,)``, before paint on the road is told from road."""
        return self._scene.label.take(self.triangle)

    @functools.cached_property
    def painted(self) -> np.ndarray:
        """Whether the hit is paint on the road, bool ``(N,)``."""
        painted = np.zeros(len(self), bool)
        road = np.flatnonzero(self.material == Material.ASPHALT)
        uv = self._uv(self.triangle.take(road), self._within.take(road, 0))
        painted[road] = self._scene.world.road.painted(*uv)
        return painted

    @functools.cached_property
    def material(self) -> np.ndarray:
        """Of each hit, uint8 ``(N,)``."""
        return self._scene.material.take(self.triangle)

    @functools.cached_property
    def colour(self) -> np.ndarray:
        """Of each hit before patterns, linear, float32 ``(3, N)``."""
        return self._scene.colour.take(self.triangle, 1)

    @functools.cached_property
    def seed(self) -> np.ndarray:
        """The object's random number, 0 to 1, float32 ``(N,)``."""
        return self._scene.seed.take(self.triangle)


def dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Scalar products ``(N,)`` of vectors ``(3,)`` or ``(3, N)`` with vectors ``(3, N)``."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def turned(matrix: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Vectors ``(3, N)`` times a matrix (3, 3), float32.

    Not by BLAS, whose last digits depend on its threads, and whose threads spin on every core.
    """
    return np.stack([dot(row, vectors) for row in matrix.astype(np.float32)])


class Scene:
    """A world made ready for ray casting; :meth:`at` freezes it at a time."""

    def __init__(self, world: World) -> None:
        self.world = world
        meshes = [world.static, *(m.mesh for m in world.movers)]
        self.label = np.concatenate([m.label for m in meshes] + [[classes.SKY]]).astype(np.uint8)
        self.material = np.concatenate([m.material for m in meshes] + [[0]]).astype(np.uint8)
        colour = np.concatenate([m.colour for m in meshes] + [[(0, 0, 0)]])
        self.colour = np.ascontiguousarray(colour.T, np.float32)
        self.seed = np.concatenate([m.seed for m in meshes] + [[0]]).astype(np.float32)
        self.uv = np.concatenate(
            [_uv_edges(m.uv, m.triangles) for m in meshes] + [np.zeros((6, 1))], 1
        )
        self.uv = self.uv.astype(np.float32)
        self.fleet = Fleet(world.movers, world.road, world.ego)
        self.standing = len(world.static.triangles)
        """How many triangles stand; in the tables above the movers' follow."""
        self._static = _raycaster(world.static.vertices, world.static.triangles)

    def at(self, t: float, movers: np.ndarray | None = None) -> Snapshot:
        """The scene at time ``t``, seconds; with only some of the movers within reach if given."""
        return Snapshot(self, t, self.fleet.in_reach(t) if movers is None else movers)


class Snapshot:
    """All geometry at one instant."""

    def __init__(self, scene: Scene, t: float, movers: np.ndarray) -> None:
        self.scene, self.t = scene, t
        self.boxes = scene.fleet.boxes(t, movers)
        """World corners of a box around each mover, ``(K, 8, 3)``."""
        self._moving = None
        if len(movers):
            vertices, triangles, places = scene.fleet.posed(t, movers)
            self._moving, self._ids = _raycaster(vertices, triangles), scene.standing + places

    @functools.cached_property
    def vehicle(self) -> np.ndarray:
        """``world_from_vehicle``, 4 x 4."""
        return self.scene.world.ego.pose(self.scene.world.road, self.t)

    def cast(
        self, origin: np.ndarray, direction: np.ndarray, crossed: np.ndarray | None = None
    ) -> Hits:
        """First hits of rays from ``origin`` (3,) or (3, N) along unit ``direction`` (3, N).

        ``crossed`` are the indices of the rays that something moving may be met by, if known.
        """
        direction = np.asarray(direction, np.float32)
        rays, origin = _rays(origin, direction)
        first = self.scene._static.cast_rays(o3d.core.Tensor.from_numpy(rays), nthreads=1)
        distance = first["t_hit"].numpy()
        triangle = first["primitive_ids"].numpy().astype(np.int64)
        normal, within = first["primitive_normals"].numpy(), first["primitive_uvs"].numpy()
        if self._moving is not None:
            if crossed is None:
                crossed = np.arange(len(rays))
            few = o3d.core.Tensor.from_numpy(rays.take(crossed, 0))
            other = self._moving.cast_rays(few, nthreads=1)
            met = other["t_hit"].numpy()
            nearer = np.flatnonzero(met < distance[crossed])
            at = crossed[nearer]
            distance[at] = met[nearer]
            triangle[at] = self._ids[other["primitive_ids"].numpy()[nearer]]
            normal[at] = other["primitive_normals"].numpy().take(nearer, 0)
            within[at] = other["primitive_uvs"].numpy().take(nearer, 0)
        missed = np.flatnonzero(~np.isfinite(distance))
        triangle[missed] = -1
        distance[missed] = FAR_M
        normal[missed] = (0, 0, 1)
        return Hits(self.scene, origin, direction, distance, triangle, normal, within)

    def blocked(
        self, origin: np.ndarray, direction: np.ndarray, reach: float = 400.0
    ) -> np.ndarray:
        """Which rays from ``origin`` (3, N) meet anything within ``reach`` metres, bool (N,)."""
        rays = o3d.core.Tensor.from_numpy(_rays(origin, direction)[0])
        hit = self.scene._static.test_occlusions(rays, 0.0, reach, nthreads=1).numpy()
        if self._moving is not None:
            hit |= self._moving.test_occlusions(rays, 0.0, reach, nthreads=1).numpy()
        return hit

    def labels(self, hits: Hits) -> np.ndarray:
        """Classes, with paint told from road; uint8 (N,)."""
        return np.where(hits.painted, np.uint8(classes.ROAD_LINE), hits.label)

    def velocity(self, hits: Hits) -> np.ndarray:
        """How fast what was hit moves, world m/s, float32 (3, N); zero for what stands."""
        fleet, standing = self.scene.fleet, self.scene.standing
        speed = np.zeros((3, len(hits)), np.float32)
        moving = np.flatnonzero(hits.triangle >= standing)
        owner = np.searchsorted(fleet.first_triangle, hits.triangle[moving] - standing, "right") - 1
        for along, velocity in zip(speed, fleet.velocity(self.t).T, strict=False):
            along[moving] = velocity[owner]
        return speed


def _rays(origin: np.ndarray, direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rays float32 ``(N, 6)`` as Open3D wants them, and their origin ``(3, N)`` or ``(3, 1)``."""
    origin = np.asarray(origin, np.float32).reshape(3, -1)
    rays = np.empty((max(origin.shape[1], direction.size // 3), 6), np.float32)
    for axis in range(3):
        rays[:, axis], rays[:, 3 + axis] = origin[axis], direction[axis]
    return rays, origin


def _uv_edges(uv: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    a, b, c = (uv[triangles[:, k]] for k in range(3))
    return np.concatenate([a, b - a, c - a], 1).T


def _raycaster(vertices: np.ndarray, triangles: np.ndarray) -> o3d.t.geometry.RaycastingScene:
    caster = o3d.t.geometry.RaycastingScene(nthreads=1)
    caster.add_triangles(
        o3d.core.Tensor(np.ascontiguousarray(vertices, np.float32)),
        o3d.core.Tensor(np.ascontiguousarray(triangles, np.uint32)),
    )
    return caster
