"""segment_node with a model that costs nothing: labels are the image's red channel."""

from __future__ import annotations

import sys
from collections.abc import Mapping

import numpy as np
from torch import Tensor

from memorysam_core.contract import InputContract, deliver_modalities
from memorysam_core.labels import DELIVER
from memorysam_core.segmenter import Segmentation
from memorysam_ros.parameters import Parameters

SIZE = (1024, 1024)


class IdentityModel:
    """Takes four frames and gives one of them back."""

    contract = InputContract(deliver_modalities("log_depth"), DELIVER, SIZE)
    size = SIZE
    device = "cpu"

    def __init__(self) -> None:
        self._confidence = np.full(SIZE, 255, np.uint8)

    def segment(
        self, frames: Mapping[str, Tensor], size: tuple[int, int] | None = None
    ) -> Segmentation:
        """The first channel of the image."""
        labels = frames["image"][..., 0].contiguous().numpy() & np.uint8(15)
        return Segmentation(labels, self._confidence, tuple(frames), (False,) * len(frames))

    def close(self) -> None:
        """Nothing goes on in the background."""


def load(parameters: Parameters) -> tuple[IdentityModel, dict[str, str]]:
    """As the node loads its model."""
    return IdentityModel(), {"model": "identity"}


if __name__ == "__main__":
    from memorysam_ros.segment_node import main

    sys.exit(main(sys.argv, load))
