from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from memorysam_core.frames.draw import draw
from memorysam_core.frames.readings import DepthReading
from memorysam_training.simulation import dataset, frames
from memorysam_training.simulation.conditions import FAILURES, WEATHERS
from memorysam_training.simulation.drive import Drive

FRAMES = 6


@pytest.fixture(scope="module")
def written(tmp_path_factory, rig):
    root = tmp_path_factory.mktemp("set") / "worlds"
    dataset.export(root, FRAMES, 3, ("cloud", "night"), rig, 1)
    return root


def files(root, folder):
    return sorted(p.relative_to(root / folder) for p in (root / folder).rglob("*.png"))


def test_all_folders_hold_the_same_samples_under_delivers_names(written):
    stems = [str(p).removesuffix("_rgb_front.png") for p in files(written, "img")]
    assert len(stems) == FRAMES
    endings = {
        "depth": "depth", "hha": "depth", "lidar": "lidar", "event": "event",
        "semantic": "semantic",
    }  # fmt: skip
    for folder, ending in endings.items():
        names = [str(p).removesuffix(f"_{ending}_front.png") for p in files(written, folder)]
        assert names == stems
    condition, split, sequence, number = Path(stems[0]).parts
    assert condition in WEATHERS
    assert split in dataset.SPLITS
    assert sequence.startswith("world_")
    assert number.isdigit()


def test_labels_are_raw_ids_from_one_in_the_red_channel(written):
    for path in (written / "semantic").rglob("*.png"):
        image = np.array(Image.open(path))
        assert image.shape[2] == 3
        assert image[..., 0].min() >= 1
        assert image[..., 0].max() <= 25


def test_depth_is_registered_for_both_of_its_frames_as_for_each(rig):
    drive = Drive(3, 2.0, ("sun",), (), rig)
    drawn, _ = frames.camera_frames(drive, 1.0, ("depth", "hha"))
    reading = DepthReading(drive.depth(1.0), rig.depth_camera, rig.camera_from_depth)
    for folder, pixels in drawn.items():
        alone = draw(frames.FRAMES[folder], reading, rig.camera, pixels.shape[:2])
        np.testing.assert_array_equal(pixels, alone.pixels)


def test_the_same_seed_writes_the_same_bytes(written, tmp_path, rig):
    plan = dataset.plan(tmp_path / "again", FRAMES, 3, ("cloud", "night"), rig)
    dataset.write_sequence(plan[0])
    again = sorted((tmp_path / "again").rglob("*.png"))
    assert again
    for path in again:
        relative = path.relative_to(tmp_path / "again")
        assert path.read_bytes() == (written / relative).read_bytes()


def test_splits_share_no_world_and_every_failure_occurs(rig, tmp_path):
    plan = dataset.plan(tmp_path, 2000, 0, tuple(WEATHERS), rig)
    worlds = {split: {s.seed for s in plan if s.split == split} for split in dataset.SPLITS}
    assert not worlds["train"] & worlds["test"]
    assert not worlds["train"] & worlds["val"]
    assert not worlds["val"] & worlds["test"]
    assert sum(s.frames for s in plan) == 2000
    for split in dataset.SPLITS:
        assert {s.condition for s in plan if s.split == split} == set(WEATHERS)
    failing = [s for s in plan if s.failure]
    assert 0.15 < len(failing) / len(plan) < 0.35
    assert {s.failure for s in failing} == set(FAILURES)
    assert all(s.failure in s.name for s in failing)


def test_too_few_frames_are_refused(rig, tmp_path):
    with pytest.raises(ValueError, match="give at least 5"):
        dataset.plan(tmp_path, 2, 0, ("sun",), rig)
