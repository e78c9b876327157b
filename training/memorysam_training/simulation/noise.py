"""Random streams and procedural textures, all of them functions of a seed alone."""

from __future__ import annotations

import functools
import zlib

import numpy as np

SIZE = 512
"""Edge of the tileable textures, texels; a power of two."""


def stream(seed: int, name: str, *index: int) -> np.random.Generator:
    """An independent generator for one purpose, so that no draw depends on the order of work."""
    return np.random.default_rng([seed, zlib.crc32(name.encode()), *index])


@functools.cache
def texture(roughness: float, number: int = 0) -> np.ndarray:
    """Tileable noise of spectrum ``1 / f ** roughness``: float32 ``(SIZE, SIZE)``, 0 to 1."""
    white = np.random.default_rng([number, 20]).standard_normal((SIZE, SIZE))
    fy = np.fft.fftfreq(SIZE)[:, None]
    fx = np.fft.rfftfreq(SIZE)[None, :]
    frequency = np.hypot(fy, fx)
    frequency[0, 0] = np.inf
    shaped = np.fft.irfft2(np.fft.rfft2(white) / frequency**roughness, s=(SIZE, SIZE))
    rank = np.argsort(np.argsort(shaped, axis=None)).reshape(SIZE, SIZE)
    return (rank / (SIZE * SIZE - 1)).astype(np.float32)


def sample(image: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Texture at ``u, v`` (in texels, wrapping), nearest; same shape as ``u``."""
    return image.ravel().take(_row(v) + _column(u))


def smooth_sample(image: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Texture at ``u, v`` (in texels, wrapping), bilinear."""
    x, y = u - np.float32(0.5), v - np.float32(0.5)
    left, top = _column(x), _row(y)
    right, bottom = _column(x + 1), _row(y + 1)
    fx, fy = x - np.floor(x), y - np.floor(y)
    texels = image.ravel()
    a, b = texels.take(top + left), texels.take(bottom + left)
    a += fx * (texels.take(top + right) - a)
    b += fx * (texels.take(bottom + right) - b)
    return a + fy * (b - a)


def _column(u: np.ndarray) -> np.ndarray:
    return np.floor(u).astype(np.int32) & (SIZE - 1)


def _row(v: np.ndarray) -> np.ndarray:
    return _column(v) * SIZE


def hashed(*values: np.ndarray) -> np.ndarray:
    """A repeatable random number, 0 to 1 (float32), for each combination of whole numbers."""
    code = np.zeros(np.broadcast(*values).shape, np.uint32)
    for value, prime in zip(values, (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D), strict=False):
        code ^= np.asarray(value).astype(np.int32).view(np.uint32) * np.uint32(prime)
        code ^= code >> np.uint32(15)
        code *= np.uint32(0x2C1B3C6D)
        code ^= code >> np.uint32(12)
    return (code >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)
