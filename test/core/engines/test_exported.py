"""Exported engines say what the checkpoint says: AOTInductor packages and ONNX files."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load

from memorysam_core import architecture
from memorysam_core.checkpoint import CheckpointError, load_checkpoint
from memorysam_core.cli import main
from memorysam_core.engines import aoti, onnx_files
from memorysam_core.engines.export import Exported, export
from memorysam_core.engines.graphs import Graph
from memorysam_core.engines.load import build_modules
from memorysam_core.segmenter import Segmenter

SUBSETS = (("image", "lidar"), ("depth", "event"))
PACKAGE, ONNX = "robot.pt2", "robot.onnx"
only = functools.partial(pytest.mark.parametrize, "exported", indirect=True)
"""For tests of one form."""
FP32_AGREEMENT = 0.9999

pytestmark = pytest.mark.timeout(1500)  # a minute of compiling, on a machine that is not busy


@pytest.fixture(scope="module", params=[PACKAGE, ONNX])
def exported(
    request: pytest.FixtureRequest,
    checkpoint: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Exported:
    if request.param.endswith(".onnx"):
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
    folder = tmp_path_factory.mktemp("exported")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHINDUCTOR_DEBUG_COMPILE", "1")  # fast to compile, slow to run
        patch.setenv("ATEN_CPU_CAPABILITY", "default")  # no vectors; test_compiled.py has them
        return export(
            load_checkpoint(checkpoint), folder / request.param, lengths=[2],
            device="cpu", precision="fp32",
        )  # fmt: skip


def test_labels_are_the_checkpoints(
    exported: Exported, checkpoint: Path, frames: dict[str, np.ndarray]
) -> None:
    assert exported.agreement >= FP32_AGREEMENT
    robot, eager = Segmenter(exported.files[0], "cpu"), Segmenter(checkpoint, "cpu", "fp32")
    assert robot.contract == eager.contract and robot.precision == "fp32"
    robot.warm_up(lengths=[2])
    together = {"encode2"} if exported.files[0].name == PACKAGE else set()
    assert {str(p.graph) for p in robot.prepared} == {"encode1", "sequence2", *together}
    for subset in SUBSETS * 2:
        given = {name: frames[name] for name in subset}
        one, other = robot.segment(given), eager.segment(given)
        assert (one.labels == other.labels).mean() >= FP32_AGREEMENT
        assert np.abs(one.confidence.astype(int) - other.confidence).max() <= 1
        assert one.closed_gates == other.closed_gates and len(np.unique(one.labels)) > 1
        frames["image"] = 255 - frames["image"]


@only([PACKAGE])
def test_a_package_starts_without_pytorchs_compiler(exported: Exported) -> None:
    """Which takes longer to import than all else at a start."""
    program = f"""
import sys
import numpy as np
from memorysam_core import architecture
from memorysam_core.segmenter import Segmenter

