"""A model that is instant and known: labels are a sum over the frames it was given."""

from __future__ import annotations

import os

import numpy as np

from memorysam_core.contract import InputContract, deliver_modalities
from memorysam_core.labels import DELIVER
from memorysam_core.segmenter import Segmentation

SIZE = (32, 64)
CONTRACT = InputContract(deliver_modalities("log_depth"), DELIVER, SIZE)
WEIGHTS = {"image": 1, "depth": 3, "event": 5, "lidar": 7}


class FakeModel:
    """Stands in for a Segmenter. ``FAKE_FAILS=3`` makes every third set fail, and
    ``FAKE_MODALITIES=image,depth`` is a checkpoint of these.
    """

    contract = CONTRACT
    size = SIZE
    device = "cpu"

    def __init__(self) -> None:
        self.sets = 0
        self.fails = int(os.environ.get("FAKE_FAILS", "0"))
        if names := os.environ.get("FAKE_MODALITIES"):
            kept = tuple(CONTRACT.modality(name) for name in names.split(","))
            self.contract = CONTRACT.replace(modalities=kept)

    def segment(self, frames, size=None) -> Segmentation:
        self.sets += 1
        if self.fails and self.sets % self.fails == 0:
            raise RuntimeError(f"injected into set {self.sets}")
        total = np.zeros(SIZE, np.int64)
        for name, frame in frames.items():
            total += WEIGHTS[name] * np.asarray(frame).astype(np.int64).sum(2)
        rows = (2 * np.arange(size[0]) + 1) * SIZE[0] // (2 * size[0])
        columns = (2 * np.arange(size[1]) + 1) * SIZE[1] // (2 * size[1])
        labels = (total % 25).astype(np.uint8)[rows[:, None], columns]
        names = tuple(name for name in CONTRACT.names if name in frames)
        return Segmentation(labels, labels * 10, names, (False,) * len(names))

    def close(self) -> None:
        """Nothing goes on in the background."""


def load_fake(parameters):
    """As the node loads its model."""
    return FakeModel(), {"checkpoint": "fake", "model": "sum of frames"}


if __name__ == "__main__":
    import sys

    from memorysam_ros.segment_node import main

    sys.exit(main(sys.argv, load_fake))
