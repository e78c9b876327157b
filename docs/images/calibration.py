"""Draws calibration.jpg: the simulated drive's LiDAR over its image, right and wrong.

    .venv/bin/python docs/images/calibration.py

Each picture is what the node publishes as ``~/debug/lidar_overlay`` with such extrinsics.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from memorysam_core.contract import default_contract
from memorysam_ros.bags import Bag
from memorysam_ros.bags.dataset_export import Drawing
from memorysam_ros.bags.replay import Replay
from memorysam_ros.bags.topics import find
from memorysam_ros.bags.transforms import BagTransforms
from memorysam_ros.calibration import inverse
from memorysam_ros.conversions.outputs import quaternion_from_matrix
from memorysam_ros.parameters import from_values
from memorysam_ros.pipeline import Pipeline
from memorysam_ros.result import Result
from memorysam_training.simulation.bag import record
from memorysam_training.simulation.rig import Rig

SEED, SECONDS, MOMENT = 11, 1.0, 6
"""World, length of the drive, and which of its images is shown."""
CAPTION_PX = 22


def turned_by(degrees: float) -> np.ndarray:
    """A rotation about the camera's vertical axis, ``(4, 4)``."""
    angle, matrix = np.radians(degrees), np.eye(4)
    matrix[0, [0, 2]] = np.cos(angle), np.sin(angle)
    matrix[2, [0, 2]] = -np.sin(angle), np.cos(angle)
    return matrix


def poses(right: np.ndarray) -> dict[str, np.ndarray]:
    """``camera_from_lidar``, right and wrong, by caption."""
    shifted = right.copy()
    shifted[0, 3] += 0.5
    return {
        "right": right,
        "turned by 3 degrees": turned_by(3.0) @ right,
        "shifted by half a metre": shifted,
        "lidar_from_camera instead of camera_from_lidar": inverse(right),
    }


def moment(bag: Bag, camera_from_lidar: np.ndarray, number: int = MOMENT) -> Result:
    """What the node makes of one moment of a bag with such extrinsics."""
    pose = [*map(float, camera_from_lidar[:3, 3]), *quaternion_from_matrix(camera_from_lidar)]
    parameters = from_values({"event.source": "image", "lidar.camera_from_lidar": pose})
    pipeline = Pipeline(Drawing(default_contract(), (384, 640)), parameters)
    with BagTransforms(bag) as transforms:
        moments = list(Replay(bag, find(bag.topics.values(), {}), pipeline, transforms))
    result = moments[number].result
    assert result is not None, moments[number].why
    return result


def panel(caption: str, result: Result) -> Image.Image:
    """The points over the image, with a caption above."""
    picture = Image.fromarray(result.lidar_overlay())
    canvas = Image.new("RGB", (picture.width, picture.height + CAPTION_PX), "white")
    canvas.paste(picture, (0, CAPTION_PX))
    ImageDraw.Draw(canvas).text((6, 4), caption, fill="black")
    return canvas


def main(path: Path) -> None:
    """Simulates, draws, and prints how many points fall in the image."""
    with tempfile.TemporaryDirectory() as folder:
        drive = Path(folder, "drive.mcap")
        record(drive, SEED, SECONDS, ("sun",), (), Rig(), 1)
        panels = []
        with Bag(drive) as bag:
            for caption, pose in poses(Rig().camera_from_lidar).items():
                result = moment(bag, pose)
                points = result.points()
                assert points is not None
                print(f"{caption}: {len(points[0])} points in the image")
                panels.append(panel(caption, result))
    width, height = panels[0].size
    whole = Image.new("RGB", (2 * width, 2 * height), "white")
    for number, one in enumerate(panels):
        whole.paste(one, (number % 2 * width, number // 2 * height))
    whole.save(path, quality=85)


if __name__ == "__main__":
    main(Path(__file__).with_suffix(".jpg"))
