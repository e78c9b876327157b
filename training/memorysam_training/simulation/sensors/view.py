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
from memorysam_training.simulation.scene import FAR_M, Hits, Snapshot, dot, turned

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
    crossed: np.ndarray
    """Pixels that something moving may show in, bool (H, W)."""
    _lit: tuple[Weather, Light] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.camera.height, self.camera.width

    def depth(self) -> np.ndarray:
        """Metres along the optical axis, float32 (H, W); what is met by nothing is at 1000 m."""
        along = dot(np.float32(self.world_from_camera[:3, 2]), self.hits.direction)
        depth = self.hits.distance * along
        return np.where(self.hits.triangle < 0, FAR_M, depth).reshape(self.shape)

    def labels(self) -> np.ndarray:
        """Classes, uint8 (H, W)."""
        return self.snapshot.labels(self.hits).reshape(self.shape)

    def light(self, weather: Weather) -> np.ndarray:
        """Linear light through the pixels' centres, float32 (3, H, W)."""
        return self._radiance(weather).total.reshape(3, *self.shape)

    def fine_light(self, weather: Weather) -> np.ndarray:
        """As :meth:`light`, with contact shadows, and edges smoothed by more rays."""
        light = self._radiance(weather)
        hidden = 1 - self._openness().ravel()
        out = light.total - light.skylight * hidden
        self._smooth_edges(out, hidden, weather)
        return out.reshape(3, *self.shape)

    def _radiance(self, weather: Weather) -> Light:
        if self._lit is None or self._lit[0] != weather:
            self._lit = weather, radiance(self.snapshot, self.hits, weather, self.shape)
        return self._lit[1]

    def _openness(self) -> np.ndarray:
        """Share of the sky above each pixel's surface that nothing near hides, float32 (H, W).

        One ray for every other pixel of every other row, in nine directions that take turns, so
        that the mean of any 3 x 3 neighbours is of all nine.
        """
        height, width = self.shape
        rows, columns = np.mgrid[0:height:2, 0:width:2]
        at = (rows * width + columns).ravel()
        near = (self.hits.triangle[at] >= 0) & (self.hits.distance[at] < 70)
        shaded = at[near]
        normal = self.hits.normal.take(shaded, 1)
        lift = 0.03 + 0.002 * self.hits.distance[shaded]
        turn = (rows // 2 % 3) * 3 + columns // 2 % 3
        angle = np.arange(9) * (2 * np.pi / 9)
        rim = np.float32([np.cos(angle), np.sin(angle), np.full(9, 0.55)])
        ray = rim.take(turn.ravel()[near], 1) + np.float32(1.1) * normal
        ray /= np.sqrt(dot(ray, ray))
        start = self.hits.point.take(shaded, 1) + normal * lift
        open_sky = np.ones(len(at), np.float32)
        open_sky[near] -= 0.8 * self.snapshot.blocked(start, ray, AMBIENT_REACH_M)
        image = torch.from_numpy(open_sky.reshape(rows.shape))[None, None]
        image = torch.nn.functional.avg_pool2d(image, 3, 1, 1, count_include_pad=False)
        full = torch.nn.functional.interpolate(image, (height, width), mode="bilinear")
        return full[0, 0].numpy()

    def _smooth_edges(self, out: np.ndarray, hidden: np.ndarray, weather: Weather) -> None:
        """Casts more rays through pixels at the edges of things, and averages."""
        near = np.log(self.hits.distance.reshape(self.shape))
        label = self.hits.label.reshape(self.shape)
        edge = np.zeros(self.shape, bool)
        for first, second in (np.s_[:-1], np.s_[1:]), (np.s_[:, :-1], np.s_[:, 1:]):
            jump = np.abs(near[second] - near[first]) > 0.06
            jump |= label[second] != label[first]
            edge[first] |= jump
            edge[second] |= jump
        edge &= (self.hits.material != Material.WATER).reshape(self.shape)
        at = np.flatnonzero(edge)
        row, column = np.divmod(at, self.shape[1])
        u = np.concatenate([column + (0.5 + dx) for dx, _ in _MORE_RAYS])
        v = np.concatenate([row + (0.5 + dy) for _, dy in _MORE_RAYS])
        direction = ray_directions(self.camera, self.world_from_camera, u, v)
        crossed = np.flatnonzero(np.tile(self.crossed.ravel()[at], len(_MORE_RAYS)))
        hits = self.snapshot.cast(self.world_from_camera[:3, 3], direction, crossed)
        light = radiance(self.snapshot, hits, weather)
        more = light.total - light.skylight * np.tile(hidden[at], len(_MORE_RAYS))
        more = more.reshape(3, len(_MORE_RAYS), len(at)).sum(1)
        for channel, light in zip(out, more, strict=True):
            channel[at] = (channel[at] + light) / (1 + len(_MORE_RAYS))

    def motion(self, earlier_s: float, world_from_camera: np.ndarray) -> np.ndarray:
        """Where what each pixel shows was ``earlier_s`` seconds before, from the given pose.

        Pixel coordinates, float32 (H, W, 2).
        """
        point = self.hits.point - np.float32(earlier_s) * self.snapshot.velocity(self.hits)
        point -= world_from_camera[:3, 3:].astype(np.float32)
        x, y, z = turned(world_from_camera[:3, :3].T, point)
        scale = self.camera.fx / np.maximum(z, 0.05)
        uv = x * scale + self.camera.cx, y * scale + self.camera.cy
        return np.stack(uv, -1).reshape(*self.shape, 2)


def look(snapshot: Snapshot, camera: Camera, world_from_camera: np.ndarray) -> View:
    """Casts one ray through the centre of every pixel."""
    direction = turned(world_from_camera[:3, :3], _pixel_rays(camera))
    crossed = boxed_pixels(snapshot.boxes, camera, world_from_camera)
    hits = snapshot.cast(world_from_camera[:3, 3], direction, np.flatnonzero(crossed))
    return View(camera, world_from_camera, snapshot, hits, crossed)


_BOX_EDGES = np.array([(a, a | bit) for bit in (1, 2, 4) for a in range(8) if not a & bit])
_NEAR_M = 0.01


def boxed_pixels(boxes: np.ndarray, camera: Camera, world_from_camera: np.ndarray) -> np.ndarray:
    """Pixels that boxes of world corners ``(K, 8, 3)`` may reach into, bool (H, W).

    The rectangles around what of each box lies before the camera, and a pixel more. Corners are in
    the order of binary numbers.
    """
    local = (boxes - world_from_camera[:3, 3]) @ world_from_camera[:3, :3]
    start, end = local[:, _BOX_EDGES[:, 0]], local[:, _BOX_EDGES[:, 1]]  # (K, 12, 3)
    z0, z1 = start[..., 2:], end[..., 2:]
    enters = (z0 < _NEAR_M) != (z1 < _NEAR_M)
    cut = start + (end - start) * ((_NEAR_M - z0) / np.where(enters, z1 - z0, 1))
    points = np.concatenate([local, cut], 1)
    before = np.concatenate([local[..., 2] >= _NEAR_M, enters[..., 0]], 1)
    points, before = points[before.any(1)], before[before.any(1)]
    uv = points[..., :2] / np.where(before, points[..., 2], 1)[..., None]
    uv = uv * (camera.fx, camera.fy) + (camera.cx, camera.cy)
    size = camera.width, camera.height
    low = np.clip(np.where(before[..., None], uv, np.inf).min(1) - 1, 0, size).astype(int)
    high = np.clip(np.where(before[..., None], uv, -np.inf).max(1) + 2, 0, size).astype(int)
    mask = np.zeros((camera.height, camera.width), bool)
    for (left, top), (right, bottom) in zip(low, high, strict=True):
        mask[top:bottom, left:right] = True
    return mask


def ray_directions(
    camera: Camera, world_from_camera: np.ndarray, u: np.ndarray, v: np.ndarray
) -> np.ndarray:
    """Unit vectors in the world through pixel coordinates, float32 (3, N)."""
    local = np.stack([(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, np.ones_like(u)])
    local = (local / np.sqrt(dot(local, local))).astype(np.float32)
    return turned(world_from_camera[:3, :3], local)


@functools.lru_cache(maxsize=4)
def _pixel_rays(camera: Camera) -> np.ndarray:
    v, u = np.mgrid[: camera.height, : camera.width] + 0.5
    return ray_directions(camera, np.eye(4), u.ravel(), v.ravel())


@functools.lru_cache(maxsize=4)
def pixel_centres(shape: tuple[int, int]) -> np.ndarray:
    """Pixel coordinates of the centres of all pixels, float32 (H, W, 2)."""
    v, u = np.mgrid[: shape[0], : shape[1]] + np.float32(0.5)
    return np.stack([u, v], -1).astype(np.float32)


def places(uv: np.ndarray) -> Tensor:
    """Pixel coordinates float32 (H, W, 2) as :func:`displaced` wants them; a linear function."""
    height, width = uv.shape[:2]
    return torch.from_numpy(uv) * torch.tensor([2.0 / width, 2.0 / height]) - 1


def displaced(image: Tensor, at: Tensor) -> Tensor:
    """The image ``(C, H, W)`` read at :func:`places` (H, W, 2), bilinear, edges repeated."""
    return torch.nn.functional.grid_sample(
        image[None], at[None], mode="bilinear", padding_mode="border", align_corners=False
    )[0]
