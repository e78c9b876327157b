"""Labelled bags as a data set."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("open3d", reason="the simulator makes the bag")

from memorysam_core.architecture import Architecture
from memorysam_core.checkpoint import build_model, save_checkpoint
from memorysam_core.cli import main
from memorysam_core.contract import InputContract, deliver_modalities
from memorysam_core.labels import DELIVER, numbered
from memorysam_ros.bags.reader import Bag
from memorysam_ros.bags.writer import BagWriter
from memorysam_training.data.bag import Bags
from memorysam_training.data.loading import open_data
from memorysam_training.data.modalities import drawn_as
from memorysam_training.data.samples import DataError
from memorysam_training.recipe import Data

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


@pytest.fixture(scope="module")
def two_sensors(folder, tmp_path_factory):
    """The same drive of a robot that has a camera and a LiDAR."""
    root = tmp_path_factory.mktemp("rig") / "train"
    with Bag(folder / "drive.mcap") as bag, BagWriter(root / "drive.mcap") as copy:
        kept = {t for t in bag.topics if not any(word in t for word in ("depth", "event"))}
        for raw in bag.messages(kept):
            copy.write(raw.topic, bag.deserialise(raw), raw.time_ns)
    return root


def test_a_robot_with_fewer_sensors_can_be_trained_on(two_sensors, folder):
    bags, whole = Bags(two_sensors, SIZE), Bags(folder, SIZE)
    assert [m.name for m in bags.modalities] == ["image", "lidar"]
    assert len(bags) >= len(whole) >= 3
    sample = bags.read(0, ["image", "lidar"])
    same = next(i for i in range(len(whole)) if whole.read(i, []).name == sample.name)
    for name, frame in sample.frames.items():
        assert torch.equal(frame, whole.read(same, [name]).frames[name])
    with pytest.raises(DataError, match="no modality depth; it has image, lidar"):
        Bags(two_sensors, SIZE, names=("image", "depth"))


def test_a_recipe_chooses_sensors_and_how_they_are_drawn(folder):
    data = Data(
        kind="bags",
        root=str(folder.parent),
        size=SIZE,
        modalities=("lidar", "event"),
        representations={
            "lidar": {"metres_per_level": 0.5},
            "event": {"name": "event_time_surface", "window_s": 0.2},
        },
    )
    drawn, plain = open_data(data, "train"), Bags(folder, SIZE)
    assert [m.name for m in drawn.modalities] == ["lidar", "event"]
    assert drawn.modalities[0].representation.metres_per_level == 0.5
    sample = drawn.read(0, ["lidar", "event"])
    assert list(sample.frames) == ["lidar", "event"]
    same = next(i for i in range(len(plain)) if plain.read(i, []).name == sample.name)
    other = plain.read(same, ["lidar", "event"])
    near = (other.frames["lidar"] > 0) & (other.frames["lidar"] < 100)
    ratio = sample.frames["lidar"][near].float() / other.frames["lidar"][near].float()
    assert near.any() and abs(ratio.median() - 2) < 0.1
    assert len(sample.frames["event"].unique()) > 2  # recency, not the two levels of polarity


def test_a_fingerprint_is_of_the_contract_and_the_topic_too(folder):
    half = drawn_as(deliver_modalities("log_depth"), {"lidar": {"metres_per_level": 0.5}})
    bags = [
        Bags(folder, SIZE),
        Bags(folder, (64, 128)),
        Bags(folder, SIZE, deliver_modalities("hha")),
        Bags(folder, SIZE, half),
        Bags(folder, SIZE, names=("image",)),
        Bags(folder, SIZE, topic="/other/labels"),
    ]
    assert len({one.fingerprint() for one in bags}) == len(bags)


def test_cached_bags_are_decoded_once(folder, tmp_path, monkeypatch):
    data = Data(kind="bags", root=str(folder.parent), size=SIZE, cache=str(tmp_path))
    first = open_data(data, "train")
    monkeypatch.setattr("memorysam_training.data.bag._labelled_sets", None)
    again = open_data(data, "train")
    assert len(again) == len(first) and again.groups(0) == first.groups(0)
    ours, theirs = again.read(0, ["lidar"]), first.read(0, ["lidar"])
    assert torch.equal(ours.frames["lidar"], theirs.frames["lidar"]) and ours.name == theirs.name


def test_evaluation_draws_bags_as_the_checkpoint_was_trained(two_sensors, tmp_path, capsys):
    given = {"lidar": {"metres_per_level": 0.5}}
    modalities = [m for m in deliver_modalities() if m.name in ("image", "lidar")]
    contract = InputContract(drawn_as(modalities, given), DELIVER, SIZE)
    checkpoint = tmp_path / "rig.safetensors"
    save_checkpoint(checkpoint, build_model(Architecture("nano")), contract)
    words = ["evaluate", str(checkpoint), str(two_sensors.parent), "--kind", "bags"]
    assert main([*words, "--split", "train", "--out", str(tmp_path / "report")]) == 0
    assert "with image, lidar." in capsys.readouterr().out


def test_labels_out_of_range_are_named_with_their_bag(folder):
    with pytest.raises(DataError, match=r"drive\.mcap holds the label \d+; accepted are 0 to 2"):
        len(Bags(folder, SIZE, label_space=numbered(3)))


def test_a_folder_without_bags_is_named(tmp_path):
    with pytest.raises(DataError, match="holds no bag"):
        Bags(tmp_path, SIZE)
    with pytest.raises(DataError, match="no folder"):
        Bags(tmp_path / "train", SIZE)


def test_a_broken_bag_is_named(tmp_path):
    (tmp_path / "broken.mcap").write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match=r"broken\.mcap"):
        Bags(tmp_path, SIZE)
