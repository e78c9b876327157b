"""The colour camera: exposure, bloom, noise, motion blur, rain on the lens."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from memorysam_training.simulation.conditions import Weather
from memorysam_training.simulation.sensors.view import View, displaced, pixel_centres, places

BLUR_S = 0.055
"""Exposure time of the failure ``motionblur``."""
OVER, UNDER = 5.5, 0.11
"""Factors on the exposure of the failures of that name."""


def photograph(
    view: View,
    light: np.ndarray,
    weather: Weather,
    faults: frozenset[str],
    rng: np.random.Generator,
    tint: np.ndarray,
) -> np.ndarray:
    """An image uint8 ``(H, W, 3)`` of linear light ``(3, H, W)``.

    ``tint`` is the camera's white balance and exposure, three factors near 1. Random draws come in
    the same number and order whatever the faults are.
    """
    shake, noise = rng.uniform(-1, 1, 4), _noise(light.shape, rng)
    image = torch.from_numpy(light)
    if "motionblur" in faults:
        image = _blurred(view, image, shake)
    exposure = weather.exposure * (OVER if "overexposure" in faults else 1.0)
    gain = weather.gain
    if "underexposure" in faults:
        exposure, gain = exposure * UNDER, gain * 2.0
    image = image * (exposure * torch.from_numpy(np.float32(tint)))[:, None, None]
    if weather.rain > 0.05:
        image = _rained_on(image, weather.rain, rng)
    image = image + _bloom(image)
    pixels = _curve(image)
    pixels += noise.mul_(gain).mul_(pixels.sqrt().mul_(0.012).add_(0.006))
    levels = pixels.clamp_(0, 1).mul_(255).add_(0.5).to(torch.uint8)
    return levels.permute(1, 2, 0).contiguous().numpy()


def _noise(shape: tuple[int, ...], rng: np.random.Generator) -> Tensor:
    """Of a normal distribution, float32. torch draws it twice as fast as numpy."""
    generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
    return torch.randn(shape, generator=generator)


def _curve(light: Tensor) -> Tensor:
    """Film-like response: dark toe, soft shoulder; then gamma."""
    x = light.clamp(min=0).mul_(0.62)
    film = (2.51 * x).add_(0.03).mul_(x)
    film /= (2.43 * x).add_(0.59).mul_(x).add_(0.14)
    return film.clamp_(0, 1).pow_(1 / 2.2)


def _bloom(image: Tensor) -> Tensor:
    """Light that spills from what is far too bright."""
    size = image.shape[-2:]
    # Channels as a batch, and squares as columns of rows, are torch's faster cases.
    spill = (image - 1.6).clamp(0, 8)[:, None]
    spill = torch.nn.functional.avg_pool2d(spill, 4, ceil_mode=True)
    for _ in range(3):
        spill = torch.nn.functional.avg_pool2d(spill, (7, 1), 1, (3, 0))
        spill = torch.nn.functional.avg_pool2d(spill, (1, 7), 1, (0, 3))
    return 0.45 * torch.nn.functional.interpolate(spill, size, mode="bilinear")[:, 0]


def _blurred(view: View, image: Tensor, shake: np.ndarray, taps: int = 9) -> Tensor:
    """The mean of the image over the exposure: the vehicle's way, and a shaking hand."""
    world = view.snapshot.scene.world
    ego, road = world.ego, world.road
    mount = np.linalg.inv(view.snapshot.vehicle) @ view.world_from_camera
    before = view.motion(BLUR_S, ego.pose(road, view.snapshot.t - BLUR_S) @ mount)
    here = pixel_centres(view.shape)
    limit = 0.12 * view.shape[1]
    way = np.clip(before - here, -limit, limit)
    reach = 0.022 * view.shape[1]
    total = torch.zeros_like(image)
    for step in np.linspace(-0.5, 0.5, taps):
        swing = np.float32([shake[0] * step + shake[2] * step**2, shake[1] * step]) * reach * 2
        total += displaced(image, places(here - way * np.float32(step) + swing))
    return total / taps


def _rained_on(image: Tensor, rain: float, rng: np.random.Generator) -> Tensor:
    """Streaks in the air, and a few drops on the lens that bend the view."""
    height, width = image.shape[-2:]
    streaks = np.zeros((height, width), np.float32)
    count = int(0.0022 * height * width * rain)
    top, left = rng.uniform(-0.1, 1, count) * height, rng.uniform(0, 1.05, count) * width
    length, bright = rng.uniform(0.02, 0.09, count) * height, rng.uniform(0.02, 0.16, count)
    for step in np.linspace(0, 1, int(0.09 * height) + 2):
        y, x = (top + step * length).astype(int), (left - 0.16 * step * length).astype(int)
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        streaks[y[inside], x[inside]] = bright[inside]
    mean = float(image.numpy().mean(dtype=np.float64))  # torch's depends on the number of threads
    image = image + torch.from_numpy(streaks) * (0.25 + mean)
    here = pixel_centres((height, width))
    uv = here.copy()
    for _ in range(int(9 * rain)):
        cx, cy = rng.uniform(0, width), rng.uniform(0, height)
        radius = rng.uniform(0.012, 0.035) * width
        x0, x1 = int(max(cx - radius, 0)), int(min(cx + radius, width)) + 1
        y0, y1 = int(max(cy - radius, 0)), int(min(cy + radius, height)) + 1
        patch = uv[y0:y1, x0:x1]
        offset = here[y0:y1, x0:x1] - np.float32((cx, cy))
        inside = np.hypot(*np.moveaxis(offset, -1, 0)) < radius
        patch[inside] = np.float32((cx, cy)) - 2.2 * offset[inside]
    return displaced(image, places(uv))
