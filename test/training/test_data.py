"""Data sets on miniature trees: layout, label maps, and what is wrong with a file."""

from __future__ import annotations

import miniatures
import numpy as np
import pytest
import torch
from miniatures import first_file
from PIL import Image

from memorysam_core.contract import deliver_modalities
from memorysam_core.labels import DELIVER
from memorysam_core.representations import EventTimeSurface, LidarRange, LogDepth
from memorysam_training.data.deliver import Deliver
from memorysam_training.data.loading import (
    Reading,
    loader,
    open_data,
    pixels_of_classes,
    sequential,
)
from memorysam_training.data.mcubes import MCubeS
from memorysam_training.data.modalities import chosen, normalised_as
from memorysam_training.data.samples import DataError
from memorysam_training.plan import Draw, MicroBatches, Plan
from memorysam_training.recipe import Data

NAMES = ("image", "depth", "event", "lidar")


@pytest.fixture
def tree(tmp_path):
    return miniatures.deliver(tmp_path / "DELIVER")


def test_deliver_reads_all_modalities_in_order(tree):
    dataset = Deliver(tree, "train", depth="log_depth")
    assert len(dataset) == 4
    assert tuple(m.name for m in dataset.modalities) == NAMES
    sample = dataset.read(0, NAMES)
    assert list(sample.frames) == list(NAMES)
    for frame in sample.frames.values():
        assert frame.dtype == torch.uint8 and frame.shape == (3, 64, 96)
    expected = np.array(Image.open(first_file(tree, "img", "rgb"))).transpose(2, 0, 1)
    np.testing.assert_array_equal(sample.frames["image"].numpy(), expected)


def test_deliver_depth_comes_from_the_folder_asked_for(tree):
    grey = Deliver(tree, "train", depth="log_depth").read(0, ["depth"]).frames["depth"]
    hha = Deliver(tree, "train", depth="hha").read(0, ["depth"]).frames["depth"]
    assert (grey[0] == grey[1]).all() and (hha[0] != hha[1]).any()
    assert Deliver(tree, "train", depth="hha").modalities[1].representation.name == "hha"


def test_deliver_label_map(tree):
    raw = np.tile(np.array([0, 1, 25, 255], np.uint8), (64, 24))
    other = np.zeros_like(raw)
    path = first_file(tree, "semantic", "semantic")
    Image.fromarray(np.stack([raw, other, other], -1)).save(path)
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
    path = first_file(tree, "event", "event")
    Image.fromarray(np.array([[[255, 0, 0], [0, 0, 255]]] * 2, np.uint8)).save(path)
    event = Deliver(tree, "train").read(0, ["event"]).frames["event"]
    assert event.shape == (3, 64, 96)
    colours = {tuple(c) for c in event.flatten(1).T.tolist()}
    assert colours == {(255, 0, 0), (0, 0, 255)}


def test_labels_may_be_finer_than_the_frames_but_not_coarser(tree):
    path = first_file(tree, "semantic", "semantic")
    coarse = np.array(Image.open(path))
    Image.fromarray(coarse.repeat(2, 0).repeat(3, 1)).save(path)
    sample = Deliver(tree, "train").read(0, NAMES)
    assert sample.size == (64, 96) and sample.labels.shape == (128, 288)
    assert {f.shape for f in sample.frames.values()} == {(3, 64, 96)}
    Image.fromarray(coarse).save(path)
    plain = Deliver(tree, "train").read(0, NAMES)
    assert torch.equal(sample.labels_at_frames(), plain.labels)
    Image.fromarray(coarse[::2]).save(path)
    with pytest.raises(DataError, match="32 x 96"):
        Deliver(tree, "train").read(0, NAMES)


