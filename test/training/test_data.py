"""Data sets on miniature trees: layout, label maps, and what is wrong with a file."""

from __future__ import annotations

import shutil

import miniatures
import numpy as np
import pytest
import torch
from PIL import Image

from memorysam_core.labels import DELIVER, MCUBES
from memorysam_core.representations import EventTimeSurface, LidarRange, LogDepth
from memorysam_training.data.cache import Cached
from memorysam_training.data.deliver import Deliver
from memorysam_training.data.loading import Reading, loader, open_data, sequential
from memorysam_training.data.mcubes import MCubeS
from memorysam_training.data.modalities import chosen
from memorysam_training.data.samples import DataError
from memorysam_training.plan import Draw, MicroBatches, Plan
from memorysam_training.recipe import Data

NAMES = ("image", "depth", "event", "lidar")


@pytest.fixture
def tree(tmp_path):
    return miniatures.deliver(tmp_path / "DELIVER")


def first(tree, folder, kind):
    return sorted((tree / folder).glob(f"*/train/*/*_{kind}_front.png"))[0]


def test_deliver_reads_all_modalities_in_order(tree):
    dataset = Deliver(tree, "train", depth="log_depth")
    assert len(dataset) == 4
    assert tuple(m.name for m in dataset.modalities) == NAMES
    sample = dataset.read(0, NAMES)
    assert list(sample.frames) == list(NAMES)
    for frame in sample.frames.values():
        assert frame.dtype == torch.uint8 and frame.shape == (3, 64, 96)
    expected = np.array(Image.open(first(tree, "img", "rgb"))).transpose(2, 0, 1)
    np.testing.assert_array_equal(sample.frames["image"].numpy(), expected)


def test_deliver_depth_comes_from_the_folder_asked_for(tree):
    grey = Deliver(tree, "train", depth="log_depth").read(0, ["depth"]).frames["depth"]
    hha = Deliver(tree, "train", depth="hha").read(0, ["depth"]).frames["depth"]
    assert (grey[0] == grey[1]).all() and (hha[0] != hha[1]).any()
    assert Deliver(tree, "train", depth="hha").modalities[1].representation.name == "hha"


def test_deliver_label_map(tree):
    raw = np.tile(np.array([0, 1, 25, 255], np.uint8), (64, 24))
    other = np.zeros_like(raw)
    Image.fromarray(np.stack([raw, other, other], -1)).save(first(tree, "semantic", "semantic"))
    labels = Deliver(tree, "train").read(0, []).labels
    assert labels.dtype == torch.uint8
    assert labels[0, :4].tolist() == [255, 0, 24, 255]


def test_deliver_groups_by_weather_and_failure(tree):
    assert Deliver(tree, "train").groups(0) == {"condition": "night", "case": "normal"}
    rng = np.random.default_rng(0)
    ids = np.zeros((64, 96), np.uint8)
    miniatures.write_deliver(tree, "fog", "train", "MAP_9_lidarjitter", "000009", ids, rng)
    assert Deliver(tree, "train").groups(0) == {"condition": "fog", "case": "lidarjitter"}
    assert len(Deliver(tree, "train", conditions=("sun",))) == 2


def test_low_resolution_events_are_scaled_by_nearest(tree):
    path = first(tree, "event", "event")
    Image.fromarray(np.array([[[255, 0, 0], [0, 0, 255]]] * 2, np.uint8)).save(path)
    event = Deliver(tree, "train").read(0, ["event"]).frames["event"]
    assert event.shape == (3, 64, 96)
    colours = {tuple(c) for c in event.flatten(1).T.tolist()}
    assert colours == {(255, 0, 0), (0, 0, 255)}


@pytest.mark.parametrize("fault", ["missing", "truncated", "mis-sized", "16 bit", "label", "text"])
def test_a_bad_file_is_named(tree, fault):
    path = first(tree, "lidar", "lidar")
    if fault == "missing":
        path.unlink()
    elif fault == "truncated":
        path.write_bytes(path.read_bytes()[:60])
    elif fault == "text":
        path.write_text("not a picture")
    elif fault == "mis-sized":
        Image.fromarray(np.zeros((10, 12, 3), np.uint8)).save(path)
    elif fault == "16 bit":
        Image.fromarray(np.zeros((64, 96), np.uint16)).save(path)
    else:
        path = first(tree, "semantic", "semantic")
        Image.fromarray(np.full((64, 96), 26, np.uint8)).save(path)
    with pytest.raises(DataError) as error:
        Deliver(tree, "train").read(0, NAMES)
    assert str(path) in str(error.value)
    if fault == "mis-sized":
        assert "10 x 12" in str(error.value) and "64 x 96" in str(error.value)
    if fault == "label":
        assert "raw label 26" in str(error.value) and "1 to 25" in str(error.value)


def test_a_missing_folder_is_named(tmp_path, tree):
    with pytest.raises(DataError, match="no folder .*nothing/img"):
        Deliver(tmp_path / "nothing", "train")
    with pytest.raises(DataError, match="trian"):
        Deliver(tree, "trian")
    with pytest.raises(DataError, match="data.root is empty"):
        open_data(Data(), "train")


def test_bad_samples_stop_the_run_or_are_replaced_and_reported(tree):
    dataset = Deliver(tree, "train")
    path = first(tree, "img", "rgb")
    path.write_text("broken")
    draw = Draw(0, ("image",), seed=1)
    assert "000001_rgb" in str(Reading(dataset, "fail")[draw])
    sample, _, skipped = Reading(dataset, "skip")[draw]
    assert sample.name == dataset.read(1, []).name
    assert len(skipped) == 1 and str(path) in skipped[0]


