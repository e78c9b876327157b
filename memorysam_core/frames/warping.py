"""Depth of one camera as another camera would have taken it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from memorysam_core.frames.arrays import cleared, less, on_host, tensor_of
from memorysam_core.frames.camera import Camera, ray_tensor
from memorysam_core.frames.kept import keep
from memorysam_core.frames.raster import farthest, keep_nearest

_SPACING_PX = 0.7
"""Samples are made to fall at least this dense, so that no pixel between them stays empty."""
_MOST_SAMPLES = 5
"""Samples of a pixel each way at most: what is magnified more, next to the camera, gets holes."""
_MAGNIFIED_SHARE = 0.995
"""Of the pixels in view, those whose magnification is provided for: some are mere noise."""
_LOOKED_AT = 32
"""Pixels each way at which the magnification is looked at."""
_ONE_SURFACE = 0.1
"""Part of the distance by which neighbours of one surface differ at most; these are joined."""
_MOST_NEARNESS = 1e6
"""Of what is a micrometre away or nearer."""
_STRIP = 1 << 16
"""Pixels that are worked on at a time, which all steps then find in the processor's cache."""


def nearness_of(metres: Tensor) -> Tensor:
    """1 / depth, float32 of the same shape; 0 for what is no measurement."""
    return metres.reciprocal().nan_to_num_(nan=0, posinf=0, neginf=0).clamp_(0, _MOST_NEARNESS)


def carried_over(
    nearness: Tensor, source: Camera, camera_from_source: Tensor, camera: Camera, samples: int
) -> Tensor:
    """Depth along the axis of ``camera``, float32 ``(H, W)`` of its size, infinite for none.

    ``nearness`` ``(h, w)`` is :func:`nearness_of` the depth in the view of ``source``, and taken at
    ``samples`` places each way within every pixel. Nearness, in which planes are affine, is all
    that the projection needs: ``R ray + t / z`` falls into the same pixel as ``R ray z + t``.
    """
    # The baseline of a rectified stereo camera is one more shift, in metres.
    into_plane = _into_plane(camera)
    shift_m = camera_from_source[:3, 3].double() + torch.tensor((*camera.shift_m, 0.0))
    shift = (into_plane @ shift_m).tolist()
    turn = into_plane @ camera_from_source[:3, :3].double()
    rays = _turned_rays(source, tuple(turn.flatten().tolist()), str(nearness.device))
    # One pixel more on each side takes what falls beside the image.
    height, width = camera.height + 2, camera.width + 2
    depth = farthest(height * width, nearness.device)
    for rows, surface in _strips(nearness):
        for down, across in _places(samples):
            sampled = surface.at(down, across)
            x, y, z = rays.through(rows, down, across, sampled, shift)
            u, v = _positions(camera, x, y, z)
            if source.distorted:  # where its lens has no ray
                u, v = u.nan_to_num_(0), v.nan_to_num_(0)
            row, column = v.clamp_(0, height - 1).int(), u.clamp_(0, width - 1).int()
            pixel = row.mul_(width).add_(column).view(-1).long()
            keep_nearest(depth, pixel, z.div_(sampled).view(-1))
    return depth.view(height, width)[1:-1, 1:-1]


def _into_plane(camera: Camera) -> Tensor:
    """What makes of a ray the numerators and the denominator of its position, where it is one."""
    matrix = torch.eye(3, dtype=torch.float64)
    if not camera.distorted:
        matrix[0, 0], matrix[1, 1] = camera.fx, camera.fy
        matrix[0, 2], matrix[1, 2] = camera.cx + 1, camera.cy + 1
    return matrix