@pytest.mark.parametrize("fault", ["missing", "truncated", "mis-sized", "16 bit", "label", "text"])
def test_a_bad_file_is_named(tree, fault):
    path = first_file(tree, "lidar", "lidar")
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
        path = first_file(tree, "semantic", "semantic")
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
    path = first_file(tree, "img", "rgb")
    path.write_text("broken")
    draw = Draw(0, ("image",), seed=1)
    assert "000001_rgb" in str(Reading(dataset, "fail")[draw])
    sample, _, skipped = Reading(dataset, "skip")[draw]
    assert sample.name == dataset.read(1, []).name
    assert len(skipped) == 1 and str(path) in skipped[0]


@pytest.mark.parametrize("workers", [0, 1])
def test_the_error_of_a_bad_sample_is_one_line_from_wherever_it_was_read(tree, workers):
    path = first_file(tree, "img", "rgb")
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


def test_lidar_pictures_are_densified_when_they_are_read(tree):
    """They hold single returns, and a checkpoint may want them dense, as the node draws them."""
    path = first_file(tree, "lidar", "lidar")
    single = np.zeros((64, 96, 3), np.uint8)
    single[10, 20], single[10, 24], single[40, 0] = 30, 12, 99
    Image.fromarray(single).save(path)
    sparse = open_data(Data(root=str(tree)), "train").read(0, NAMES).frames["lidar"]
    np.testing.assert_array_equal(sparse.permute(1, 2, 0).numpy(), single)
    given = {"lidar": {"densify_px": 2}}
    dataset = open_data(Data(root=str(tree), representations=given), "train")
    assert dataset.modalities[3].representation == LidarRange(densify_px=2)
    dense = dataset.read(0, NAMES).frames["lidar"]
    assert dense.dtype == torch.uint8 and dense.is_contiguous()
    assert (dense[0] == dense[1]).all() and (dense[0] == dense[2]).all()
    assert dense[0, 10, 18:27].tolist() == [30, 30, 30, 30, 12, 12, 12, 12, 12][:9]
    assert (dense[0] > 0).sum() == 5 * 9 + 5 * 3
    assert dense[0, 38:43, :3].unique().tolist() == [99]


def test_pixels_of_classes_are_counted(tree):
    dataset = Deliver(tree, "train")
    labels = [dataset.read(i, ()).labels for i in range(4)]
    every = torch.stack(labels)[torch.stack(labels) != 255]
    expected = torch.bincount(every.long(), minlength=25)
    assert pixels_of_classes(dataset).tolist() == expected.tolist()
    two = torch.stack([labels[0], labels[2]])
    expected = torch.bincount(two[two != 255].long(), minlength=25)
    assert pixels_of_classes(dataset, most=2).tolist() == expected.tolist()
    first_file(tree, "semantic", "semantic").write_text("broken")
    assert pixels_of_classes(dataset).sum() == (torch.stack(labels[1:]) != 255).sum()


def test_normalisation_of_a_recipe():
    image, *_, lidar = normalised_as(deliver_modalities(), {"lidar": {"mean": 0, "std": 0.05}})
    assert image == deliver_modalities()[0]
    assert lidar.mean == (0.0, 0.0, 0.0) and lidar.std == (0.05, 0.05, 0.05)
    (depth,) = normalised_as([deliver_modalities()[1]], {"depth": {"mean": [0.3, 0.2, 0.4]}})
    assert depth.mean == (0.3, 0.2, 0.4) and depth.std == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"radar": {}}, "data.normalisation.radar: there is no such modality, but image, depth"),
        ({"lidar": {"gain": 20}}, "data.normalisation.lidar has no gain; it has mean and std"),
        ({"lidar": {"std": [1, 2]}}, "lidar.std is .1, 2.; give one number or three"),
        ({"lidar": {"mean": "low"}}, "lidar.mean is low; give one number or three"),
        ({"lidar": {"std": 0}}, "data.normalisation.lidar: std of .* give positive numbers"),
    ],
)
def test_a_normalisation_that_cannot_be(wrong, message):
    with pytest.raises(DataError, match=message):
        normalised_as(deliver_modalities(), wrong)


def test_classes_are_delivers(tree):
    assert Deliver(tree, "train").label_space == DELIVER
