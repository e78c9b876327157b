"""What a data set gives, whatever it is made of."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.nn import functional as F

from memorysam_core.contract import Modality
from memorysam_core.labels import LabelSpace


class DataError(ValueError):
    """A data set or one of its files is not as it has to be; the message names the file."""


@dataclass(frozen=True)
class Sample:
    """Frames of one scene by modality, and its labels."""

    frames: dict[str, Tensor]
    """uint8 ``(3, H, W)``, or float32 already scaled to 0 to 1, in the order of the sequence."""
    labels: Tensor
    """Class ids, uint8 ``(H, W)``, of the frames' size or finer; 255 is unlabelled."""
    name: str

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the frames."""
        height, width = next(iter(self.frames.values())).shape[1:]
        return height, width

    def labels_at_frames(self) -> Tensor:
        """The labels at the frames' size, nearest."""
        if tuple(self.labels.shape) == self.size:
            return self.labels
        return F.interpolate(self.labels[None, None], self.size, mode="nearest-exact")[0, 0]


class DataSet(Protocol):
    """Samples with a number, read as they are asked for."""

    modalities: tuple[Modality, ...]
    """What there is, in the order of the sequence."""
    label_space: LabelSpace

    def __len__(self) -> int: ...

    def read(self, index: int, modalities: Sequence[str]) -> Sample:
        """One sample with these modalities. Raises DataError, naming the file, if it is bad."""
        ...

    def groups(self, index: int) -> dict[str, str]:
        """What the sample is counted under, such as ``{"condition": "night"}``."""
        ...

    def fingerprint(self, times: bool = True) -> str:
        """A text that changes whenever the samples may have changed, as :func:`fingerprint`."""
        ...


def fingerprint(root: Path, files: Iterable[Path], about: str, times: bool) -> str:
    """A text that changes with the name below ``root`` and the size of any file that is read.

    Args:
        about: how samples are made of the files, such as the contract as JSON.
        times: count when the files were changed, too; a copy of the data set then differs.
    """
    digest = hashlib.sha256(about.encode())
    for path in files:
        try:
            stat = path.stat()
            state = f"{stat.st_size} {stat.st_mtime_ns if times else ''}"
        except FileNotFoundError:
            state = "missing"
        digest.update(f"{path.relative_to(root)} {state}\n".encode())
    return digest.hexdigest()[:16]


def read_image(path: Path) -> Tensor:
    """An 8-bit image file as uint8 ``(3, H, W)``; one channel is repeated. Raises DataError."""
    image = _open(path)
    if image.mode not in ("L", "P", "RGB", "RGBA"):
        raise DataError(
            f"{path} has pixels of kind {image.mode}; give an 8-bit grey or colour image"
        )
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).contiguous()


def read_ids(path: Path) -> np.ndarray:
    """The first channel of an 8-bit label image, uint8 ``(H, W)``. Raises DataError."""
    image = _open(path)
    if image.mode not in ("L", "P", "RGB", "RGBA"):
        raise DataError(f"{path} has pixels of kind {image.mode}; give 8-bit class ids")
    ids = np.array(image)
    return ids if ids.ndim == 2 else ids[:, :, 0]


def require_folder(path: Path, why: str) -> None:
    """Raises DataError unless the folder exists."""
    if not path.is_dir():
        raise DataError(f"no folder {path}: {why}")


def require_size(path: Path, size: Sequence[int], expected: Sequence[int]) -> None:
    """Raises DataError unless both (height, width) agree."""
    if tuple(size) != tuple(expected):
        raise DataError(
            f"{path} is {size[0]} x {size[1]} (height x width), but the image of the same sample "
            f"is {expected[0]} x {expected[1]}"
        )


def _open(path: Path) -> Image.Image:
    try:
        image = Image.open(path)
        image.load()
    except FileNotFoundError:
        raise DataError(f"{path} is missing") from None
    except (OSError, UnidentifiedImageError, SyntaxError) as error:
        raise DataError(f"{path} cannot be read as an image: {error}") from error
    return image
