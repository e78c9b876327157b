import json

import numpy as np
import pytest
import scene
from PIL import Image

from memorysam_core.cli import main
from memorysam_core.contract import deliver_modalities
from memorysam_core.frames.draw import draw
from memorysam_core.frames.readings import PointsReading
from memorysam_ros.bags import Bag
from memorysam_ros.bags.dataset_import import points_of
from memorysam_ros.bags.deliver_layout import coded, decoded, pinhole, places

from .conftest import MAKE, MS, SENSORS, START_NS, stamps, truth_at, write_drive

TOPIC = ["--topic", f"events:={SENSORS['event'][3]}"]
SIZE = (scene.CAMERA.height, scene.CAMERA.width)


def pixels(path) -> np.ndarray:
    return np.array(Image.open(path))


def test_label_codes_there_and_back():
    ids = np.array([[0, 24, 255]], np.uint8)
    np.testing.assert_array_equal(coded(ids)[..., 0], [[1, 25, 255]])
    np.testing.assert_array_equal(decoded(coded(ids)), ids)
    np.testing.assert_array_equal(decoded(np.zeros((1, 1, 3), np.uint8)), [[255]])


def test_delivers_camera():
    camera = pinhole(1042, 1042)
    assert camera.fx == camera.fy == pytest.approx(512, abs=0.05)
    assert (camera.cx, camera.cy) == (521, 521)


def test_a_bag_becomes_what_the_model_would_have_seen(drive, tmp_path, capsys):
    root = tmp_path / "set"
    words = ["--labels", "/truth/labels", "--split", "val", "--every", "3"]
    assert main(["bag-to-dataset", str(drive), str(root), *TOPIC, *words]) == 0
    assert "wrote 10 sets of image, depth, event, lidar" in capsys.readouterr().out
    found = list(places(root))
    assert [p.number for p in found] == [f"{n:06d}" for n in range(10)]
    assert {p.folder for p in found} == {"unknown/val/drive"}
    modalities = {m.name: m for m in deliver_modalities("log_depth")}
    for place, stamp in list(zip(found, stamps("image", 3.0)[::3], strict=True))[::4]:
        used = {n: min(stamps(n, 3.0), key=lambda s: abs(s - stamp)) for n in SENSORS}
        frames = scene.frames_at(_Contract(modalities), SIZE, used)
        for name, folder in (
            ("image", "img"),
            ("depth", "depth"),
            ("event", "event"),
            ("lidar", "lidar"),
        ):
            np.testing.assert_array_equal(pixels(root / place.file(folder)), frames[name].numpy())
        np.testing.assert_array_equal(
            decoded(pixels(root / place.file("semantic"))), truth_at(stamp)
        )
    (about,) = json.loads((root / "sequences.json").read_text()).values()
    assert list(about["stamps_ns"].values()) == stamps("image", 3.0)[::3]
    assert about["camera"]["fx"] == scene.CAMERA.fx


class _Contract:
    def __init__(self, modalities) -> None:
        self.modality = modalities.__getitem__


def test_several_bags_go_into_one_data_set_but_none_twice(drive, tmp_path, capsys):
    root = tmp_path / "set"
    command = ["bag-to-dataset", str(drive), str(root), *TOPIC, "--every", "10"]
    assert main([*command, "--sequence", "one", "--condition", "night"]) == 0
    assert main([*command, "--sequence", "two", "--condition", "fog", "--depth", "hha"]) == 0
    capsys.readouterr()
    before = sorted(p for p in root.rglob("*"))
    assert main([*command, "--sequence", "one", "--condition", "night"]) == 2
    assert "one exists already; give another --sequence" in capsys.readouterr().err
    assert sorted(p for p in root.rglob("*")) == before
    assert {p.folder for p in places(root)} == {"night/train/one", "fog/train/two"}
    assert set(json.loads((root / "sequences.json").read_text())) == {
        "night/train/one",
        "fog/train/two",
    }
    assert (root / "hha" / "fog").is_dir() and not (root / "depth" / "fog").exists()


def test_incomplete_sets_are_left_out_and_counted(drive, tmp_path, capsys):
    words = ["--drop", "lidar@1-2", "--size", "64x32"]
    assert main(["bag-to-dataset", str(drive), str(tmp_path / "set"), *TOPIC, *words]) == 0
    told = capsys.readouterr().out
    assert "wrote 19 sets" in told and "left out 11 sets: without lidar" in told
    assert pixels(next((tmp_path / "set" / "lidar").rglob("*.png"))).shape == (32, 64, 3)


