"""A set as small pictures for a person, uint8 ``(h, w, 3)``."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from memorysam_core.frames import resize
from memorysam_core.frames.arrays import tensor_of
from memorysam_core.frames.readings import ImageReading
from memorysam_core.labels import LabelSpace
from memorysam_core.report.pictures import shown, small
from memorysam_core.report.words import title
from memorysam_ros.result import Result

OPACITY = 0.6


def labels_over_image(result: Result, size: tuple[int, int]) -> np.ndarray:
    """The labels over the camera's image, at ``size`` (height, width)."""
    return resize.smooth(torch.from_numpy(result.overlay(OPACITY)), size).numpy()


def tiles(
    result: Result, truth: np.ndarray | None, space: LabelSpace, size: tuple[int, int]
) -> dict[str, np.ndarray]:
    """The camera's image, what the model saw of the other sensors, and ``truth`` if known.

    All are of ``size`` (height, width); what is missing has no picture.
    """
    return dict(_tiles(result, truth, space, size))


def write_note(
    pen: ImageDraw.ImageDraw, corner: tuple[int, int], text: str, size_px: int = 13
) -> None:
    """Writes a line of text into a corner of a picture, readable on any ground."""
    try:
        font = ImageFont.load_default(size_px)
    except TypeError:  # Pillow before 10.1 has one size
        font = ImageFont.load_default()
    at = corner[0] + 5, corner[1] + 2
    pen.text(at, text, font=font, fill="white", stroke_width=1, stroke_fill="black")


def note_of(name: str, is_there: bool) -> str:
    """What is written into a picture, or where it would be."""
    return title(name) if is_there else f"no {title(name)}"


def _tiles(
    result: Result, truth: np.ndarray | None, space: LabelSpace, size: tuple[int, int]
) -> Iterator[tuple[str, np.ndarray]]:
    image = result.readings.get("image")
    if isinstance(image, ImageReading):
        yield "image", resize.smooth(tensor_of(image.pixels, dtype=torch.uint8), size).numpy()
    for sensor, frame in result.frames.items():
        if sensor != "image":
            # By nearest neighbour, since single pixels count.
            drawn = Image.fromarray(shown(sensor, small(frame, size[1])))
            yield sensor, np.asarray(drawn.resize(size[::-1], Image.Resampling.NEAREST))
    if truth is not None:
        yield "truth", resize.nearest(torch.from_numpy(space.colourise(truth)), size).numpy()
