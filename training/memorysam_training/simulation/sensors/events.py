"""The event camera: a pixel speaks when its logarithm of light has changed by a threshold.

The light between two instants is that of the later one, moved back along the motion of what each
pixel shows; the change is followed in sub-frame steps (the scheme of ESIM, Rebecq et al., 2018).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch

from memorysam_training.simulation.conditions import Weather
from memorysam_training.simulation.noise import stream
from memorysam_training.simulation.scene import dot
from memorysam_training.simulation.sensors.view import View, displaced, pixel_centres, places

STEPS = 5
"""Sub-frame steps per packet."""
THRESHOLD = 0.27
"""Change of the logarithm of light at which a pixel speaks."""
SPREAD = 0.03
"""Standard deviation of the threshold among pixels, and of each decision."""
_FLOOR = 0.012
"""Light, at the camera's exposure, below which the pixel's own noise rules."""
_COARSE = 4
"""Factor of the failure ``eventlowres``."""


@dataclass(frozen=True)
class Events:
    """Events in order of time."""

    t_ns: np.ndarray
    """int64 (N,)."""
    x: np.ndarray
    """uint16 (N,)."""
    y: np.ndarray
    p: np.ndarray
    """uint8 (N,): 1 brighter, 0 darker."""
    width: int
    height: int


def fire(
    view: View,
    light: np.ndarray,
    weather: Weather,
    faults: frozenset[str],
    rng: np.random.Generator,
    *,
    seed: int,
    end_ns: int,
    window_s: float,
) -> Events:
    """Events of the window that ends now, from linear light float32 ``(3, H, W)``.

    ``seed`` fixes the pixels' thresholds; ``rng`` the noise.
    """
    world, shape = view.snapshot.scene.world, view.shape
    grey = dot(np.float32([0.3, 0.6, 0.1]) * np.float32(weather.exposure), light)
    now = torch.from_numpy(np.log(grey + _FLOOR))[None]
    if weather.rain > 0.05:
        now = now + torch.from_numpy(_drops(shape, weather.rain, rng))[None]
    mount = np.linalg.inv(view.snapshot.vehicle) @ view.world_from_camera
    here = pixel_centres(shape)
    earlier = world.ego.pose(world.road, view.snapshot.t - window_s) @ mount
    start, end = places(2 * here - view.motion(window_s, earlier)), places(here)
    threshold = _thresholds(seed, shape)
    level = displaced(now, start)[0].numpy()
    level += threshold * (rng.random(shape, np.float32) - 0.5)
    batches: list[tuple[np.ndarray, float, float]] = []
    for step in range(1, STEPS + 1):
        light_then = displaced(now, torch.lerp(start, end, step / STEPS))[0].numpy()
        # Even noise does here, and takes a quarter of the time of normal noise.
        jitter = (rng.random(shape, np.float32) - 0.5) * (0.5 * SPREAD * 12**0.5)
        count = np.clip(np.trunc((light_then - level + jitter) / threshold), -4, 4)
        level += count * threshold
        batches.append((count.astype(np.int8), (step - 1) / STEPS, 1 / STEPS))
    events = _expand(batches, shape, rng, weather, end_ns, window_s)
    if "eventlowres" in faults:
        events = _coarse(events)
    return events


@functools.lru_cache(maxsize=2)
def _thresholds(seed: int, shape: tuple[int, int]) -> np.ndarray:
    fixed = stream(seed, "event thresholds").standard_normal(shape, np.float32)
    return np.maximum(THRESHOLD + SPREAD * fixed, 0.08)


def _expand(
    batches: list[tuple[np.ndarray, float, float]],
    shape: tuple[int, int],
    rng: np.random.Generator,
    weather: Weather,
    end_ns: int,
    window_s: float,
) -> Events:
    """Events with times, and the pixels' own noise, sorted."""
    pixels, shares, signs = [], [], []
    for count, begin, length in batches:
        flat = count.ravel()
        for nth in range(1, int(np.abs(flat).max(initial=0)) + 1):
            at = np.flatnonzero(np.abs(flat) >= nth)
            share = (nth - rng.random(len(at), np.float32)) / np.abs(flat[at])
            pixels.append(at)
            shares.append(begin + length * share)
            signs.append(flat[at] > 0)
    stray = rng.integers(0, shape[0] * shape[1], int(0.0012 * shape[0] * shape[1]))
    pixels.append(stray)
    shares.append(rng.random(len(stray), np.float32))
    signs.append(rng.random(len(stray)) < 0.5)
    pixel, share, sign = (np.concatenate(part) for part in (pixels, shares, signs))
    microseconds = np.round(window_s * 1e6 * (share - 1)).astype(np.int64)
    microseconds = np.clip(microseconds, -int(window_s * 1e6) + 1, 0)
    order = _by_time(microseconds + int(window_s * 1e6), pixel)
    pixel = pixel[order]
    return Events(
        end_ns + microseconds[order] * 1000,
        (pixel % shape[1]).astype(np.uint16),
        (pixel // shape[1]).astype(np.uint16),
        sign[order].astype(np.uint8),
        shape[1],
        shape[0],
    )


def _by_time(microseconds: np.ndarray, pixel: np.ndarray) -> np.ndarray:
    """Places in the order of time, then pixel, then place; time and pixel count from 0.

    Sorting one whole number for each event takes a third of the time of ``np.lexsort``.
    """
    place_bits = len(pixel).bit_length()
    pixel_bits = int(pixel.max(initial=0)).bit_length()
    key = ((microseconds << pixel_bits) | pixel) << place_bits
    return np.sort(key | np.arange(len(pixel))) & ((1 << place_bits) - 1)


def _coarse(events: Events) -> Events:
    """The same events on a sensor of a fraction of the resolution."""
    width, height = -(-events.width // _COARSE), -(-events.height // _COARSE)
    x, y = events.x // _COARSE, events.y // _COARSE
    kept = (np.arange(len(x)) % 3) == 0  # a coarse sensor's pixel answers to the mean of its area
    return Events(events.t_ns[kept], x[kept], y[kept], events.p[kept], width, height)


def _drops(shape: tuple[int, int], rain: float, rng: np.random.Generator) -> np.ndarray:
    """Falling drops that flash past in the window: short vertical dashes."""
    dashes = np.zeros(shape, np.float32)
    count = int(0.0012 * shape[0] * shape[1] * rain)
    top, left = rng.integers(0, shape[0], count), rng.integers(0, shape[1], count)
    for k in range(6):
        dashes[np.minimum(top + k, shape[0] - 1), left] = 0.45
    return dashes
