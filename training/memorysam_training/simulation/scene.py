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
        """float32 ``(N, 3)``; directions have unit length."""
        self.distance, self.triangle = distance, triangle

    def __len__(self) -> int:
        return len(self.distance)

    @functools.cached_property
    def point(self) -> np.ndarray:
        """World coordinates of the hits, float32 ``(N, 3)``."""
        return self.origin + self.direction * self.distance[:, None]

    @functools.cached_property
    def normal(self) -> np.ndarray:
        """Unit length, towards the ray's origin, float32 ``(N, 3)``."""
        away = np.einsum("ij,ij->i", self._normal, self.direction) > 0
        return self._normal * (1 - 2 * away.astype(np.float32))[:, None]

    @functools.cached_property
    def uv(self) -> np.ndarray:
        """Texture coordinates, metres, float32 ``(N, 2)``."""
        edges = self._scene.uv.take(self.triangle, 1)
        u, v = self._within.T
        return (edges[:2] + u * edges[2:4] + v * edges[4:]).T

    @functools.cached_property
    def label(self) -> np.ndarray:
        """Class of each hit, uint8 ``(N,)``, before paint on the road is told from road."""
        return self._scene.label[self.triangle]

    @functools.cached_property
    def material(self) -> np.ndarray:
        """Of each hit, uint8 ``(N,)``."""
        return self._scene.material[self.triangle]

    @functools.cached_property
    def colour(self) -> np.ndarray:
        """Of each hit before patterns, linear, float32 ``(N, 3)``."""
        return self._scene.colour.take(self.triangle, 0)

    @functools.cached_property
    def seed(self) -> np.ndarray:
        """The object's random number, 0 to 1, float32 ``(N,)``."""
        return self._scene.seed[self.triangle]


class Scene:
    """A world made ready for ray casting; :meth:`at` freezes it at a time."""

    def __init__(self, world: World) -> None:
        self.world = world
        meshes = [world.static, *(m.mesh for m in world.movers)]
        self.label = np.concatenate([m.label for m in meshes] + [[classes.SKY]]).astype(np.uint8)
        self.material = np.concatenate([m.material for m in meshes] + [[0]]).astype(np.uint8)
        self.colour = np.concatenate([m.colour for m in meshes] + [[(0, 0, 0)]]).astype(np.float32)
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

    def cast(
        self, origin: np.ndarray, direction: np.ndarray, crossed: np.ndarray | None = None
    ) -> Hits:
        """First hits of rays from ``origin`` (3,) or (N, 3) along unit ``direction`` (N, 3).

        ``crossed`` are the indices of the rays that something moving may be met by, if known.
        """
        scene = self.scene
        direction = np.ascontiguousarray(direction, np.float32)
        origin = np.broadcast_to(np.asarray(origin, np.float32), direction.shape)
        rays = np.concatenate([origin, direction], 1)
        first = scene._static.cast_rays(o3d.core.Tensor.from_numpy(rays), nthreads=1)
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
        return Hits(scene, origin, direction, distance, triangle, normal, within)

    def blocked(
        self, origin: np.ndarray, direction: np.ndarray, reach: float = 400.0
    ) -> np.ndarray:
        """Which rays meet anything within ``reach`` metres, bool (N,)."""
        direction = np.broadcast_to(np.asarray(direction, np.float32), origin.shape)
        rays = np.concatenate([origin.astype(np.float32, copy=False), direction], 1)
        rays = o3d.core.Tensor.from_numpy(rays)
        hit = self.scene._static.test_occlusions(rays, 0.0, reach, nthreads=1).numpy()
        if self._moving is not None:
            hit |= self._moving.test_occlusions(rays, 0.0, reach, nthreads=1).numpy()
        return hit

    def labels(self, hits: Hits) -> np.ndarray:
        """Classes, with paint told from road; uint8 (N,)."""
        labels = hits.label.copy()
        road = np.flatnonzero(hits.material == Material.ASPHALT)
        painted = self.scene.world.road.painted(hits.uv[road, 0], hits.uv[road, 1])
        labels[road[painted]] = classes.ROAD_LINE
        return labels

    def velocity(self, hits: Hits) -> np.ndarray:
        """How fast what was hit moves, world m/s, float32 (N, 3); zero for what stands."""
        fleet, standing = self.scene.fleet, self.scene.standing
        speed = np.zeros((len(hits), 3), np.float32)
        moving = np.flatnonzero(hits.triangle >= standing)
        owner = np.searchsorted(fleet.first_triangle, hits.triangle[moving] - standing, "right") - 1
        speed[moving, :2] = fleet.velocity(self.t)[owner]
        return speed


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
