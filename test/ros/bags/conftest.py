"""A drive of four sensors with different rates, as a bag; and the instant model of fake_model."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import scene

from memorysam_core.architecture import Architecture
from memorysam_core.checkpoint import build_model, save_checkpoint
from memorysam_core.contract import InputContract, deliver_modalities
from memorysam_core.labels import DELIVER
from memorysam_ros.bags import BagWriter
from memorysam_ros.bags.types import typestore
from memorysam_ros.conversions import bag_messages
from memorysam_ros.pipeline import Pipeline

START_NS = 1_700_000_000_000_000_000
MS = 1_000_000
# sensor: period, phase, latency in ms, topic
SENSORS = {
    "image": (100, 0, 5, "/front/image_raw"),
    "depth": (33, 7, 12, "/front/depth/image_raw"),
    "event": (50, 20, 2, "/event_camera/events_image"),
    "lidar": (100, 13, 60, "/lidar/points"),
}
MAKE = bag_messages(typestore())


def stamps(sensor: str, seconds: float) -> list[int]:
    period, phase, _, _ = SENSORS[sensor]
    return [START_NS + t * MS for t in range(phase, round(seconds * 1000), period)]


def truth_at(stamp_ns: int) -> np.ndarray:
    """True ids at the camera's size, with some pixels unlabelled."""
    rng = np.random.default_rng(stamp_ns // 1000)
    ids = rng.integers(0, 25, (scene.CAMERA.height, scene.CAMERA.width), np.uint8)
    ids[:5] = 255
    return ids


def write_drive(path: Path, seconds: float = 3.0, storage: str | None = None, extra=()) -> Path:
    """The bag; ``extra`` are more lines of (time, topic, message)."""
    lines = list(extra)
    for sensor, (_, _, latency, topic) in SENSORS.items():
        for stamp in stamps(sensor, seconds):
            lines.append((stamp + latency * MS, topic, scene.message_at(sensor, stamp, MAKE)))
    with BagWriter(path, storage) as writer:
        outputs = writer.messages
        pose = (0, "camera", "lidar", scene.POSE)
        writer.write("/tf_static", outputs.transforms([pose]), START_NS, latched=True)
        for stamp in stamps("image", seconds):
            info = outputs.camera_info(outputs.header(stamp, "camera"), scene.CAMERA)
            lines.append((stamp + 5 * MS, "/front/camera_info", info))
            labels = outputs.labels(outputs.header(stamp, "camera"), truth_at(stamp))
            lines.append((stamp, "/truth/labels", labels))
        for time_ns, topic, message in sorted(lines, key=lambda line: line[0]):
            writer.write(topic, message, time_ns)
    return path


@pytest.fixture(params=["Ctrl-C", "SIGTERM"])
def stopped_at_third_set(request, monkeypatch) -> list:
    """Whoever works on a bag is told to end in its third set; the sets that it worked on."""
    process, sets = Pipeline.process, []

    def interrupted(self, matched):
        sets.append(matched)
        if len(sets) == 3:
            if request.param == "Ctrl-C":
                raise KeyboardInterrupt
            os.kill(os.getpid(), signal.SIGTERM)
        return process(self, matched)

    monkeypatch.setattr(Pipeline, "process", interrupted)
    return sets


@pytest.fixture(scope="session")
def drive(tmp_path_factory) -> Path:
    return write_drive(tmp_path_factory.mktemp("drive") / "drive")


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "nano.safetensors"
    contract = InputContract(deliver_modalities("log_depth"), DELIVER, (64, 96))
    save_checkpoint(path, build_model(Architecture("nano", num_classes=25)), contract)
    return str(path)
