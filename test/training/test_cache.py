"""Decoded copies of data sets, and what tells them and their data sets apart."""

from __future__ import annotations

import shutil

import miniatures
import numpy as np
import pytest
import torch
from miniatures import first_file
from PIL import Image

from memorysam_core.labels import MCUBES
from memorysam_training.data.cache import Cached
from memorysam_training.data.deliver import Deliver
from memorysam_training.data.loading import Reading
from memorysam_training.data.mcubes import MCubeS
from memorysam_training.data.samples import DataError
from memorysam_training.plan import Draw

NAMES = ("image", "depth", "event", "lidar")


@pytest.fixture
def tree(tmp_path):
    return miniatures.deliver(tmp_path / "DELIVER")


def test_the_cache_gives_the_same_samples(tree, tmp_path):
    dataset = Deliver(tree, "train")
    cached = Cached(dataset, tmp_path / "cache")
    for index in range(len(dataset)):
        plain, copy = (
            dataset.read(index, ["lidar", "image"]),
            cached.read(index, ["lidar", "image"]),
        )
        assert list(copy.frames) == ["lidar", "image"]
        assert all(torch.equal(plain.frames[n], copy.frames[n]) for n in plain.frames)
        assert torch.equal(plain.labels, copy.labels) and copy.name == plain.name
        assert cached.groups(index) == dataset.groups(index)
    assert not list((tmp_path / "cache").glob("*.tmp"))


def test_a_cache_is_used_without_the_data_set(tree, tmp_path):
    """Nothing of the data set is read again, nor asked for its length."""
    dataset = Deliver(tree, "train")
    before = Cached(dataset, tmp_path)

    class Closed(Deliver):
        def read(self, index, modalities):
            raise AssertionError("was read")

        groups = __len__ = read

    closed = Closed.__new__(Closed)
    closed.__dict__ = {**vars(dataset), "fingerprint": dataset.fingerprint}
    after = Cached(closed, tmp_path)
    assert len(after) == 4 and after.groups(1) == before.groups(1)
    assert torch.equal(after.read(1, ["image"]).labels, before.read(1, ["image"]).labels)


@pytest.mark.parametrize(
    ("folder", "kind", "modality"),
    [
        ("img", "rgb", "image"),
        ("depth", "depth", "depth"),
        ("event", "event", "event"),
        ("lidar", "lidar", "lidar"),
        ("semantic", "semantic", "labels"),
    ],
)
def test_the_cache_follows_every_file_that_is_read(tree, tmp_path, folder, kind, modality):
    Cached(Deliver(tree, "train", "log_depth"), tmp_path)
    path = first_file(tree, folder, kind)
    Image.fromarray(np.full((64, 96, 3), 7, np.uint8)).save(path)
    sample = Cached(Deliver(tree, "train", "log_depth"), tmp_path).read(0, NAMES)
    changed = sample.labels + 1 if modality == "labels" else sample.frames[modality]
    assert (changed == 7).all()


def test_a_fingerprint_is_of_what_is_read_and_how(tree, tmp_path):
    dataset = Deliver(tree, "train", "log_depth")
    assert Deliver(tree, "train", "log_depth").fingerprint() == dataset.fingerprint()
    metres = Deliver(
        tree, "train", "log_depth", representations={"lidar": {"metres_per_level": 0.5}}
    )
    others = [
        Deliver(tree, "train", "hha"),
        Deliver(tree, "val", "log_depth"),
        Deliver(tree, "train", "log_depth", ("sun",)),
        Deliver(tree, "train", "log_depth", label_space=MCUBES),
        metres,
    ]
    prints = {other.fingerprint(times) for other in [dataset, *others] for times in (True, False)}
    assert len(prints) == 2 * (1 + len(others))

    copy = shutil.copytree(tree, tmp_path / "copy", copy_function=shutil.copyfile)
    moved = Deliver(copy, "train", "log_depth")
    assert moved.fingerprint(times=False) == dataset.fingerprint(times=False)
    assert moved.fingerprint() != dataset.fingerprint()
    first_file(copy, "depth", "depth").unlink()
    assert moved.fingerprint(times=False) != dataset.fingerprint(times=False)


def test_the_cache_skips_bad_samples_as_without_it(tree, tmp_path):
    path = first_file(tree, "img", "rgb")
    path.write_text("broken")
    dataset = Deliver(tree, "train")
    with pytest.raises(DataError, match="000001_rgb"):
        Cached(dataset, tmp_path)
    assert not list(tmp_path.glob("*.u8")) and not list(tmp_path.glob("*.tmp"))
    cached = Cached(dataset, tmp_path, "skip")
    with pytest.raises(DataError, match="000001_rgb"):
        cached.read(0, ["image"])
    draw = Draw(0, ("image",), seed=1)
    (sample, _, skipped), (plain, _, told) = (
        Reading(data, "skip")[draw] for data in (cached, dataset)
    )
    assert torch.equal(sample.frames["image"], plain.frames["image"]) and skipped == told
    for other in sorted((tree / "img").glob("*/train/*/*_rgb_front.png")):
        other.write_text("broken")
    with pytest.raises(DataError, match="no sample can be read"):
        Cached(Deliver(tree, "train"), tmp_path, "skip")


def test_a_killed_decoder_leaves_nothing_behind(tree, tmp_path):
    dataset = Deliver(tree, "train")
    (tmp_path / f"{dataset.fingerprint()}.tmp").write_bytes(b"half of it")
    Cached(dataset, tmp_path)
    assert sorted(p.suffix for p in tmp_path.iterdir() if p.is_file()) == [".json", ".u8"]


def test_a_cache_needs_samples_of_one_size(tree, tmp_path):
    ids = np.zeros((32, 96), np.uint8)
    rng = np.random.default_rng(0)
    miniatures.write_deliver(tree, "sun", "train", "MAP_7", "000009", ids, rng)
    with pytest.raises(DataError, match="not 64 x 96 bytes like the first one"):
        Cached(Deliver(tree, "train"), tmp_path / "cache", "skip")


def test_a_fingerprint_of_mcubes_is_of_every_file_that_is_read(tmp_path):
    tree = miniatures.mcubes(tmp_path / "multimodal_dataset")
    dataset = MCubeS(tree, "train")
    prints = {dataset.fingerprint()}
    files = sorted(tree.glob("*/train1.*"))
    for file in files:
        file.write_bytes(file.read_bytes() + b"more")
        prints.add(dataset.fingerprint())
    assert len(files) == 6 and len(prints) == 7
