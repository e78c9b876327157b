"""Lens distortion: from the ideal image plane to the distorted one and back.

The models and the order of their coefficients are those of ``sensor_msgs/CameraInfo`` and OpenCV:
``plumb_bob`` (k1, k2, p1, p2, k3), ``rational_polynomial`` (k1, k2, p1, p2, k3, k4, k5, k6) and
``equidistant`` (k1, k2, k3, k4; Kannala and Brandt, PAMI 2006). Coordinates are those of the plane
``z = 1`` in the optical frame.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

COEFFICIENTS = {"pinhole": 0, "plumb_bob": 5, "rational_polynomial": 8, "equidistant": 4}
"""The models, and how many coefficients each takes."""

_STEEPEST_RAD = np.deg2rad(89.9)
_NEWTON_STEPS = 6


def distort(
    model: str, coefficients: tuple[float, ...], x: Tensor, y: Tensor
) -> tuple[Tensor, Tensor]:
    """Ideal ``x, y`` (any shape) to distorted ones, for points within :func:`largest_radius`."""
    r2 = x * x + y * y
    if model == "equidistant":
        k1, k2, k3, k4 = coefficients
        r = r2.sqrt()
        theta = torch.atan(r)
        t2 = theta * theta
        bent = theta * (1 + t2 * (k1 + t2 * (k2 + t2 * (k3 + t2 * k4))))
        scale = torch.where(r > 1e-8, bent / r.clamp(min=1e-8), 1.0)
        return x * scale, y * scale
    k1, k2, p1, p2, k3 = coefficients[:5]
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    if model == "rational_polynomial":
        k4, k5, k6 = coefficients[5:]
        radial = radial / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)))
    xy2 = 2 * x * y
    return (
        x * radial + p1 * xy2 + p2 * (r2 + 2 * x * x),
        y * radial + p2 * xy2 + p1 * (r2 + 2 * y * y),
    )


@lru_cache(maxsize=64)
def largest_radius(model: str, coefficients: tuple[float, ...]) -> float:
    """Distance from the axis, on the plane ``z = 1``, up to which the model is a lens.

    Beyond its first turning point the polynomial folds back, and points far outside the field of
    view would land in the middle of the image. Infinity where the model never folds.
    """
    ideal, _ = _radial_table(model, coefficients)
    return float("inf") if len(ideal) == _TABLE_LENGTH else float(ideal[-1])


def undistort(
    model: str, coefficients: tuple[float, ...], x: Tensor, y: Tensor
) -> tuple[Tensor, Tensor]:
    """The inverse of :func:`distort`, float64; NaN where no ray of the lens arrives.

    Starts from the inverse of the radial part and adds Newton steps for the rest.
    """
    if model != "equidistant" and not any(coefficients):
        return x.double(), y.double()
    x_bent, y_bent = x.double(), y.double()
    r_bent = torch.hypot(x_bent, y_bent)
    ideal, bent = _radial_table(model, coefficients)
    start = np.interp(r_bent.cpu().numpy(), bent, ideal)
    ratio = torch.from_numpy(np.asarray(start)).to(r_bent.device) / r_bent.clamp(min=1e-12)
    ratio = torch.where(r_bent > 1e-12, ratio, 1.0)
    px, py = x_bent * ratio, y_bent * ratio
    step = 1e-6
    for _ in range(_NEWTON_STEPS):
        qx, qy = distort(model, coefficients, px, py)
        ax, ay = distort(model, coefficients, px + step, py)
        bx, by = distort(model, coefficients, px, py + step)
        jxx, jyx, jxy, jyy = (ax - qx) / step, (ay - qy) / step, (bx - qx) / step, (by - qy) / step
        determinant = jxx * jyy - jxy * jyx
        ex, ey = x_bent - qx, y_bent - qy
        px = px + (jyy * ex - jxy * ey) / determinant
        py = py + (jxx * ey - jyx * ex) / determinant
    qx, qy = distort(model, coefficients, px, py)
    limit = largest_radius(model, coefficients)
    arrived = (torch.hypot(qx - x_bent, qy - y_bent) < 1e-6) & (px * px + py * py <= limit * limit)
    nan = torch.full_like(px, float("nan"))
    return torch.where(arrived, px, nan), torch.where(arrived, py, nan)


_TABLE_LENGTH = 8192


@lru_cache(maxsize=64)
def _radial_table(model: str, coefficients: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Ideal and distorted radius, both rising, up to where the model folds back."""
    ideal = np.tan(np.linspace(0.0, _STEEPEST_RAD, _TABLE_LENGTH))
    if model == "pinhole":
        return ideal, ideal
    radial_only = (*coefficients[:2], 0.0, 0.0, *coefficients[4:])
    if model == "equidistant":
        radial_only = coefficients
    r = torch.from_numpy(ideal)
    bent = distort(model, radial_only, r, torch.zeros_like(r))[0].numpy()
    falling = np.flatnonzero(~(np.diff(bent) > 0))
    end = int(falling[0]) + 1 if len(falling) else _TABLE_LENGTH
    return ideal[:end], bent[:end]
