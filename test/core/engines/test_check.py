"""Compiled code that computes something else than the model is never used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from memorysam_core.checkpoint import load_checkpoint
from memorysam_core.contract import InputContract, deliver_modalities
from memorysam_core.engines import onnx_files
from memorysam_core.engines.check import refuse_wrong
from memorysam_core.engines.compiled import CACHE_VARIABLE
from memorysam_core.engines.compiler import sound_options
from memorysam_core.engines.eager import Eager
from memorysam_core.engines.export import export
from memorysam_core.engines.graphs import Graph, Modules, Shapes
from memorysam_core.labels import numbered
from memorysam_core.segmenter import Segmenter

GRAPH = Graph("encode", 2)
CONTRACT = InputContract(deliver_modalities(), numbered(5), (32, 64))


def test_rounding_is_let_through_and_anything_else_refused() -> None:
    wanted = torch.randn(1000, generator=torch.Generator().manual_seed(0)), torch.tensor(True)
    flag = torch.tensor(False)  # a gate at its threshold may fall to either side
    refuse_wrong(GRAPH, (wanted[0].bfloat16(), flag), wanted)
    for wrong in (wanted[0] * torch.nan, wanted[0].flip(0), wanted[0] * 0):
        with pytest.raises(ValueError, match="made of encode2 computes something else"):
            refuse_wrong(GRAPH, (wrong, flag), wanted)
    zeros = (torch.zeros(3),)
    refuse_wrong(GRAPH, zeros, zeros)


def test_wrong_code_stops_the_start_and_leaves_the_background_eager(
    checkpoint: Path,
    frames: dict[str, np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    def miscompile(module: torch.nn.Module, **options: object):
        def run(*inputs: Tensor) -> list[Tensor]:
            return [r * torch.nan if r.is_floating_point() else r for r in module(*inputs)]

        return run

    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    monkeypatch.setattr(torch, "compile", miscompile)
    compiled = Segmenter(checkpoint, "cpu", "fp32", engine="compiled")
    with pytest.raises(ValueError, match=r"relative difference nan\); use engine eager"):
        compiled.warm_up()
    expected = Segmenter(checkpoint, "cpu", "fp32").segment(frames)
    for _ in range(2):
        assert np.array_equal(compiled.segment(frames).labels, expected.labels)
        assert compiled.engine.wait(20) and not compiled.prepared
        compiled.forget()


@pytest.mark.parametrize(
    ("capability", "dtype", "options"),
    [
        ("AVX512", torch.bfloat16, {"cpp.simdlen": 256}),
        ("AVX512", torch.float32, {}),
        ("AVX2", torch.bfloat16, {}),
        ("DEFAULT", torch.float16, {}),
    ],
)
def test_narrow_vectors_where_wide_ones_are_wrong(
    monkeypatch: pytest.MonkeyPatch, capability: str, dtype: torch.dtype, options: dict
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert sound_options(Shapes((32, 32), 32, dtype, torch.device("cpu"))) == options
    assert sound_options(Shapes((32, 32), 32, dtype, torch.device("cuda"))) == {}


def test_an_export_that_computes_something_else_leaves_nothing(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def write(path: Path, modules: object, graphs: list[Graph], made_for: object) -> None:
        for graph in graphs:
            onnx_files.file_of(path, graph).touch()

    class Wrong(Eager):
        def make(self, graph: Graph):
            run = super().make(graph)
            return lambda *inputs: tuple(torch.zeros_like(result) for result in run(*inputs))

    def load(path: Path, made_for: object, shapes: Shapes) -> Wrong:
        assert len(list(tmp_path.iterdir())) == 2
        return Wrong(Modules(load_checkpoint(checkpoint).build().fuse(), CONTRACT, shapes.size))

    monkeypatch.setattr(onnx_files, "export", write)
    monkeypatch.setattr(onnx_files, "OnnxFiles", load)
    with pytest.raises(ValueError, match="made of encode2 computes something else"):
        export(load_checkpoint(checkpoint), tmp_path / "robot.onnx", lengths=[2])
    assert list(tmp_path.iterdir()) == []
