"""Frames and labels as the small pictures of a report, and pictures as text for its HTML."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

from memorysam_core.labels import LabelSpace

IMAGE_PX, FRAME_PX = 1280, 640
"""Images and labels of a moment are kept no wider, and what the model saw of other sensors."""
OPACITY = 0.55
"""Of labels over the camera's image."""
WRONG = (255, 64, 48)
_NEAR_TO_FAR = np.array(
    [(253, 231, 37), (94, 201, 98), (33, 145, 140), (59, 82, 139), (110, 60, 150)], float
)
"""Colours of LiDAR returns, which would be all but black in the grey of the model's frame."""

_NEAR_TO_FAR_DEPTH = np.array(
    [(252, 253, 191), (254, 159, 109), (222, 73, 104), (140, 41, 129), (59, 15, 112), (14, 11, 44)],
    float,
)
_GROUND = (16, 18, 24)


def small(picture: Any, width: int) -> np.ndarray:
    """A picture ``(H, W, 3)`` or label image ``(H, W)``, array or tensor, no wider than ``width``.

    By nearest neighbour where ids or single pixels count, else by area; a copy.
    """
    pixels = np.asarray(picture.cpu() if hasattr(picture, "cpu") else picture)
    height, full = pixels.shape[:2]
    if full <= width:
        return pixels.copy()
    shape = max(1, round(height * width / full)), width
    if pixels.ndim == 2 or _sparse(pixels):
        return _strongest(pixels, shape) if pixels.ndim == 3 else _nearest(pixels, shape)
    reduced = Image.fromarray(pixels).resize((width, shape[0]), Image.Resampling.BOX)
    return np.asarray(reduced).copy()


def fitted(picture: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A picture ``(h, W, 3)`` in the proportions of ``shape`` (height, width).

    A frame at a network's size shows the camera's view squeezed.
    """
    height, width = picture.shape[:2]
    wanted = max(1, round(width * shape[0] / shape[1]))
    if abs(wanted - height) <= 1:
        return picture
    change = _strongest if wanted < height and _sparse(picture) else _nearest
    return change(picture, (wanted, width))


def shown(sensor: str, frame: np.ndarray) -> np.ndarray:
    """A frame, uint8 ``(H, W, 3)``, so that a person sees something in it."""
    grey = frame[..., 0]
    if sensor == "lidar":
        return _returns(grey)
    if sensor == "depth" and (frame == grey[..., None]).all():
        coloured = _between(_NEAR_TO_FAR_DEPTH, grey / 255)
        return np.where(grey[..., None] > 0, coloured, 0).astype(np.uint8)
    return frame


def overlay(
    image: np.ndarray | None, labels: np.ndarray, space: LabelSpace, width: int
) -> np.ndarray:
    """The labels' colours over the camera's image (else alone), uint8 ``(h, w, 3)``.

    ``width`` across, but no more than three times as wide as the labels.
    """
    width = min(width, 3 * labels.shape[1])
    height = max(1, round(width * labels.shape[0] / labels.shape[1]))
    colours = space.colourise(_nearest(labels, (height, width)))
    if image is None:
        return colours
    photo = Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(Image.blend(photo, Image.fromarray(colours), OPACITY))


def error(labels: np.ndarray, truth: np.ndarray, ignore: int, image: np.ndarray | None) -> Any:
    """Wrong pixels in red over the dimmed image, uint8 ``(h, w, 3)``; unlabelled ones are black."""
    height, width = labels.shape
    picture = np.full((height, width, 3), 70, np.uint8)
    if image is not None:
        grey = Image.fromarray(image).convert("L").resize((width, height))
        picture = np.repeat((np.asarray(grey) * 0.5 + 20).astype(np.uint8)[..., None], 3, axis=2)
    picture[(labels != truth) & (truth != ignore)] = WRONG
    picture[truth == ignore] = 0
    return picture


def photo_uri(pixels: np.ndarray) -> str:
    """A data URI of a photograph, JPEG."""
    return _uri(Image.fromarray(pixels), "JPEG", quality=82, optimize=True)


def drawing_uri(pixels: np.ndarray) -> str:
    """A data URI of a picture of few colours and hard edges, PNG."""
    image = Image.fromarray(pixels)
    if image.getcolors(256) is None:
        image = image.quantize(128)
    else:
        image = image.quantize(256)
    return _uri(image, "PNG", optimize=True)


def labels_uri(labels: np.ndarray, space: LabelSpace) -> str:
    """A data URI of labels in their colours."""
    return drawing_uri(space.colourise(labels))


def _uri(image: Image.Image, kind: str, **options: Any) -> str:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    text = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f"data:image/{kind.lower()};base64,{text}"


def _sparse(pixels: np.ndarray) -> bool:
    return float((pixels.max(axis=2) == 0).mean()) > 0.5


def _nearest(pixels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    rows = ((np.arange(shape[0]) + 0.5) * pixels.shape[0] / shape[0]).astype(int)
    columns = ((np.arange(shape[1]) + 0.5) * pixels.shape[1] / shape[1]).astype(int)
    return pixels[rows[:, None], columns]


def _strongest(pixels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Each block's strongest value by channel, so that single pixels stay."""
    height, width = pixels.shape[:2]
    rows = np.arange(shape[0]) * height // shape[0]
    columns = np.arange(shape[1]) * width // shape[1]
    return np.maximum.reduceat(np.maximum.reduceat(pixels, rows, axis=0), columns, axis=1)


def _returns(grey: np.ndarray) -> np.ndarray:
    """Ranges as dots of 2 x 2 pixels, near yellow, far violet, on a dark ground."""
    levels = np.where(grey > 0, grey.astype(float), np.inf)
    padded = np.pad(levels, ((0, 1), (0, 1)), constant_values=np.inf)
    near = np.minimum.reduce([padded[:-1, :-1], padded[1:, :-1], padded[:-1, 1:], padded[1:, 1:]])
    hit = np.isfinite(near)
    if not hit.any():
        return np.full((*grey.shape, 3), _GROUND, np.uint8)
    low, high = np.log(np.percentile(near[hit], (1, 99)))
    share = np.clip((np.log(np.where(hit, near, 1)) - low) / max(high - low, 1e-6), 0, 1)
    colours = _between(_NEAR_TO_FAR, share)
    return np.where(hit[..., None], colours, _GROUND).astype(np.uint8)


def _between(stops: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Colours of a ramp at shares of 0 to 1, float ``(H, W, 3)``."""
    at = np.linspace(0, 1, len(stops))
    return np.stack([np.interp(share, at, stops[:, c]) for c in range(3)], -1)