def test_conditions_and_failures_of_the_bag_name_the_folders(tmp_path):
    said = MAKE("std_msgs/msg/String", data="rain_lidarjitter")
    path = write_drive(tmp_path / "drive", 0.5, extra=[(START_NS, "/truth/condition", said)])
    words = ["--labels", "/truth/labels"]
    assert main(["bag-to-dataset", str(path), str(tmp_path / "set"), *TOPIC, *words]) == 0
    assert {p.folder for p in places(tmp_path / "set")} == {"rain/train/drive_lidarjitter"}


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--drop", "lidar"], "no set of .* can be written: 30 without lidar"),
        (["--size", "big"], "give width x height"),
        (["--topic", "image:="], "no colour images"),
    ],
)
def test_errors_leave_no_frames(drive, tmp_path, capsys, words, complaint):
    import re

    root = tmp_path / "set"
    assert main(["bag-to-dataset", str(drive), str(root), *TOPIC, *words]) == 2
    assert re.search(complaint, " ".join(capsys.readouterr().err.split()))
    assert not root.exists()


@pytest.mark.parametrize("there_before", [True, False])
def test_an_interrupted_export_leaves_nothing(drive, tmp_path, stopped_at_third_set, there_before):
    root = tmp_path / "set"
    if there_before:
        root.mkdir()
    assert main(["bag-to-dataset", str(drive), str(root), *TOPIC]) == 130
    assert len(stopped_at_third_set) == 3
    assert list(tmp_path.rglob("*")) == [root] * there_before


def test_a_data_set_becomes_a_bag_and_the_same_data_set_again(drive, tmp_path, capsys):
    """Frames survive the way through messages: the bag tells what the images told."""
    first, bag, second = tmp_path / "first", tmp_path / "drive.mcap", tmp_path / "second"
    words = ["--every", "5", "--condition", "night"]
    export = ["--labels", "/truth/labels", "--split", "test", *words, *TOPIC]
    assert main(["bag-to-dataset", str(drive), str(first), *export]) == 0
    assert main(["dataset-to-bag", str(first), str(bag), "--split", "test"]) == 0
    assert "6 sets, 43 messages" in capsys.readouterr().out
    again = ["--labels", "/ground_truth/labels", "--split", "test", "--sequence", "drive"]
    assert main(["bag-to-dataset", str(bag), str(second), *again]) == 0
    files = sorted(p.relative_to(first) for p in first.rglob("*.png"))
    assert files == sorted(p.relative_to(second) for p in second.rglob("*.png"))
    assert len(files) == 6 * 5
    for file in files:
        np.testing.assert_array_equal(pixels(first / file), pixels(second / file), str(file))
    one, other = ((f / "sequences.json").read_text() for f in (first, second))
    assert (
        json.loads(one)["night/test/drive"]["stamps_ns"]
        == (json.loads(other)["night/test/drive"]["stamps_ns"])
    )


def test_lidar_frames_there_and_back():
    local = np.random.default_rng(5)
    camera = pinhole(200, 120)
    frame = np.where(local.random((120, 200)) < 0.1, local.integers(1, 100, (120, 200)), 0)
    frame = frame.astype(np.uint8)[..., None].repeat(3, axis=2)
    xyz = points_of(frame, camera)
    modality = deliver_modalities()[3]
    drawn = draw(modality, PointsReading(xyz, np.eye(4)), camera, (120, 200)).pixels.numpy()
    np.testing.assert_array_equal(drawn, frame)


def test_the_real_layout(shared_data, tmp_path, capsys):
    root = shared_data / "deliver_like" / "DELIVER"
    path = tmp_path / "bag.mcap"
    assert main(["dataset-to-bag", str(root), str(path), "--rate", "5"]) == 0
    count = len(list(places(root)))
    with Bag(path) as bag:
        assert bag.topics["/camera/image"].count == count == 10
        times = [raw.time_ns for raw in bag.messages({"/camera/image"})]
    assert set(np.diff(times)) <= {200 * MS, 2000 * MS}


def test_what_is_no_data_set(tmp_path, capsys):
    assert main(["dataset-to-bag", str(tmp_path), str(tmp_path / "bag")]) == 2
    assert "_rgb_front.png" in capsys.readouterr().err
    folder = tmp_path / "img" / "sun" / "val" / "a"
    folder.mkdir(parents=True)
    (folder / "000000_rgb_front.png").write_bytes(b"no image")
    assert main(["dataset-to-bag", str(tmp_path), str(tmp_path / "bag")]) == 2
    assert "000000_rgb_front.png cannot be read" in capsys.readouterr().err
    assert not (tmp_path / "bag").exists()
