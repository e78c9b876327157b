"""Replay's figures are those of `memorysam evaluate` on the same frames."""

import json

import pytest
import scene

from memorysam_core.architecture import Architecture
from memorysam_core.checkpoint import build_model, save_checkpoint
from memorysam_core.cli import main
from memorysam_core.contract import InputContract, deliver_modalities
from memorysam_core.labels import DELIVER

from .test_replay_command import COMMAND

pytest.importorskip("memorysam_training")


def test_replay_and_evaluate_agree(drive, tmp_path):
    size = (scene.CAMERA.height, scene.CAMERA.width)
    contract = InputContract(deliver_modalities("log_depth"), DELIVER, size)
    checkpoint = str(tmp_path / "nano.safetensors")
    save_checkpoint(checkpoint, build_model(Architecture("nano", num_classes=25)), contract)
    part = ["--labels", "/truth/labels", "--every", "3"]
    precise = ["--device", "cpu", "--precision", "fp32"]

    replayed = tmp_path / "replayed"
    words = [str(drive), *COMMAND[:2], *part, *precise, "-o", str(replayed)]
    assert main(["replay", checkpoint, *words]) == 0
    mine = json.loads((replayed / "replay.json").read_text())["metrics"]

    data = str(tmp_path / "set")
    words = [str(drive), data, "--split", "test", *COMMAND[:2], *part]
    assert main(["bag-to-dataset", *words]) == 0
    words = [data, "--split", "test", *precise, "--out", str(tmp_path / "evaluated")]
    assert main(["evaluate", checkpoint, *words]) == 0
    theirs = json.loads(next((tmp_path / "evaluated").glob("*.json")).read_text())
    assert mine["pixels"] == theirs["all"]["pixels"] == 10 * 91 * 160  # as conftest labels them
    for name in ("miou", "accuracy", "mean_f1"):
        assert mine[name] == pytest.approx(theirs["all"][name], abs=1e-6)
    for name, iou in mine["iou"].items():
        assert iou == pytest.approx(theirs["classes"][name]["iou"], abs=1e-6)