architecture.SIZES["pico"] = architecture.{architecture.SIZES["pico"]!r}
robot = Segmenter({str(exported.files[0])!r}, "cpu")
black = np.zeros((*robot.size, 3), np.uint8)
robot.segment({{"image": black, "lidar": black}})
print({{"torch._inductor", "torch._dynamo"}} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr


def test_each_graph_gives_the_models_features_and_logits(
    exported: Exported, checkpoint: Path
) -> None:
    """All of them, with the sensors in any order: the agreement of a whole set needs only some."""
    contract = load_checkpoint(checkpoint).contract
    _, modules = build_modules(
        load_checkpoint(checkpoint), torch.device("cpu"), "fp32", contract.size
    )
    robot = Segmenter(exported.files[0], "cpu").engine.source
    for name in exported.made_for.graphs:
        graph = Graph.parse(name)
        given = modules.shapes.noise(graph)
        if graph.stage == "encode":
            given[1].copy_(torch.tensor([3, 1][: graph.frames]))
        with torch.inference_mode():
            results, expected = robot.make(graph)(*given), modules.of(graph)(*given)
        for result, wanted in zip(results, expected, strict=True):
            assert torch.allclose(result.float(), wanted.float(), rtol=1e-3, atol=1e-4)
    assert len(exported.made_for.graphs) == 2 + (exported.files[0].name == PACKAGE)


def test_a_length_that_was_not_exported_names_the_way(
    exported: Exported, frames: dict[str, np.ndarray]
) -> None:
    robot = Segmenter(exported.files[0], "cpu")
    with pytest.raises(CheckpointError, match="encode1, (encode2, )?sequence2"):
        robot.segment(frames)
    assert robot.segment({n: frames[n] for n in SUBSETS[0]}).modalities == SUBSETS[0]
    with pytest.raises(ValueError, match="holds compiled code only"):
        robot.model


def test_wrong_use_is_refused_with_the_command(exported: Exported) -> None:
    path = exported.files[0]
    with pytest.raises(CheckpointError, match="memorysam export pico.safetensors robot"):
        Segmenter(path, "cpu", size=(64, 64))
    with pytest.raises(CheckpointError, match="made for precision fp32, and is asked"):
        Segmenter(path, "cpu", "bf16")


def test_a_changed_checkpoint_beside_it_is_noticed(
    exported: Exported, checkpoint: Path, tmp_path: Path
) -> None:
    for file in exported.files:
        shutil.copy(file, tmp_path)
    shutil.copy(checkpoint, tmp_path)
    Segmenter(tmp_path / exported.files[0].name, "cpu")
    (tmp_path / checkpoint.name).write_bytes(b"trained anew")
    with pytest.raises(CheckpointError, match="made from pico.safetensors with sha256"):
        Segmenter(tmp_path / exported.files[0].name, "cpu")


@only([PACKAGE])
def test_weights_are_stored_once(exported: Exported, checkpoint: Path) -> None:
    with zipfile.ZipFile(exported.files[0]) as archive:
        constants = json.loads(archive.read(aoti.CONSTANTS))
        weights = load(archive.read(aoti.WEIGHTS))
    assert set(constants) == {"encode1", "encode2", "sequence2"}
    wanted = {where["name"] for graph in constants.values() for where in graph.values()}
    assert wanted == set(weights)
    stored = sum(weight.nbytes for weight in weights.values())
    assert 0.5 * checkpoint.stat().st_size < stored < 1.1 * checkpoint.stat().st_size


@only([ONNX])
def test_an_onnx_file_is_plain_onnx_with_fixed_shapes(exported: Exported) -> None:
    onnx = pytest.importorskip("onnx")
    assert [file.name for file in exported.files] == ["robot.onnx", "robot.sequence2.onnx"]
    for file, names in zip(exported.files, (("encode", 1), ("sequence", 2)), strict=True):
        proto = onnx.load(file)
        onnx.checker.check_model(proto)
        assert [i.name for i in proto.graph.input] == onnx_files.INPUTS[names[0]]
        first = proto.graph.input[0].type.tensor_type.shape.dim
        assert first[0].dim_value == names[1]


@only([ONNX])
def test_a_sequence_file_of_another_export_is_refused(exported: Exported, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    for file in exported.files:
        shutil.copy(file, tmp_path)
    beside = tmp_path / "robot.sequence2.onnx"
    proto = onnx.load(beside)
    told = json.loads(proto.metadata_props[0].value) | {"checkpoint_sha256": "0" * 64}
    onnx.helper.set_model_props(proto, {onnx_files.KEY: json.dumps(told)})
    onnx.save(proto, beside)
    robot = Segmenter(tmp_path / "robot.onnx", "cpu")
    black = np.zeros((32, 64, 3), np.uint8)
    with pytest.raises(CheckpointError, match="sequence2.onnx was made from"):
        robot.segment({"image": black, "depth": black})
    beside.unlink()
    with pytest.raises(CheckpointError, match="there is no robot.sequence2.onnx beside it"):
        robot.segment({"image": black, "depth": black})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["robot.trt"], "give one that ends in .pt2 or .onnx"),
        (["robot.onnx", "--format", "aoti"], "give one that ends in .pt2"),
        (["robot.onnx", "--precision", "bf16"], "give fp32, or fp16 for a GPU"),
        (["robot.pt2", "--lengths", "5"], "lengths are 5; give numbers from 1 to 4"),
        (["robot.pt2", "--lengths", "two"], "--lengths is 'two'; give numbers of sensors"),
        (["robot.pt2", "--modalities", "image,radar"], "knows no modality 'radar'"),
        (["robot.pt2", "--size", "100x64"], "not in multiples of 32"),
    ],
)
def test_the_command_refuses(
    checkpoint: Path, words: list[str], message: str, capsys: pytest.CaptureFixture
) -> None:
    assert main(["export", str(checkpoint), *words, "--device", "cpu"]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(("name", "others"), [(PACKAGE, "bf16 or fp32"), (ONNX, "fp32")])
def test_weights_that_overflow_in_fp16_are_refused(
    checkpoint: Path, tmp_path: Path, name: str, others: str
) -> None:
    large = load_checkpoint(checkpoint)
    large.state["no_mem_embed"].fill_(1e6)
    with pytest.raises(ValueError, match=f"overflow in fp16; give precision {others}$"):
        export(large, tmp_path / name, precision="fp16", device="cpu")
    assert list(tmp_path.iterdir()) == []


def test_fewer_modalities_and_another_size(checkpoint: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    out = tmp_path / "two.onnx"
    words = ["--modalities", "lidar,image", "--size", "32x32", "--lengths", "1"]
    assert main(["export", str(checkpoint), str(out), *words]) == 0
    robot = Segmenter(out, "cpu")
    assert robot.contract.names == ("image", "lidar") and robot.size == (32, 32)
    grey = {"lidar": np.full((32, 32, 3), 40, np.uint8)}
    eager = Segmenter(checkpoint, "cpu", "fp32", size=(32, 32))
    logits, _ = robot.logits(grey)
    assert torch.allclose(logits, eager.logits(grey)[0], atol=1e-4)
