"""Cameras: where a point of the world falls in an image, and which ray a pixel sees.

Points are in the camera's optical frame (REP-103: x right, y down, z forward), metres.

**Pixels.** The pixel of column ``c`` and row ``r`` covers ``c <= u < c + 1`` and
``r <= v < r + 1``: the image spans ``[0, width) x [0, height)``, a point falls into pixel
``(floor(u), floor(v))``, and a pixel's centre is at ``(c + 0.5, r + 0.5)``. Intrinsics therefore
scale with the image size without an offset, as in ROS's image_proc and image_geometry, and a
centred camera has ``cx = width / 2``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from memorysam_core.frames.arrays import between, inverse, like, product_plus, tensor_of, tensors
from memorysam_core.frames.distortion import COEFFICIENTS, distort, largest_radius, undistort
from memorysam_core.frames.kept import keep

_NEAREST_M = 1e-6
"""What is nearer than this along the optical axis counts as behind the camera."""

ArrayT = TypeVar("ArrayT", np.ndarray, Tensor)


@dataclass(frozen=True)
class Camera:
    """Intrinsics of one camera at one image size; see the module for the pixel convention."""

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    model: str = "pinhole"
    """``pinhole``, ``plumb_bob``, ``rational_polynomial`` or ``equidistant``."""
    distortion: tuple[float, ...] = ()
    """Coefficients in the order of ``sensor_msgs/CameraInfo``."""
    shift_m: tuple[float, float] = (0.0, 0.0)
    """Added to x and y of every point: the baseline in P of a rectified stereo camera."""

    def __post_init__(self) -> None:
        if self.width <= 0 or self.height <= 0:
            raise ValueError(
                f"a camera of {self.width} x {self.height} pixels (width x height); "
                "give positive numbers"
            )
        if not (self.fx > 0 and self.fy > 0):
            raise ValueError(
                f"focal lengths are fx {self.fx}, fy {self.fy} pixels; give positive ones: "
                "zeros mean that the camera was never calibrated"
            )
        if self.model not in COEFFICIENTS:
            raise ValueError(
                f"no distortion model {self.model!r}; known are {', '.join(COEFFICIENTS)}"
            )
        object.__setattr__(self, "distortion", _fit_coefficients(self.model, self.distortion))

    @classmethod
    def from_info(
        cls,
        k: Sequence[float],
        d: Sequence[float],
        p: Sequence[float],
        distortion_model: str,
        width: int,
        height: int,
        *,
        rectified: bool,
        binning: tuple[int, int] = (0, 0),
        roi: tuple[int, int, int, int] = (0, 0, 0, 0),
    ) -> Camera:
        """The camera of an image that comes with the numbers of a ``sensor_msgs/CameraInfo``.

        ``k`` (9), ``d``, ``p`` (12), ``width`` and ``height`` are those of the full sensor; ``roi``
        (x offset, y offset, width, height; zeros for all of it) is cut first, then ``binning`` (x,
        y; 0 is 1) applies. ``rectified`` images use P without distortion, raw ones K with it.
        Raises ValueError where K (or P, if rectified) is all zero: the camera is uncalibrated.
        """
        k, d, p = [float(v) for v in k], [float(v) for v in d], [float(v) for v in p]
        if len(k) != 9 or len(p) not in (0, 12):
            raise ValueError(f"K has {len(k)} and P {len(p)} numbers; give 9 and 12")
        if not any(k) or (rectified and not any(p)):
            raise ValueError(
                f"{'P' if any(k) else 'K'} is all zero: the camera is uncalibrated; calibrate it "
                "(camera_calibration) or give its intrinsics in a file"
            )
        if rectified:
            fx, fy, cx, cy = p[0], p[5], p[2], p[6]
            shift_m = (p[3] / fx, p[7] / fy) if fx and fy else (0.0, 0.0)  # zeros are refused
            camera = cls(width, height, fx, fy, cx, cy, shift_m=shift_m)
        else:
            # An equidistant lens bends rays with coefficients of zero as well.
            bent = any(d) or distortion_model == "equidistant"
            model, coefficients = (distortion_model, tuple(d)) if bent else ("pinhole", ())
            camera = cls(width, height, k[0], k[4], k[2], k[5], model, coefficients)
        x, y, roi_width, roi_height = roi
        if roi_width and roi_height:
            camera = camera.cropped(x, y, roi_width, roi_height)
        return camera.binned(max(binning[0], 1), max(binning[1], 1))

    def resized(self, width: int, height: int) -> Camera:
        """The same view drawn at another size."""
        if (width, height) == (self.width, self.height):
            return self
        sx, sy = width / self.width, height / self.height
        return dataclasses.replace(
            self, width=width, height=height,
            fx=self.fx * sx, fy=self.fy * sy, cx=self.cx * sx, cy=self.cy * sy,
        )  # fmt: skip

    def cropped(self, x: int, y: int, width: int, height: int) -> Camera:
        """The window of ``width`` x ``height`` pixels whose corner is at column x, row y."""
        return dataclasses.replace(self, width=width, height=height, cx=self.cx - x, cy=self.cy - y)

    def binned(self, bx: int, by: int) -> Camera:
        """The camera when ``bx`` x ``by`` pixels are read as one; a remainder is cut off."""
        if bx < 1 or by < 1:
            raise ValueError(f"binning is {bx} x {by}; give whole numbers from 1")
        return dataclasses.replace(
            self, width=self.width // bx, height=self.height // by,
            fx=self.fx / bx, fy=self.fy / by, cx=self.cx / bx, cy=self.cy / by,
        )  # fmt: skip

    @property
    def distorted(self) -> bool:
        """Whether straight lines of the world may be bent in the image."""
        return self.model == "equidistant" or any(self.distortion)

    def project(self, points_camera: ArrayT) -> tuple[ArrayT, ArrayT]:
        """Points ``(..., 3)`` to ``uv (..., 2)``, and which fall in the image, bool ``(...)``.

        NumPy or torch, float32 or float64, gives the same kind. ``uv`` is NaN where no ray of the
        lens leads: behind the camera, past the angle where the distortion folds back, or for a
        point that is not finite. Points beside the image keep their ``uv``.
        """
        u, v, inside, seen = self.project_parts(*tensor_of(points_camera).unbind(-1))
        uv = torch.stack((u, v), -1).masked_fill(~seen[..., None], torch.nan)
        return like(uv, points_camera), like(inside, points_camera)

    def project_parts(
        self, x: ArrayT, y: ArrayT, z: ArrayT
    ) -> tuple[ArrayT, ArrayT, ArrayT, ArrayT]:
        """:meth:`project` without copies: ``u``, ``v``, in the image, reached by a ray of the lens.

        ``u`` and ``v`` mean nothing where no ray leads.
        """
        seen = between(z, _NEAREST_M, float("inf"))
        by_z = inverse(z)
        if any(self.shift_m):
            x, y = x + self.shift_m[0], y + self.shift_m[1]
        if self.distorted:
            ideal_x, ideal_y, scale = tensors(x, y, by_z)
            ideal_x, ideal_y = ideal_x * scale, ideal_y * scale
            limit = largest_radius(self.model, self.distortion)
            within = between(ideal_x * ideal_x + ideal_y * ideal_y, 0, limit * limit)
            seen = seen & like(within, seen)
            bent_x, bent_y = distort(self.model, self.distortion, ideal_x, ideal_y)
            u = like(bent_x.mul_(self.fx).add_(self.cx), x)
            v = like(bent_y.mul_(self.fy).add_(self.cy), y)
        else:
            u = product_plus(x, by_z, self.fx, self.cx)
            v = product_plus(y, by_z, self.fy, self.cy)
        inside = seen & between(u, 0, self.width) & between(v, 0, self.height)
        return u, v, inside, seen

    def unproject(self, uv: ArrayT, z: ArrayT) -> ArrayT:
        """Positions ``uv (..., 2)`` at depths ``z (...)``, along the axis, to points ``(..., 3)``.

        The inverse of :meth:`project`. NaN where the lens has no ray.
        """
        places, depth = tensor_of(uv), tensor_of(z)
        x = (places[..., 0] - self.cx) / self.fx
        y = (places[..., 1] - self.cy) / self.fy
        if self.distorted:
            x, y = (part.to(depth.dtype) for part in undistort(self.model, self.distortion, x, y))
            depth = torch.where(torch.isnan(x), x, depth)
        point = torch.stack((x * depth - self.shift_m[0], y * depth - self.shift_m[1], depth), -1)
        return like(point, uv)

    def rays(self) -> np.ndarray:
        """Through each pixel's centre, the point at ``z = 1``: float32 ``(height, width, 3)``.

        NaN where the lens has no ray. Read-only.
        """
        rays = ray_tensor(self).numpy()
        rays.setflags(write=False)
        return rays


@keep(most=4)
def ray_tensor(camera: Camera, device: str = "cpu") -> Tensor:
    """:meth:`Camera.rays` on a device, kept for the next call; not to be written to."""
    v, u = np.mgrid[: camera.height, : camera.width] + 0.5
    still = dataclasses.replace(camera, shift_m=(0.0, 0.0))
    rays = still.unproject(np.stack((u, v), -1), np.ones(u.shape))
    return torch.from_numpy(rays.astype(np.float32)).to(device)


def _fit_coefficients(model: str, coefficients: Sequence[float]) -> tuple[float, ...]:
    """As many coefficients as the model takes; drivers pad with zeros or leave them out."""
    wanted = COEFFICIENTS[model]
    values = [float(v) for v in coefficients]
    if any(values[wanted:]):
        raise ValueError(
            f"{model} takes {wanted} distortion coefficients, got {len(values)}: {values}; "
            "give the model that they belong to"
        )
    return tuple((values + [0.0] * wanted)[:wanted])
