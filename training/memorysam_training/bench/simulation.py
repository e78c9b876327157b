"""The simulator: sets of readings a second, and what occlusion removal does in its worlds."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from memorysam_core.bench.removal import removal_rows
from memorysam_core.bench.row import Row
from memorysam_core.frames.readings import PointsReading
from memorysam_training.simulation.conditions import WEATHERS
from memorysam_training.simulation.drive import Drive
from memorysam_training.simulation.frames import FRONT_RAD
from memorysam_training.simulation.parallel import ordered
from memorysam_training.simulation.rig import Rig

SETS = 6
"""Sets that each process simulates and is timed for."""


@dataclass(frozen=True)
class Lap:
    """Sets of one world to time."""

    seed: int
    condition: str
    rig: Rig
    sets: int


_FIRST_WORLD = 100
"""Worlds from here on had no part in choosing the constants of the occlusion removal."""


def rows(device: str, quick: bool) -> Iterator[Row]:
    """Sets a second on all cores, and occlusion figures; on the CPU whatever the device."""
    size = (96, 64) if quick else (640, 384)
    rig = Rig(image_size=size, depth_size=size, event_size=size)
    cores, sets = (1, 1) if quick else (os.cpu_count() or 1, SETS)
    for condition in ("sun",) if quick else WEATHERS:
        laps = [Lap(seed, condition, rig, sets) for seed in range(cores)]
        times = list(ordered(drive_lap, laps, cores))
        detail = f"{condition}, {size[0]} x {size[1]}, image, depth, LiDAR, events and labels"
        yield Row(
            f"simulated sets a second, {cores} processes",
            sum(sets / elapsed for elapsed, _ in times), "sets/s", detail,
        )  # fmt: skip
        busy = sum(cpu for _, cpu in times) / (cores * sets)
        yield Row("processor time of a simulated set", busy, "s", detail)
    worlds = 1 if quick else 12
    setting = f"{2 * worlds} scans of {worlds} worlds, LiDAR {rig.lidar_up_m} m above and behind"
    yield from removal_rows(_scans(rig, worlds), rig.camera, setting)


def drive_lap(lap: Lap) -> tuple[float, float]:
    """Seconds, elapsed and of the processor, that the sets of a lap take.

    The world stands before, and textures are made. Other work on the machine adds to the first.
    """
    drive = Drive(lap.seed, 10.0, (lap.condition,), (), lap.rig)
    complete_set(drive, 0.5)
    start, start_cpu = time.perf_counter(), time.process_time()
    for k in range(lap.sets):
        complete_set(drive, 1.0 + k)
    return time.perf_counter() - start, time.process_time() - start_cpu


def complete_set(drive: Drive, t: float) -> None:
    """One reading of each sensor, and the labels."""
    drive.camera(t)
    drive.events(t)
    drive.depth(t)
    drive.lidar(t)


def _scans(rig: Rig, worlds: int) -> Iterator[tuple[PointsReading, np.ndarray]]:
    """Two scans of each world, and which of their points the camera cannot see."""
    for seed in range(_FIRST_WORLD, _FIRST_WORLD + worlds):
        drive = Drive(seed, 5.0, ("sun",), (), rig)
        for t in (2.0, 4.0):
            scan = drive.lidar(t, FRONT_RAD)
            yield PointsReading(scan.xyz, rig.camera_from_lidar), ~drive.visible(scan.xyz, t)
