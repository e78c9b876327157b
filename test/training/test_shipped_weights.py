"""The weights that ship, on a simulated scene: 16 bits give the labels of 32."""

from __future__ import annotations

import pytest

from memorysam_core.checkpoint import SHIPPED
from memorysam_core.segmenter import Segmenter

pytest.importorskip("open3d", reason="the simulator makes the scene")
from memorysam_training.simulation.drive import Drive
from memorysam_training.simulation.frames import camera_frames
from memorysam_training.simulation.rig import Rig

SIZE = (448, 256)
NAMES = {"img": "image", "hha": "depth", "event": "event", "lidar": "lidar"}


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_labels_of_16_bits_agree_with_fp32(precision: str) -> None:
    rig = Rig().replace(image_size=SIZE, depth_size=SIZE, event_size=SIZE)
    drawn, _ = camera_frames(Drive(3, 2.0, ("night",), (), rig), 1.0, NAMES)
    frames = {NAMES[name]: pixels for name, pixels in drawn.items()}
    precise = Segmenter(SHIPPED, "cpu", "fp32").segment(frames).labels
    rounded = Segmenter(SHIPPED, "cpu", precision).segment(frames).labels
    agreement = (precise == rounded).mean()
    print(f"{precision} and fp32 labels are equal on {agreement:.2%} of the pixels")
    assert agreement >= 0.99
