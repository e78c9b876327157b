"""What a camera would see with perfect pixels: light, classes, depth and motion."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from memorysam_core.frames.camera import Camera
from memorysam_training.simulation.conditions import Weather
from memorysam_training.simulation.lighting import Light, radiance
from memorysam_training.simulation.mesh import Material
from memorysam_training.simulation.scene import FAR_M, Hits, Snapshot

AMBIENT_REACH_M = 4.0
_MORE_RAYS = ((-0.33, 0.17), (0.33, -0.17))
"""Where else in a pixel at an edge rays pass, in pixels from its centre."""


@dataclass
class View:
    """One camera's view at one instant."""

    camera: Camera
    world_from_camera: np.ndarray
    snapshot: Snapshot
    hits: Hits
    _lit: tuple[Weather, Light] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.camera.height, self.camera.width

    def depth(self) -> np.ndarray:
        """Metres along the optical axis, float32 (H, W); what is met by nothing is at 1000 m."""
        along = self.hits.direction @ np.float32(self.world_from_camera[:3, 2])
        depth = self.hits.distance * along
        return np.where(self.hits.triangle < 0, FAR_M, depth).reshape(self.shape)

    def labels(self) -> np.ndarray:
        """Classes, uint8 (H, W)."""
        return self.snapshot.labels(self.hits).reshape(self.shape)

    def light(self, weather: Weather) -> np.ndarray:
        """Linear light through the pixels' centres, float32 (H, W, 3)."""
        return self._radiance(weather).total.reshape(*self.shape, 3)

    def fine_light(self, weather: Weather) -> np.ndarray:
        """As :meth:`light`, with contact shadows, and edges smoothed by more rays."""
        light = self._radiance(weather)
        hidden = 1 - self._openness().ravel()
        out = light.total - light.skylight * hidden[:, None]
        self._smooth_edges(out, hidden, weather)
        return out.reshape(*self.shape, 3)

    def _radiance(self, weather: Weather) -> Light:
        if self._lit is None or self._lit[0] != weather:
            self._lit = weather, radiance(self.snapshot, self.hits, weather)
        return self._lit[1]

    def _openness(self) -> np.ndarray:
        """Share of the sky above each pixel's surface that nothing near hides, float32 (H, W)."""
        height, width = self.shape
        rows, columns = np.mgrid[0:height:2, 0:width:2]
        at = (rows * width + columns).ravel()
        normal = self.hits.normal.take(at, 0)
        start = self.hits.point.take(at, 0) + normal * (0.03 + 0.002 * self.hits.distance[at, None])
        turn = ((rows // 2 % 2) * 2 + columns // 2 % 2).ravel() * (np.pi / 8)
        near = (self.hits.triangle[at] >= 0) & (self.hits.distance[at] < 70)
        open_sky = np.ones(len(at), np.float32)
        shaded = np.flatnonzero(near)
        hidden = np.zeros(len(shaded), np.float32)
        start, lean, turn = start.take(shaded, 0), normal.take(shaded, 0) * 1.1, turn[shaded]
        for k in range(4):
            angle = turn + k * np.pi / 2
            rim = np.stack([np.cos(angle), np.sin(angle), np.full(len(shaded), 0.55)], 1)
            ray = (rim + lean).astype(np.float32)
            ray /= np.linalg.norm(ray, axis=1, keepdims=True)
            hidden += self.snapshot.blocked(start, ray, AMBIENT_REACH_M)
        open_sky[shaded] = 1 - 0.8 * hidden / 4
        image = torch.from_numpy(open_sky.reshape(rows.shape))[None, None]
        image = torch.nn.functional.avg_pool2d(image, 3, 1, 1, count_include_pad=False)
        full = torch.nn.functional.interpolate(image, (height, width), mode="bilinear")
        return full[0, 0].numpy()

    def _smooth_edges(self, out: np.ndarray, hidden: np.ndarray, weather: Weather) -> None:
        """Casts more rays through pixels at the edges of things, and averages."""
        width = self.shape[1]
        near = self.hits.distance.reshape(self.shape)
        tri_class = self.hits.label.reshape(self.shape)
        edge = np.zeros(self.shape, bool)
        for axis in (0, 1):
            jump = np.abs(np.diff(np.log(near), axis=axis)) > 0.06
            jump |= np.diff(tri_class.astype(np.int16), axis=axis) != 0
            if axis == 0:
                edge[1:] |= jump
                edge[:-1] |= jump
            else:
                edge[:, 1:] |= jump
                edge[:, :-1] |= jump
        edge &= (self.hits.material != Material.WATER).reshape(self.shape)
        at = np.flatnonzero(edge)
        row, column = np.divmod(at, width)
        u = np.concatenate([column + (0.5 + dx) for dx, _ in _MORE_RAYS])
        v = np.concatenate([row + (0.5 + dy) for _, dy in _MORE_RAYS])
        direction = ray_directions(self.camera, self.world_from_camera, u, v)
        hits = self.snapshot.cast(self.world_from_camera[:3, 3], direction)
        light = radiance(self.snapshot, hits, weather, second_hand=True)
        more = light.total - light.skylight * np.tile(hidden[at], len(_MORE_RAYS))[:, None]
        more = more.reshape(len(_MORE_RAYS), len(at), 3).sum(0)
        out[at] = (out[at] + more) / (1 + len(_MORE_RAYS))

    def motion(self, earlier_s: float, world_from_camera: np.ndarray) -> np.ndarray:
        """Where what each pixel shows was ``earlier_s`` seconds before, from the given pose.

        Pixel coordinates, float32 (H, W, 2).
        """
        point = self.hits.point - np.float32(earlier_s) * self.snapshot.velocity(self.hits)
        point -= world_from_camera[:3, 3].astype(np.float32)
        local = point @ world_from_camera[:3, :3].astype(np.float32)
        scale = np.float32(self.camera.fx) / np.maximum(local[:, 2], np.float32(0.05))
        uv = local[:, :2] * scale[:, None] + np.float32((self.camera.cx, self.camera.cy))
        return uv.reshape(*self.shape, 2)


def look(snapshot: Snapshot, camera: Camera, world_from_camera: np.ndarray) -> View:
    """Casts one ray through the centre of every pixel."""
    direction = _pixel_rays(camera) @ world_from_camera[:3, :3].T.astype(np.float32)
    return View(
        camera, world_from_camera, snapshot, snapshot.cast(world_from_camera[:3, 3], direction)
    )


def ray_directions(
    camera: Camera, world_from_camera: np.ndarray, u: np.ndarray, v: np.ndarray
) -> np.ndarray:
    """Unit vectors in the world through pixel coordinates, float32 (N, 3)."""
    local = np.stack([(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, np.ones_like(u)], 1)
    local /= np.sqrt(np.einsum("ij,ij->i", local, local))[:, None]
    return local.astype(np.float32) @ world_from_camera[:3, :3].T.astype(np.float32)


@functools.lru_cache(maxsize=4)
def _pixel_rays(camera: Camera) -> np.ndarray:
    v, u = np.mgrid[: camera.height, : camera.width] + 0.5
    return ray_directions(camera, np.eye(4), u.ravel(), v.ravel())


def displaced(image: Tensor, uv: np.ndarray) -> Tensor:
    """The image ``(C, H, W)`` read at pixel coordinates ``(H, W, 2)``, bilinear, edges repeated."""
    height, width = image.shape[-2:]
    scale = torch.tensor([2.0 / width, 2.0 / height])
    grid = torch.from_numpy(np.ascontiguousarray(uv, np.float32)) * scale - 1
    return torch.nn.functional.grid_sample(
        image[None], grid[None], mode="bilinear", padding_mode="border", align_corners=False
    )[0]
