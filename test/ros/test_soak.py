"""Ten thousand sets through the node and a real model: none is lost, and its memory stays flat."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import scene
import torch
from rig import NodeProcess, Rig

from memorysam_core.architecture import Architecture
from memorysam_core.checkpoint import build_model, save_checkpoint
from memorysam_core.contract import default_contract
from memorysam_ros.bench.node import rss_mb
from memorysam_ros.conversions import Outputs, ros_messages, stamp_ns

SETS, WARM_UP, EVERY = 10_000, 1000, 500
GROWTH_MB = 8.0
SIZE = (32, 64)
DIFFERENT = 16
"""Sets of messages that differ; over and over, so that making them costs no time."""


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    contract = default_contract().replace(size=SIZE)
    return save_checkpoint(
        tmp_path / "nano.safetensors", build_model(Architecture("nano")), contract
    )


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
def test_ten_thousand_sets(tmp_path: Path, checkpoint: Path) -> None:
    outputs = Outputs(ros_messages)
    order = ("lidar", "depth", "event", "image")
    sets = [{n: scene.message_at(n, 1000 * k) for n in order} for k in range(DIFFERENT)]
    rig = Rig()
    rig.subscribe_output("output/labels")
    node = NodeProcess(tmp_path, str(checkpoint))
    try:
        rig.wait_for_node()
        rig.send_info()
        used, begin = [], time.monotonic()
        for number in range(SETS):
            rig.clear()
            stamp = time.time_ns()
            for sensor, message in sets[number % DIFFERENT].items():
                message.header = outputs.header(stamp, message.header.frame_id)
                rig.send(sensor, stamp, message)
            rig.wait(rig.outputs, lambda: f"no labels of set {number}; {rig.seen()}")  # noqa: B023
            (labels,) = rig.outputs()
            assert stamp_ns(labels) == stamp
            if number >= WARM_UP and number % EVERY == 0:
                used.append(rss_mb(node.process.pid))
                print(f"{number} sets: {used[-1]:.1f} MB", flush=True)
        rate = SETS / (time.monotonic() - begin)
        print(
            f"{SETS} sets, none lost, {rate:.0f} a second: {used[0]:.1f} MB warm, "
            f"{used[-1]:.1f} in the end, most {max(used):.1f}"
        )
        assert max(used) - used[0] < GROWTH_MB
    finally:
        rig.close()
        assert node.stop() == 0, node.log
    assert "Traceback" not in node.log
