"""Replay's figures are those of `memorysam evaluate` on the same frames."""

import json

import numpy as np
import pytest
import scene
import torch
from PIL import Image

from memorysam_core.architecture import Architecture
from memorysam_core.checkpoint import build_model, save_checkpoint
from memorysam_core.cli import main
from memorysam_core.contract import InputContract, deliver_modalities
from memorysam_core.labels import DELIVER
from memorysam_ros import conversions
from memorysam_ros.bags import Bag, BagWriter

from .test_replay_command import COMMAND

pytest.importorskip("memorysam_training")

OWN = (scene.CAMERA.height, scene.CAMERA.width)


def enlarged(drive, path, size):
    """The drive, seen by a camera of another size, with truth of that size."""
    height, width = size
    with Bag(drive) as bag, BagWriter(path) as writer:
        outputs = writer.messages
        for raw in bag.messages():
            if raw.topic not in ("/front/image_raw", "/front/camera_info", "/truth/labels"):
                writer.write_raw(raw.topic, raw.msgtype, raw.data, raw.time_ns)
                continue
            message = bag.deserialise(raw)
            header = message.header
            if raw.topic == "/front/camera_info":
                changed = outputs.camera_info(header, scene.CAMERA.resized(width, height))
            elif raw.topic == "/truth/labels":
                ids = Image.fromarray(conversions.label_ids(message))
                scaled = ids.resize((width, height), Image.Resampling.NEAREST)
                changed = outputs.labels(header, np.asarray(scaled))
            else:
                image = Image.fromarray(conversions.rgb(message))
                changed = outputs.rgb(header, np.asarray(image.resize((width, height))))
            writer.write(raw.topic, changed, raw.time_ns)
    return path


TIES = 3
"""Pixels whose two best classes are equal but for rounding, at most: either may win, since evaluate
runs several sets at once and replay one. A random model has one in some hundred thousand."""


@pytest.mark.parametrize(("camera", "network"), [(OWN, OWN), ((384, 640), (256, 448))])
def test_replay_and_evaluate_agree(drive, tmp_path, camera, network):
    """Of three models, one at least has no tie, and then they agree to 1e-6."""
    bag = drive if camera == OWN else enlarged(drive, tmp_path / "large", camera)
    data = str(tmp_path / "set")
    size = f"{network[1]}x{network[0]}"
    part = ["--labels", "/truth/labels", "--every", "6"]
    words = [str(bag), data, "--split", "test", "--size", size, *COMMAND[:2], *part]
    assert main(["bag-to-dataset", *words]) == 0
    labelled = 5 * 91 * 160 * camera[0] // OWN[0] * camera[1] // OWN[1]  # as conftest labels them
    for seed in range(3):
        folder = tmp_path / str(seed)
        mine, theirs = both(bag, data, part, network, seed, folder)
        assert mine["pixels"] == theirs["all"]["pixels"] == labelled
        assert theirs["size"] == list(camera)
        assert mine["accuracy"] == pytest.approx(theirs["all"]["accuracy"], abs=TIES / labelled)
        apart = [abs(mine[name] - theirs["all"][name]) for name in ("miou", "accuracy", "mean_f1")]
        apart += [abs(iou - theirs["classes"][name]["iou"]) for name, iou in mine["iou"].items()]
        if max(apart) <= 1e-6:
            return
    pytest.fail(f"the figures are apart by {max(apart)}")


def both(bag, data, part, network, seed, folder):
    """What replay and evaluate say of a random model."""
    torch.manual_seed(seed)
    contract = InputContract(deliver_modalities("log_depth"), DELIVER, network)
    folder.mkdir()
    checkpoint = str(folder / "nano.safetensors")
    save_checkpoint(checkpoint, build_model(Architecture("nano", num_classes=25)), contract)
    precise = ["--device", "cpu", "--precision", "fp32"]
    words = [str(bag), *COMMAND[:2], *part, *precise, "-o", str(folder / "replayed")]
    assert main(["replay", checkpoint, *words]) == 0
    words = [data, "--split", "test", *precise, "--out", str(folder / "evaluated")]
    assert main(["evaluate", checkpoint, *words]) == 0
    mine = json.loads((folder / "replayed" / "replay.json").read_text())["metrics"]
    return mine, json.loads(next((folder / "evaluated").glob("*.json")).read_text())