@pytest.mark.parametrize("workers", [0, 1])
def test_the_error_of_a_bad_sample_is_one_line_from_wherever_it_was_read(tree, workers):
    path = first(tree, "img", "rgb")
    path.write_text("broken")
    dataset = Deliver(tree, "train")
    with pytest.raises(DataError) as error:
        list(sequential(dataset, range(4), ("image",), 2, workers))
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value) and len(str(error.value)) < len(str(path)) + 200
    batches = MicroBatches(Plan(4, 2, ("image",), 0, 0.0), 2, 0, 1, start=0, stop=2)
    with pytest.raises(DataError, match="000001_rgb"):
        list(loader(Reading(dataset, "fail"), batches, workers))
    skipping = list(sequential(dataset, range(4), ("image",), 2, workers, "skip"))
    assert [batch.stand_ins for batch in skipping] == [[True, False], [False, False]]
    assert [len(batch.skipped) for batch in skipping] == [1, 0]


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
    path = first(tree, folder, kind)
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
    first(copy, "depth", "depth").unlink()
    assert moved.fingerprint(times=False) != dataset.fingerprint(times=False)


def test_the_cache_skips_bad_samples_as_without_it(tree, tmp_path):
    path = first(tree, "img", "rgb")
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


def test_mcubes_cuts_and_scales(tmp_path):
    tree = miniatures.mcubes(tmp_path / "multimodal_dataset")
    dataset = MCubeS(tree, "train")
    assert [m.name for m in dataset.modalities] == ["image", "aolp", "dolp", "nir"]
    sample = dataset.read(0, ["image", "aolp", "dolp", "nir"])
    assert sample.frames["image"].shape == (3, 64, 288 - 192)
    sine = np.load(tree / "polL_aolp_sin" / "train0.npy")[:, 192:]
    cosine = np.load(tree / "polL_aolp_cos" / "train0.npy")[:, 192:]
    np.testing.assert_allclose(sample.frames["aolp"][0] * 2 - 1, sine, atol=1e-6)
    np.testing.assert_allclose(sample.frames["aolp"][1] * 2 - 1, cosine, atol=1e-6)
    assert torch.equal(sample.frames["aolp"][2], sample.frames["aolp"][0])
    ids = np.array(Image.open(tree / "GT" / "train0.png"))[:, 192:]
    np.testing.assert_array_equal(sample.labels, ids)
    np.testing.assert_allclose(sample.frames["nir"][0], (20000 + 9000.0 * ids) / 65535, atol=1e-6)


def test_a_fingerprint_of_mcubes_is_of_every_file_that_is_read(tmp_path):
    tree = miniatures.mcubes(tmp_path / "multimodal_dataset")
    dataset = MCubeS(tree, "train")
    prints = {dataset.fingerprint()}
    files = sorted(tree.glob("*/train1.*"))
    for file in files:
        file.write_bytes(file.read_bytes() + b"more")
        prints.add(dataset.fingerprint())
    assert len(files) == 6 and len(prints) == 7


def test_mcubes_names_what_is_wrong(tmp_path):
    tree = miniatures.mcubes(tmp_path / "multimodal_dataset")
    with pytest.raises(DataError, match=r"list_folder/dev.txt"):
        MCubeS(tree, "dev")
    Image.fromarray(np.full((64, 288), 20, np.uint8)).save(tree / "GT" / "train0.png")
    with pytest.raises(DataError, match=r"GT/train0.png holds the label 20; accepted are 0 to 19"):
        MCubeS(tree, "train").read(0, [])
    (tree / "polL_dolp" / "train1.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(DataError, match=r"polL_dolp/train1.npy"):
        MCubeS(tree, "train").read(1, ["dolp"])


def test_modalities_of_a_recipe(tree):
    dataset = Deliver(tree, "train")
    assert chosen(dataset.modalities, ()) == dataset.modalities
    assert [m.name for m in chosen(dataset.modalities, ("lidar", "image"))] == ["lidar", "image"]
    with pytest.raises(DataError, match="no modality radar; it has image, depth"):
        chosen(dataset.modalities, ("image", "radar"))


def test_representations_of_a_recipe(tree):
    given = {"lidar": {"metres_per_level": 0.5}, "event": {"name": "event_time_surface"}}
    dataset = open_data(Data(root=str(tree), representations=given), "train")
    drawn = {m.name: m.representation for m in dataset.modalities}
    assert drawn["lidar"] == LidarRange(metres_per_level=0.5)
    assert drawn["event"] == EventTimeSurface() and drawn["depth"] == LogDepth()
    for wrong, message in (
        ({"radar": {}}, "representations.radar: there is no such modality, but image, depth"),
        ({"lidar": {"metres": 2}}, "representations.lidar: .*has no parameter metres"),
        ({"lidar": {"name": "log_depth"}}, "drawn from depth, but lidar gives points"),
        ({"lidar": {"metres_per_level": -1}}, "representations.lidar: .* is -1"),
    ):
        with pytest.raises(DataError, match=message):
            open_data(Data(root=str(tree), representations=wrong), "train")


def test_classes_are_delivers(tree):
    assert Deliver(tree, "train").label_space == DELIVER
