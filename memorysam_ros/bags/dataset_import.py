"""A data set in DELIVER's layout as a bag that can be replayed and played.

What a frame does not tell is taken as the frame has it: depth in the middle of its grey level,
LiDAR returns in the middle of their pixel, all of them seen from the camera's place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from memorysam_core.frames.camera import Camera
from memorysam_core.frames.depth import metres_from_grey
from memorysam_core.representations import LidarRange, LogDepth
from memorysam_ros.bags.deliver_layout import Place, decoded, pinhole, read_about, read_png
from memorysam_ros.bags.types import typestore
from memorysam_ros.bags.writer import BagWriter
from memorysam_ros.conversions import Outputs, bag_messages

CAMERA_FRAME, LIDAR_FRAME = "camera_optical_frame", "lidar"
START_NS = 1_700_000_000_000_000_000
GAP_NS = 2_000_000_000
"""Between sequences, so that nothing of one is matched with the next."""
TOPICS = {
    "img": "/camera/image",
    "depth": "/depth/image",
    "hha": "/depth/image",
    "event": "/events/image",
    "lidar": "/lidar/points",
    "semantic": "/ground_truth/labels",
}


def write(
    root: Path,
    sets: list[Place],
    writer: BagWriter,
    rate_hz: float,
    on_set: Callable[[], object] = lambda: None,
) -> None:
    """Writes the sets into a bag; ``on_set`` is called after each of them.

    Stamps and camera are those that the data set tells (one made by bag-to-dataset does), else
    ``rate_hz`` and DELIVER's camera. Raises ValueError for a file that is missing or no image.
    """
    about = read_about(root)
    stamps = _stamps(sets, rate_hz, about)
    outputs = writer.messages
    still = (min(stamps), CAMERA_FRAME, LIDAR_FRAME, np.eye(4))
    writer.write("/tf_static", outputs.transforms([still]), min(stamps), latched=True)
    folders = [folder for folder in TOPICS if (root / folder).is_dir()]
    if "depth" in folders and "hha" in folders:
        folders.remove("hha")
    for stamp_ns, place in sorted(zip(stamps, sets, strict=True), key=lambda item: item[0]):
        height, width, _ = read_png(root / place.file("img")).shape
        camera = _camera(about.get(place.folder, {}), width, height)
        header = outputs.header(stamp_ns, CAMERA_FRAME)
        writer.write("/camera/camera_info", outputs.camera_info(header, camera), stamp_ns)
        for folder in folders:
            pixels = read_png(root / place.file(folder))
            message = _message(folder, pixels, camera, outputs, stamp_ns)
            writer.write(TOPICS[folder], message, stamp_ns)
        condition = bag_messages(typestore())("std_msgs/msg/String", data=place.condition)
        writer.write("/ground_truth/condition", condition, stamp_ns)
        on_set()


def _message(
    folder: str, pixels: np.ndarray, camera: Camera, outputs: Outputs, stamp_ns: int
) -> Any:
    header = outputs.header(stamp_ns, LIDAR_FRAME if folder == "lidar" else CAMERA_FRAME)
    if folder in ("depth", "hha"):
        return outputs.depth(header, metres_from_grey(_grey(pixels), LogDepth()).numpy())
    if folder == "lidar":
        return outputs.points(header, points_of(pixels, camera))
    if folder == "semantic":
        return outputs.labels(header, decoded(pixels))
    return outputs.rgb(header, pixels)


def points_of(pixels: np.ndarray, camera: Camera) -> np.ndarray:
    """The returns in a LiDAR frame, uint8 ``(H, W, 3)``, as points, float32 ``(N, 3)``."""
    how = LidarRange()
    levels = pixels[..., 0]
    rays = camera.resized(levels.shape[1], levels.shape[0]).rays()[levels > 0]
    unit = rays / np.linalg.norm(rays, axis=1, keepdims=True)
    metres = (levels[levels > 0] + 0.5) * how.metres_per_level
    return (unit * np.minimum(metres, how.max_range_m)[:, None]).astype(np.float32)


def _grey(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels[..., 0]))


def _stamps(sets: list[Place], rate_hz: float, about: dict[str, dict[str, Any]]) -> list[int]:
    known = [about.get(p.folder, {}).get("stamps_ns", {}).get(p.number) for p in sets]
    if None not in known:
        return known
    return list(_invented(sets, round(1e9 / rate_hz)))


def _invented(sets: list[Place], period_ns: int) -> Iterator[int]:
    stamp_ns, before = START_NS, None
    for place in sets:
        if before is not None:
            stamp_ns += period_ns if place.folder == before else GAP_NS
        before = place.folder
        yield stamp_ns


def _camera(about: dict[str, Any], width: int, height: int) -> Camera:
    """That of the sequence, or DELIVER's."""
    if "camera" not in about:
        return pinhole(width, height)
    values = dict(about["camera"])
    for name in ("distortion", "shift_m"):
        values[name] = tuple(values[name])
    return Camera(**values).resized(width, height)
