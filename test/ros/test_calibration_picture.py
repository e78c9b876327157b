"""The script that draws docs/images/calibration.jpg, on a drive that is quick to simulate."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from memorysam_ros.bags import Bag

pytest.importorskip("open3d")

from memorysam_training.simulation import rig as simulated
from memorysam_training.simulation.bag import record

SENSORS = simulated.Rig(
    image_size=(160, 96), depth_size=(80, 48), event_size=(60, 40), rings=32, columns=512
)


@pytest.fixture(scope="module")
def drive(tmp_path_factory):
    path = tmp_path_factory.mktemp("drive") / "drive.mcap"
    record(path, 11, 0.5, ("sun",), (), SENSORS, 1)
    return path


@pytest.fixture
def script(repository):
    path = repository / "docs" / "images" / "calibration.py"
    if not path.is_file():
        pytest.skip("installed without docs")
    spec = importlib.util.spec_from_file_location("calibration_picture", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_right_and_wrong_extrinsics_look_as_the_page_says(script, drive):
    poses = script.poses(SENSORS.camera_from_lidar)
    with Bag(drive) as bag:
        results = {name: script.moment(bag, pose, number=2) for name, pose in poses.items()}
    right, turned, shifted, inverted = results.values()
    count = {name: len(result.points()[0]) for name, result in results.items()}
    assert count["right"] > 200
    assert len(inverted.points()[0]) < 0.8 * count["right"]

    def columns(result, near: bool) -> float:
        """The middle of what is near, or far, in pixels."""
        xyz, _, _ = result.points()
        chosen = (xyz[:, 2] < 8) == near
        uv, _ = SENSORS.camera.project(xyz[chosen])
        return float(np.median(uv[:, 0]))

    # A rotation moves near and far alike, a translation what is near.
    by = {k: [abs(columns(r, n) - columns(right, n)) for n in (True, False)]
          for k, r in (("turned", turned), ("shifted", shifted))}  # fmt: skip
    assert by["turned"][1] > 2
    assert by["shifted"][0] > 2 * by["shifted"][1]
    picture = script.panel("right", right)
    assert picture.size == (160, 96 + script.CAPTION_PX)
