"""The frames that a model would see of a drive, drawn by the code that draws a robot's."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from memorysam_core.frames.depth import register
from memorysam_core.frames.draw import draw
from memorysam_core.frames.readings import (
    DepthReading,
    EventsReading,
    ImageReading,
    PointsReading,
    Reading,
)
from memorysam_core.representations import (
    EventPolarity,
    Hha,
    LidarRange,
    LogDepth,
    Representation,
    Rgb,
)
from memorysam_training.simulation.drive import Drive, Shot, stamp_ns

FRONT_RAD = 1.0
"""Half the sector of a LiDAR's turn that is worth simulating for a frame: beyond the view."""

FRAMES: dict[str, Representation] = {
    "img": Rgb(),
    "depth": LogDepth(),
    "hha": Hha(),
    "lidar": LidarRange(),
    "event": EventPolarity(),
}
"""DELIVER's folders, and how what is in them is drawn."""


def camera_frames(
    drive: Drive, t: float, folders: Iterable[str] = tuple(FRAMES)
) -> tuple[dict[str, np.ndarray], Shot]:
    """Frames by DELIVER's folder names, each uint8 (H, W, 3) at the camera's size, and the shot.

    All sensors measure at the camera's moment ``t``.
    """
    rig, camera = drive.rig, drive.rig.camera
    shot = drive.camera(t)
    readings: dict[str, Reading] = {"img": ImageReading(shot.image)}
    wanted = tuple(folders)
    if "depth" in wanted or "hha" in wanted:
        taken = DepthReading(drive.depth(t), rig.depth_camera, rig.camera_from_depth)
        depth = DepthReading(register(taken, camera).numpy())  # once for both
        readings |= {"depth": depth, "hha": depth}
    if "lidar" in wanted:
        scan = drive.lidar(t, FRONT_RAD)
        readings["lidar"] = PointsReading(scan.xyz, rig.camera_from_lidar)
    if "event" in wanted:
        e = drive.events(t)
        readings["event"] = EventsReading(e.t_ns, e.x, e.y, e.p, e.width, e.height)
    size = (camera.height, camera.width)
    frames = {
        name: draw(FRAMES[name], readings[name], camera, size, stamp_ns(t)).pixels.numpy()
        for name in wanted
    }
    return frames, shot
