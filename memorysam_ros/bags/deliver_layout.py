"""DELIVER's folders: where the frames of a set lie, and how their labels are coded.

``{img,depth,hha,lidar,event,semantic}/<condition>/<split>/<sequence>/<id>_<kind>_front.png``
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from memorysam_core.frames.camera import Camera
from memorysam_core.labels import IGNORE

SPLITS = ("train", "val", "test")
KINDS = {
    "img": "rgb",
    "depth": "depth",
    "hha": "depth",
    "event": "event",
    "lidar": "lidar",
    "semantic": "semantic",
}
"""What files are called, by their folder."""
FIELD_OF_VIEW_DEG = 91.0
"""Of DELIVER's camera, across."""
ABOUT = "sequences.json"
"""Of a data set made from bags: by sequence its bag, its camera, and the stamps of its sets."""


@dataclass(frozen=True)
class Place:
    """Where one set lies, below each folder."""

    condition: str
    split: str
    sequence: str
    number: str

    def file(self, folder: str) -> Path:
        """The set's file in a folder such as ``img``, relative to the data set."""
        name = f"{self.number}_{KINDS[folder]}_front.png"
        return Path(folder, self.condition, self.split, self.sequence, name)

    @property
    def folder(self) -> str:
        """The sequence's folder, the same below all kinds of frames."""
        return f"{self.condition}/{self.split}/{self.sequence}"


def places(root: Path, split: str = "*", condition: str = "*") -> Iterator[Place]:
    """All sets of a data set, in the order of their names; split and condition may be patterns."""
    end = "_rgb_front.png"
    for file in sorted((root / "img").glob(f"{condition}/{split}/**/*{end}")):
        condition_, split_, *sequence, name = file.relative_to(root / "img").parts
        yield Place(condition_, split_, "/".join(sequence), name.removesuffix(end))


def read_about(root: Path) -> dict[str, dict[str, Any]]:
    """What is known of the sequences, by their folders; nothing of a data set made otherwise."""
    try:
        return json.loads((root / ABOUT).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ValueError(f"{root / ABOUT} is no JSON: {error}") from error


def write_about(root: Path, about: dict[str, dict[str, Any]]) -> None:
    """Writes what is known of the sequences, whole or not at all."""
    scratch = root / f".{ABOUT}"
    scratch.write_text(json.dumps(about, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    scratch.replace(root / ABOUT)


def write_png(path: Path, pixels: np.ndarray) -> None:
    """Writes pixels, uint8 ``(H, W, 3)``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Looking for no more than runs makes such frames smaller, in three quarters of the time.
    Image.fromarray(pixels).save(path, compress_level=1, compress_type=zlib.Z_RLE)


def read_png(path: Path) -> np.ndarray:
    """Pixels, uint8 ``(H, W, 3)``. Raises ValueError, naming the file, if it is no image."""
    try:
        with Image.open(path) as image:
            return np.array(image.convert("RGB"))
    except OSError as error:
        raise ValueError(f"{path} cannot be read as an image: {error}") from error


def coded(ids: np.ndarray) -> np.ndarray:
    """Class ids ``(H, W)`` as DELIVER stores them: one more, in red; 255 stays unlabelled."""
    pixels = np.zeros((*ids.shape, 3), np.uint8)
    pixels[..., 0] = np.where(ids == IGNORE, IGNORE, ids + 1)
    return pixels


def decoded(pixels: np.ndarray) -> np.ndarray:
    """The inverse of :func:`coded`; 0 is unlabelled, too."""
    raw = pixels[..., 0]
    return np.where((raw == 0) | (raw == IGNORE), IGNORE, raw - 1).astype(np.uint8)


def pinhole(width: int, height: int) -> Camera:
    """DELIVER's camera for images of this size."""
    focal = width / 2 / math.tan(math.radians(FIELD_OF_VIEW_DEG / 2))
    return Camera(width, height, focal, focal, width / 2, height / 2)
