"""Labelled bags as a data set."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("open3d", reason="the simulator makes the bag")

from memorysam_core.cli import main
from memorysam_training.data.bag import Bags
from memorysam_training.data.samples import DataError

SIZE = (64, 96)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bags") / "train"
    folder.mkdir()
    words = ["simulate", str(folder / "drive.mcap"), "--seconds", "1", "--size", "96x64"]
    assert main([*words, "--seed", "3", "--rings", "32", "--jobs", "1"]) == 0
    return folder


def test_samples_are_complete_sets_with_labels(folder):
    bags = Bags(folder, SIZE)
    assert len(bags) >= 3
    sample = bags.read(0, ["image", "lidar"])
    assert list(sample.frames) == ["image", "lidar"]
    for frame in sample.frames.values():
        assert frame.dtype == torch.uint8 and frame.shape == (3, *SIZE)
    assert sample.labels.shape == SIZE and sample.labels.dtype == torch.uint8
    present = sample.labels.unique().tolist()
    assert len([label for label in present if label < 25]) >= 3
    assert (sample.frames["lidar"] > 0).any()
    assert sample.name.startswith("drive.mcap@")


def test_a_folder_without_bags_is_named(tmp_path):
    with pytest.raises(DataError, match="holds no bag"):
        Bags(tmp_path, SIZE)
    with pytest.raises(DataError, match="no folder"):
        Bags(tmp_path / "train", SIZE)


def test_a_broken_bag_is_named(tmp_path):
    (tmp_path / "broken.mcap").write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match=r"broken\.mcap"):
        Bags(tmp_path, SIZE)
