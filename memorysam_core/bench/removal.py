"""How well occluded LiDAR returns are told from visible ones, against the truth of a ray cast."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from memorysam_core.bench.row import Row
from memorysam_core.frames import lidar
from memorysam_core.frames.camera import Camera
from memorysam_core.frames.readings import PointsReading
from memorysam_core.representations import LidarRange

_HOW = LidarRange(remove_occluded=False), LidarRange()


def removal_rows(
    scans: Iterable[tuple[PointsReading, np.ndarray]], camera: Camera, setting: str
) -> Iterator[Row]:
    """Shares over all points, and pixels, of some scans.

    Each comes with which of its points ``(N,)`` the camera cannot see, bool.
    """
    counted = []  # by scan: points occluded, removed, visible, lost
    drawn = np.zeros((2, 2))  # without and with the removal: pixels, and those of occluded points
    for reading, truth in scans:
        view = lidar.look(reading, camera)
        hidden, kept = truth[view.index.numpy()], view.visible.numpy()
        counted.append([m.sum() for m in (hidden, hidden & ~kept, ~hidden, ~hidden & ~kept)])
        for counts, how in zip(drawn, _HOW, strict=True):
            index = lidar.find_points(view, how)
            pixels = truth[index[index >= 0].numpy()]
            counts += len(pixels), pixels.sum()
    by_scan = np.array(counted)
    occluded, removed, visible, lost = np.maximum(by_scan.sum(0), (1, 0, 1, 0))
    least = 100 * (by_scan[:, 1] / np.maximum(by_scan[:, 0], 1)).min()
    most = 100 * (by_scan[:, 3] / np.maximum(by_scan[:, 2], 1)).max()
    detail = f"in the worst scan {least:.1f} %; {setting}"
    yield Row("occluded points removed", 100 * removed / occluded, "%", detail)
    detail = f"in the worst scan {most:.1f} %; {setting}"
    yield Row("visible points lost", 100 * lost / visible, "%", detail)
    before, after = 100 * drawn[:, 1] / np.maximum(drawn[:, 0], 1)
    detail = f"before the removal {before:.2f} %; {setting}"
    yield Row("occluded points among those drawn", after, "%", detail)
