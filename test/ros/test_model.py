"""How a node gets its model: checkpoints and exported files, and code for what is fed to it."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import rclpy
import scene
import torch
from rclpy.context import Context
from rclpy.parameter import Parameter
from rig import S
from test_node_lifecycle import QUICK, Robot

from memorysam_core.architecture import SIZES, Architecture
from memorysam_core.checkpoint import build_model, load_checkpoint, save_checkpoint
from memorysam_core.contract import InputContract, deliver_modalities
from memorysam_core.labels import numbered
from memorysam_core.segmenter import Segmenter
from memorysam_ros import model
from memorysam_ros.conversions import label_ids
from memorysam_ros.parameters import from_values
from memorysam_ros.segment_node import SegmentNode

SIZE = (32, 64)
CONTRACT = InputContract(deliver_modalities("log_depth"), numbered(5), SIZE)
PICO = dataclasses.replace(
    SIZES["nano"], embed_dim=16, stages=(1, 1, 1, 1), global_blocks=(2,), windows=(8, 4, 4, 4),
    model_dim=32, memory_dim=16, memory_layers=1, memory_feedforward=32, decoder_feedforward=32,
)  # fmt: skip
"""Quick to compile."""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SIZES, "pico", PICO)
        torch.manual_seed(0)
        network = build_model(Architecture("pico", num_classes=5))
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.05)
        path = tmp_path_factory.mktemp("weights") / "pico.safetensors"
        yield save_checkpoint(path, network, CONTRACT)


class Recorder:
    """Stands in for a Segmenter; keeps what it was asked to prepare."""

    contract = CONTRACT

    def __init__(self, can_run=(1, 2, 3, 4)) -> None:
        self.engine = SimpleNamespace(
            can_run=lambda length: length in can_run, prepare_in_background=self._later
        )

    def warm_up(self, subsets, lengths, others) -> None:
        self.subsets, self.lengths, self.others = list(map(tuple, subsets)), set(lengths), others

    def _later(self, lengths) -> None:
        self.later = set(lengths)


@pytest.mark.parametrize(
    ("settings", "now", "later"),
    [
        ({}, {3, 4}, {1, 2}),
        ({"prepare": "all"}, {1, 2, 3, 4}, set()),
        ({"event.policy": "unused", "depth.policy": "unused"}, {1, 2}, set()),
        ({"event.policy": "unused"}, {2, 3}, {1}),
        ({f"{name}.policy": "unused" for name in ("depth", "event", "lidar")}, {1}, set()),
    ],
)
def test_code_is_made_for_as_many_sensors_as_will_be_fed(settings, now, later):
    segmenter, parameters = Recorder(), from_values(settings)
    model.warm_up(segmenter, parameters)
    assert (segmenter.lengths, segmenter.later, segmenter.others) == (now, later, False)
    assert {len(subset) for subset in segmenter.subsets} == now
    unused = {name.partition(".")[0] for name, value in settings.items() if value == "unused"}
    assert not {name for subset in segmenter.subsets for name in subset} & unused


def test_what_an_exported_file_cannot_run_is_not_tried():
    segmenter = Recorder(can_run=(4,))
    model.warm_up(segmenter, from_values({}))
    assert segmenter.subsets == [CONTRACT.names]


def test_device_memory_is_that_of_the_models_device(monkeypatch):
    bytes_of = {"cuda:0": 1, "cuda:1": 7 * 2**20}
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: bytes_of[str(device)])
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 9 * 2**20)
    segmenter = SimpleNamespace(device="cuda:1", prepared=())
    assert model.facts_now(segmenter) == {"GPU memory (MB)": "7", "GPU memory, peak (MB)": "9"}
    assert model.facts_now(SimpleNamespace(device="cpu", prepared=("encode1",))) == {
        "prepared": "encode1"
    }


def parameters_of(path, **settings) -> dict:
    return {
        "checkpoint": str(path),
        "device": "cpu",
        "event.source": "image",
        "lidar.camera_from_lidar": [*scene.POSE[:3, 3].tolist(), 0.0, 0.0, 0.0, 1.0],
        **settings,
    }


def labels_through_node(path, **settings) -> tuple[np.ndarray, dict[str, str]]:
    """Labels of one image, and the facts in the diagnostics."""
    context = Context()
    rclpy.init(context=context)
    robot = Robot(context)
    values = parameters_of(path, **QUICK, **settings)
    overrides = [Parameter(name, value=value) for name, value in values.items()]
    node = SegmentNode(context=context, parameter_overrides=overrides)
    try:
        robot.executor.add_node(node)
        assert node.start(), node.why_not
        robot.drive(node, images=1)
        (status, *_) = node._session.statuses(
            {**node._facts, **model.facts_now(node._pipeline.segmenter)}
        )
        return label_ids(robot.received[0]), dict(status.values)
    finally:
        robot.executor.remove_node(node)
        node.destroy_node()
        robot.close()
        rclpy.shutdown(context=context)


ALONE = {f"{name}.policy": "unused" for name in ("depth", "event", "lidar")}
"""Only the camera is fed."""


def labels_of(path) -> np.ndarray:
    """Of the same image, by the checkpoint itself."""
    stamp = S + 100_000_000  # the robot's first
    frames = scene.frames_at(CONTRACT, SIZE, {"image": stamp})
    return Segmenter(path, "cpu", "fp32").segment(frames, (96, 160)).labels


def test_a_checkpoint_labels_through_the_node(checkpoint):
    labels, facts = labels_through_node(checkpoint, precision="fp32")
    np.testing.assert_array_equal(labels, labels_of(checkpoint))
    assert len(np.unique(labels)) > 1
    assert facts["checkpoint"].startswith(f"{checkpoint} sha256 ")
    assert facts["engine"].startswith("eager, torch")
    assert facts["modalities"] == "image, depth, event, lidar"


@pytest.mark.timeout(900)  # some seconds of exporting, on a machine that is not busy
def test_an_onnx_file_labels_through_the_node(checkpoint, tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from memorysam_core.engines.export import export

    path = tmp_path / "robot.onnx"
    export(load_checkpoint(checkpoint), path, lengths=[1], device="cpu", precision="fp32")
    labels, facts = labels_through_node(path, **ALONE)
    assert (labels == labels_of(checkpoint)).mean() > 0.999
    assert facts["engine"].startswith("onnx")
    assert "sequence1 in" in facts["prepared"]


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("kind", ["compiled", "pt2"])
def test_compiled_code_labels_through_the_node(checkpoint, tmp_path, monkeypatch, kind):
    """One sensor is fed, so code for one sensor is all that is made."""
    from memorysam_core.engines.export import export

    monkeypatch.setenv("TORCHINDUCTOR_DEBUG_COMPILE", "1")
    if kind == "pt2":
        path = tmp_path / "robot.pt2"
        export(load_checkpoint(checkpoint), path, lengths=[1], device="cpu", precision="fp32")
        labels, facts = labels_through_node(path, **ALONE)
    else:
        labels, facts = labels_through_node(
            checkpoint, engine="compiled", precision="fp32", **ALONE
        )
    assert (labels == labels_of(checkpoint)).mean() > 0.999
    made = [fact.split()[0] for fact in facts["prepared"].split("; ")]
    assert sorted(made) == ["encode1", "sequence1"]


def test_a_file_that_cannot_be_used_is_an_error_that_names_it(tmp_path):
    for path in (tmp_path / "none.safetensors", tmp_path / "none.pt2"):
        with pytest.raises((OSError, ValueError), match="none"):
            model.load_model(from_values(parameters_of(path)))
    with pytest.raises(ValueError, match="parameter checkpoint is empty"):
        model.load_model(from_values({}))
