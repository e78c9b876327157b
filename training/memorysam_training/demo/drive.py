"""The drive of the demo: the weather turns, and the LiDAR dies for a while."""

from __future__ import annotations

import contextlib
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from memorysam_training import simulation
from memorysam_training.simulation.bag import Measurement, record
from memorysam_training.simulation.conditions import Fault
from memorysam_training.simulation.drive import STAMP_0_NS
from memorysam_training.simulation.rig import Rig, Timing

CONDITIONS = ("sun", "rain", "night")
CAMERA_HZ = 4.0
"""A pace at which two cores can both simulate the drive in a minute and label it in real time."""


@dataclass(frozen=True)
class DemoDrive:
    """What happens, and how finely it is seen."""

    seed: int = 7
    seconds: float = 20.0
    lidar_dies_s: float = 8.0
    lidar_lives_s: float = 13.0
    size: tuple[int, int] = (448, 256)
    """Width and height of the cameras."""

    def rig(self) -> Rig:
        """The simulator's vehicle, at the demo's pace."""
        rig = Rig(image_size=self.size, depth_size=self.size, event_size=self.size)
        paced = {
            name: Timing(CAMERA_HZ, timing.phase_s, timing.jitter_s, timing.latency_s)
            for name, timing in rig.timing.items()
            if name != "events"  # whose rate is also the length of their window
        }
        return rig.replace(timing={**rig.timing, **paced})

    def key(self) -> str:
        """Changes with the drive and with the simulator's source."""
        text = hashlib.sha256(repr((self, CONDITIONS, CAMERA_HZ)).encode())
        for source in sorted(Path(simulation.__path__[0]).rglob("*.py")):
            text.update(source.read_bytes())
        return text.hexdigest()[:16]


def simulated(drive: DemoDrive, cache: Path, processes: int) -> tuple[Path, bool]:
    """The drive as a bag, and whether it had been simulated before.

    It lies in ``cache`` under a name that changes with all that determines it; drives of an older
    simulator are removed.
    """
    path = cache / f"drive-{drive.key()}.mcap"
    if path.exists():
        return path, True
    cache.mkdir(parents=True, exist_ok=True)
    died = Fault("lidar", drive.lidar_dies_s, drive.lidar_lives_s)
    record(
        path,
        drive.seed,
        drive.seconds,
        CONDITIONS,
        (died,),
        drive.rig(),
        processes,
        needed,
    )
    for old in cache.glob("drive-*.mcap"):
        if old != path:
            with contextlib.suppress(OSError):
                old.unlink()
    return path, False


def needed(measurements: list[Measurement]) -> list[Measurement]:
    """All but the event windows that are not the nearest to any image."""
    images = np.array([m.t for m in measurements if m.sensor == "camera"])
    windows = [m for m in measurements if m.sensor == "events"]
    times = np.array([m.t for m in windows])
    near = {int(np.abs(times - t).argmin()) for t in images} if windows else set()
    kept = {windows[i].index for i in near}
    return [m for m in measurements if m.sensor != "events" or m.index in kept]


def seconds_of(stamp_ns: int) -> float:
    """The time of the drive that a stamp tells."""
    return (stamp_ns - STAMP_0_NS) / 1e9


def default_cache() -> Path:
    """Where this user's programs keep what they can make again."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "memorysam"
