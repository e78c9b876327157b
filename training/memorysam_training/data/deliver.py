"""DELIVER (arXiv 2303.01480), and anything in its layout, such as simulated drives.

``{img,depth,hha,lidar,event,semantic}/<weather>/<split>/<sequence>/<id>_<kind>_front.png``
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from memorysam_core.contract import InputContract, Modality, deliver_modalities
from memorysam_core.frames.lidar import densified
from memorysam_core.labels import DELIVER, IGNORE, LabelSpace
from memorysam_core.representations import LidarRange
from memorysam_training.data.modalities import drawn_as
from memorysam_training.data.samples import (
    DataError,
    Sample,
    fingerprint,
    read_ids,
    read_image,
    require_folder,
    require_size,
)

CASES = ("motionblur", "overexposure", "underexposure", "lidarjitter", "eventlowres")
"""Sensor failures; a sequence whose path contains the word has it."""

_FOLDERS = {"image": ("img", "rgb"), "event": ("event", "event"), "lidar": ("lidar", "lidar")}
_DEPTHS = {"hha": ("hha", "depth"), "log_depth": ("depth", "depth")}


class Deliver:
    """One split of the data set; all weathers and all corner cases unless told otherwise.

    The pictures are taken as they are; ``representations`` tells of those that were drawn with
    other parameters than DELIVER's. Only ``densify_px`` is done here: LiDAR pictures hold single
    returns, from which frames of any density are made.
    """

    def __init__(
        self,
        root: str | Path,
        split: str,
        depth: str = "hha",
        conditions: Sequence[str] = (),
        label_space: LabelSpace = DELIVER,
        representations: Mapping[str, Mapping] | None = None,
    ) -> None:
        self.root = Path(root)
        self.label_space = label_space
        require_folder(self.root / "img", "data.root is the folder that holds img/ and semantic/")
        found = {
            path.relative_to(self.root / "img")
            for path in sorted((self.root / "img").glob(f"*/{split}/*/*_rgb_front.png"))
        }
        self._files = sorted(f for f in found if not conditions or f.parts[0] in conditions)
        if not self._files:
            wanted = f" of the conditions {', '.join(conditions)}" if conditions else ""
            raise DataError(
                f"no image {self.root}/img/<condition>/{split}/<sequence>/<id>_rgb_front.png"
                + wanted
            )
        self._folders = {**_FOLDERS, "depth": _DEPTHS[depth]}
        there = tuple(
            m for m in deliver_modalities(depth) if (self.root / self._folders[m.name][0]).is_dir()
        )
        self.modalities: tuple[Modality, ...] = drawn_as(there, representations or {})
        lidar = next((m.representation for m in self.modalities if m.name == "lidar"), None)
        self._densify_px = lidar.densify_px if isinstance(lidar, LidarRange) else 0

    def __len__(self) -> int:
        return len(self._files)

    def read(self, index: int, modalities: Sequence[str]) -> Sample:
        """One sample. Raises DataError for a missing, unreadable or mis-sized file.

        All frames have one size, but for events of fewer pixels. Labels have that size, too, or
        are finer: of frames that were drawn at a network's size, the truth may be the camera's.
        """
        path = self._path(index, "semantic", "semantic")
        labels = self._labels(path)
        frames = {name: read_image(self._path(index, *self._folders[name])) for name in modalities}
        size = next((f.shape[1:] for n, f in frames.items() if n != "event"), labels.shape)
        if labels.shape[0] < size[0] or labels.shape[1] < size[1]:
            require_size(path, labels.shape, size)
        for name, frame in frames.items():
            if name == "event" and frame.shape[1:] != size:  # the corner case eventlowres
                frames[name] = F.interpolate(frame[None], tuple(size), mode="nearest-exact")[0]
            require_size(self._path(index, *self._folders[name]), frames[name].shape[1:], size)
        if "lidar" in frames and self._densify_px:
            single = frames["lidar"].permute(1, 2, 0)
            frames["lidar"] = densified(single, self._densify_px).permute(2, 0, 1).contiguous()
        return Sample(frames, labels, str(self._files[index]).removesuffix("_rgb_front.png"))

    def groups(self, index: int) -> dict[str, str]:
        """The weather, and the sensor failure or ``normal``."""
        sequence = self._files[index].as_posix()
        case = next((case for case in CASES if case in sequence), "normal")
        return {"condition": self._files[index].parts[0], "case": case}

    def fingerprint(self, times: bool = True) -> str:
        """Of labels and frames, and of how the frames were drawn."""
        about = InputContract(self.modalities, self.label_space).to_json()
        return fingerprint(self.root, self._every_file(), about, times)

    def _every_file(self) -> Iterator[Path]:
        for index in range(len(self)):
            yield self._path(index, "semantic", "semantic")
            for modality in self.modalities:
                yield self._path(index, *self._folders[modality.name])

    def _path(self, index: int, folder: str, kind: str) -> Path:
        file = self._files[index]
        return self.root / folder / file.with_name(file.name.replace("_rgb_", f"_{kind}_"))

    def _labels(self, path: Path) -> torch.Tensor:
        raw = read_ids(path)
        labelled = (raw != 0) & (raw != IGNORE)
        if raw[labelled].max(initial=0) > len(self.label_space):
            raise DataError(
                f"{path} holds the raw label {raw[labelled].max()}; accepted are 1 to "
                f"{len(self.label_space)} for the classes of {self.label_space.name}, and 0 and "
                f"{IGNORE} for unlabelled"
            )
        return torch.from_numpy(np.where(labelled, raw - 1, IGNORE).astype(np.uint8))