def _positions(camera: Camera, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """One pixel past u and v of points that :func:`_into_plane` was applied to, in place of x and
    y; in the border for what the camera cannot see.
    """
    if not camera.distorted:
        # Of what lies behind the camera this makes a position far outside, or a negative depth.
        inverse = z.clamp(min=1 / _MOST_NEARNESS).reciprocal_()
        return x.mul_(inverse), y.mul_(inverse)
    still = dataclasses.replace(camera, shift_m=(0.0, 0.0))
    u, v, inside, _ = still.project_parts(x, y, z)
    return u.add_(1).masked_fill_(~inside, 0), v.add_(1).masked_fill_(~inside, 0)


def samples_needed(metres: Any, source: Camera, camera_from_source: Tensor, camera: Camera) -> int:
    """At how many places each way a pixel of ``source`` is to be sampled, so that surfaces get no
    holes where ``camera`` resolves more: it may have more pixels, stand nearer, or see a slope from
    the front.

    Looks at depth ``(h, w)`` here and there, on the host; of depth on a GPU it waits for that part.
    """
    step = max(1, min(metres.shape) // _LOOKED_AT)
    near, far = slice(None, -1, step), slice(1, None, step)
    places = (near, near), (near, far), (far, near)  # pixels, those beside and those below them
    looked_at = [tensor_of(metres[place], "cpu", torch.float32) for place in places]
    nearness = nearness_of(torch.stack(looked_at))
    nearness = nearness[0] + _step_on_surface(nearness[0], nearness)
    rays = ray_tensor(source)
    points = torch.stack([rays[place] for place in places]) / nearness[..., None]
    transform = camera_from_source.float()
    uv, inside = camera.project(points @ transform[:3, :3].T + transform[:3, 3])
    spacing = (uv[1:] - uv[0]).abs_().amax(dim=(0, -1))[inside[0]]
    spacing = spacing[torch.isfinite(spacing)]
    if len(spacing) == 0:
        return 1
    widest = float(np.quantile(spacing.numpy(), _MAGNIFIED_SHARE))
    return min(max(1, math.ceil(widest / _SPACING_PX)), _MOST_SAMPLES)


@dataclass(frozen=True)
class _Surface:
    """Nearness of pixels, and its change to their neighbours, 0 where these are another surface."""

    here: Tensor
    left: Tensor
    right: Tensor
    up: Tensor
    down: Tensor

    def at(self, down: float, across: float) -> Tensor:
        """Nearness that many rows and columns from the centres, -0.5 to 0.5."""
        beside, above = self.right if across > 0 else self.left, self.down if down > 0 else self.up
        return torch.add(self.here, beside, alpha=abs(across)).add_(above, alpha=abs(down))


def _strips(nearness: Tensor) -> Iterator[tuple[slice, _Surface]]:
    """Rows of an image and what is there; all at once on a device."""
    height, width = nearness.shape
    count = max(1, _STRIP // width) if on_host(nearness) else height
    padded = functional.pad(nearness, (1, 1, 1, 1))
    for first in range(0, height, count):
        rows = slice(first, min(first + count, height))
        part = padded[rows.start : rows.stop + 2]
        here = part[1:-1, 1:-1]
        neighbours = part[1:-1, :-2], part[1:-1, 2:], part[:-2, 1:-1], part[2:, 1:-1]
        yield rows, _Surface(here, *(_step_on_surface(here, there) for there in neighbours))


def _step_on_surface(here: Tensor, there: Tensor) -> Tensor:
    """Change of nearness, 0 from one surface to another, and to where there is none."""
    step = there - here
    return cleared(step, less(step.abs(), _ONE_SURFACE * here))


def _places(samples: int) -> list[tuple[float, float]]:
    """Rows and columns of the samples from the pixel's centre, in pixels."""
    offsets = [(k + 0.5) / samples - 0.5 for k in range(samples)]
    return [(row, column) for row in offsets for column in offsets]


@dataclass(frozen=True)
class _Rays:
    """Through the pixels of one camera, in the frame of another: x, y and z.

    Each is the sum of a number per pixel, or per column, and one per row. Between pixels rays are
    affine, exactly so for a pinhole, whose steps are numbers.
    """

    across: tuple[Tensor, ...]
    """``(h, w)`` or ``(1, w)``."""
    along: tuple[Tensor, ...]
    """``(h, 1)`` or ``(1, 1)``."""
    per_row: tuple[Tensor | float, ...]
    per_column: tuple[Tensor | float, ...]

    def through(
        self, rows: slice, down: float, across: float, nearness: Tensor, shift: list[float]
    ) -> Iterator[Tensor]:
        """Coordinates of ``ray + shift * nearness``, at that place beside the centres of rows."""
        every = slice(None)
        parts = zip(self.across, self.along, self.per_row, self.per_column, shift, strict=True)
        for at, of_row, by_row, by_column, moved in parts:
            step = by_row * down + by_column * across
            if isinstance(step, Tensor):
                step = step[rows]
            ray = at[rows if at.shape[0] > 1 else every] + step
            coordinate = torch.add(ray, nearness, alpha=moved)
            yield coordinate.add_(of_row[rows if of_row.shape[0] > 1 else every])


@keep(most=2)
def _turned_rays(source: Camera, turn: tuple[float, ...], device: str) -> _Rays:
    matrix = torch.tensor(turn, dtype=torch.float64).view(3, 3)
    if source.distorted:
        rays = (ray_tensor(source).double() @ matrix.T).permute(2, 0, 1).float().to(device)
        per_row, per_column = torch.gradient(rays, dim=(1, 2))
        return _Rays(tuple(rays), tuple(rays.new_zeros(3, 1, 1)), tuple(per_row), tuple(per_column))
    x = (torch.arange(source.width, dtype=torch.float64) + (0.5 - source.cx)) / source.fx
    y = (torch.arange(source.height, dtype=torch.float64) + (0.5 - source.cy)) / source.fy
    across = (matrix[:, :1] * x + matrix[:, 2:])[:, None].float().to(device)
    along = (matrix[:, 1:2] * y)[..., None].float().to(device)
    by_y, by_x = (matrix[:, 1] / source.fy).tolist(), (matrix[:, 0] / source.fx).tolist()
    return _Rays(tuple(across), tuple(along), tuple(by_y), tuple(by_x))
