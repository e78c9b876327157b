"""MCubeS (CVPR 2022): materials in RGB, polarisation and near infrared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from memorysam_core.contract import InputContract, Modality, mcubes_modalities
from memorysam_core.labels import IGNORE, MCUBES, LabelSpace
from memorysam_training.data.samples import (
    DataError,
    Sample,
    fingerprint,
    read_ids,
    read_image,
    require_folder,
    require_size,
)

CUT = 192
"""Columns on the left that no published result uses: the sensors do not all see them."""

_FILES = {
    "GT": ".png",
    "polL_color": ".png",
    "polL_aolp_sin": ".npy",
    "polL_aolp_cos": ".npy",
    "polL_dolp": ".npy",
    "NIR_warped": ".png",
}
"""Of each sample, the ending by folder."""


class MCubeS:
    """One split of ``multimodal_dataset/``, as ``list_folder/<split>.txt`` lists it."""

    def __init__(self, root: str | Path, split: str, label_space: LabelSpace = MCUBES) -> None:
        self.root = Path(root)
        self.label_space = label_space
        require_folder(self.root / "polL_color", "data.root is the folder multimodal_dataset")
        listing = self.root / "list_folder" / f"{split}.txt"
        if not listing.is_file():
            raise DataError(f"no list {listing}; the splits are train, val and test")
        self._names = listing.read_text(encoding="utf-8").split()
        if not self._names:
            raise DataError(f"{listing} lists no sample")
        self.modalities: tuple[Modality, ...] = mcubes_modalities()

    def __len__(self) -> int:
        return len(self._names)

    def read(self, index: int, modalities: Sequence[str]) -> Sample:
        """One sample. Raises DataError for a missing, unreadable or mis-sized file."""
        name = self._names[index]
        path = self.root / "GT" / f"{name}.png"
        labels = read_ids(path)[:, CUT:]
        wrong = (labels >= len(self.label_space)) & (labels != IGNORE)
        if wrong.any():
            raise DataError(
                f"{path} holds the label {labels[wrong].max()}; accepted are 0 to "
                f"{len(self.label_space) - 1}, and {IGNORE} for unlabelled"
            )
        frames = {}
        for modality in modalities:
            frame = getattr(self, f"_{modality}")(name)[:, :, CUT:]
            require_size(self.root / f"{name} ({modality})", frame.shape[1:], labels.shape)
            frames[modality] = frame.contiguous()
        return Sample(frames, torch.from_numpy(labels.copy()), name)

    def groups(self, index: int) -> dict[str, str]:
        """The data set knows no conditions."""
        return {}

    def fingerprint(self, times: bool = True) -> str:
        """Of labels and frames, and of how the frames were drawn."""
        about = InputContract(self.modalities, self.label_space).to_json()
        return fingerprint(self.root, self._every_file(), about, times)

    def _every_file(self) -> Iterator[Path]:
        for name in self._names:
            for folder, ending in _FILES.items():
                yield self.root / folder / f"{name}{ending}"

    def _image(self, name: str) -> Tensor:
        return read_image(self.root / "polL_color" / f"{name}.png")

    def _aolp(self, name: str) -> Tensor:
        """Sine and cosine, -1 to 1, brought to 0 to 1 as every frame is; the contract undoes it."""
        sine = self._array("polL_aolp_sin", name)
        cosine = self._array("polL_aolp_cos", name)
        return torch.stack([sine, cosine, sine]) / 2 + 0.5

    def _dolp(self, name: str) -> Tensor:
        return self._array("polL_dolp", name).expand(3, -1, -1)

    def _nir(self, name: str) -> Tensor:
        path = self.root / "NIR_warped" / f"{name}.png"
        levels, full_scale = _grey(path)
        return torch.from_numpy(levels.astype(np.float32) / full_scale).expand(3, -1, -1)

    def _array(self, folder: str, name: str) -> Tensor:
        path = self.root / folder / f"{name}.npy"
        try:
            values = np.load(path, allow_pickle=False)
        except FileNotFoundError:
            raise DataError(f"{path} is missing") from None
        except (OSError, ValueError, EOFError) as error:
            raise DataError(f"{path} cannot be read as an array: {error}") from error
        return torch.from_numpy(values.astype(np.float32))


def _grey(path: Path) -> tuple[np.ndarray, float]:
    """Levels of an 8- or 16-bit grey image, and the level of white."""
    from PIL import Image

    try:
        levels = np.array(Image.open(path))
    except FileNotFoundError:
        raise DataError(f"{path} is missing") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read as an image: {error}") from error
    if levels.ndim == 3:
        levels = levels[:, :, 0]
    return levels, 255.0 if levels.dtype == np.uint8 else 65535.0
