"""Compiled code that computes something else than the model is never used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from memorysam_core.checkpoint import load_checkpoint
from memorysam_core.contract import InputContract, deliver_modalities
from memorysam_core.engines import check, onnx_files
from memorysam_core.engines.check import refuse_wrong, same_labels
from memorysam_core.engines.compiled import CACHE_VARIABLE
from memorysam_core.engines.compiler import sound_options
from memorysam_core.engines.eager import Eager
from memorysam_core.engines.export import export
from memorysam_core.engines.graphs import Graph, Modules, Shapes
from memorysam_core.labels import numbered
from memorysam_core.segmenter import Segmenter

GRAPH = Graph("encode", 2)
CONTRACT = InputContract(deliver_modalities(), numbered(5), (32, 64))


def check_against(expected: Tensor, *made: Tensor, dtype: torch.dtype = torch.float32) -> None:
    """As if a graph had been made that gives these results, one after the other."""
    results = iter([*made, *made[-1:] * check.TRIES])
    flag = torch.tensor(False)  # a gate at its threshold may fall to either side
    shapes = Shapes((32, 32), 32, dtype, torch.device("cpu"))
    refuse_wrong(GRAPH, lambda *_: (next(results), flag), lambda *_: (expected, ~flag), shapes)


@pytest.mark.parametrize(
    ("dtype", "passes", "fails"),
    [(torch.float32, 5e-4, 2e-3), (torch.bfloat16, 0.05, 0.2), (torch.float16, 0.05, 0.2)],
)
def test_rounding_is_let_through_and_anything_else_refused(
    dtype: torch.dtype, passes: float, fails: float
) -> None:
    wanted = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    check_against(wanted, wanted * (1 + passes), dtype=dtype)
    inf = wanted.clone()
    inf[7] = torch.inf
    for wrong in (wanted * (1 + fails), wanted * torch.nan, inf, wanted.flip(0)):
        with pytest.raises(ValueError, match="made of encode2 computes something else"):
            check_against(wanted, wrong, dtype=dtype)
    with pytest.raises(ValueError, match="computes something else"):  # nor is the model's own inf
        check_against(inf, wanted, dtype=dtype)


def test_a_choice_that_rounding_tips_is_no_wrong_code_but_nan_is() -> None:
    wanted = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    check_against(wanted, wanted.flip(0), wanted, wanted.flip(0))
    with pytest.raises(ValueError, match=r"difference 0, inf, 0\)"):
        check_against(wanted, wanted, wanted * torch.nan, wanted)


def test_labels_between_which_rounding_decides_are_as_good() -> None:
    model = torch.randn(5, 20, 50, generator=torch.Generator().manual_seed(0))
    model[:, :, 0] = torch.tensor([0.0, 1, 2, 2.01, -1])[:, None]  # the second best is near
    made = model.clone()
    made[2, :, 0] = 2.02
    assert (made.argmax(0) != model.argmax(0)).sum() == 20
    assert same_labels(made, model, torch.bfloat16) == 1
    assert same_labels(made, model, torch.float32) == 1 - 20 / 1000
    made[1, :10, 0] = 3
    assert same_labels(made, model, torch.bfloat16) == 1 - 10 / 1000


def test_where_the_model_gives_zeros_nothing_else_will_do() -> None:
    check_against(torch.zeros(3), torch.zeros(3))
    for wrong in (torch.nan, torch.inf, 1e-3):
        with pytest.raises(ValueError, match=r"difference inf, inf, inf\)"):
            check_against(torch.zeros(3), torch.full((3,), wrong))


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
    with pytest.raises(ValueError, match=r"relative difference inf.*; use engine eager"):
        compiled.warm_up()
    expected = Segmenter(checkpoint, "cpu", "fp32").segment(frames)
    for _ in range(2):
        assert np.array_equal(compiled.segment(frames).labels, expected.labels)
        assert compiled.engine.wait(120) and not compiled.prepared
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


class Zeros(Eager):
    """Wrong by a mile."""

    def make(self, graph: Graph):
        run = super().make(graph)
        return lambda *inputs: tuple(torch.zeros_like(result) for result in run(*inputs))


class FewOtherLabels(Eager):
    """Right by its numbers, but for logits of a few pixels that change places by a hair."""

    def make(self, graph: Graph):
        run = super().make(graph)

        def almost(*inputs: Tensor):
            first, *others = run(*inputs)
            if graph.stage == "sequence":
                first = first.clone()
                first[:, 0, 0] = first[:, 0, 0].mean() + 1e-4 * first[:, 0, 0].flip(0)
            return first, *others

        return almost


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Zeros, "made of encode[12] computes something else"),
        (FewOtherLabels, r"labels, or as good ones, on 99.\d+% of .* at least 99.99% are wanted"),
    ],
)
def test_an_export_that_computes_something_else_leaves_what_there_was(
    checkpoint: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    kind: type[Eager],
    message: str,
) -> None:
    monkeypatch.setitem(check.TOLERANCE, torch.float32, 0.1)

    def write(path: Path, modules: object, graphs: list[Graph], made_for: object) -> None:
        for graph in graphs:
            onnx_files.file_of(path, graph).touch()

    def load(path: Path, made_for: object, shapes: Shapes) -> Eager:
        assert len(list(path.parent.iterdir())) == 2
        return kind(Modules(load_checkpoint(checkpoint).build().fuse(), CONTRACT, shapes.size))

    monkeypatch.setattr(onnx_files, "export", write)
    monkeypatch.setattr(onnx_files, "OnnxFiles", load)
    before = tmp_path / "robot.onnx"
    before.write_bytes(b"of an earlier export")
    with pytest.raises(ValueError, match=message):
        export(load_checkpoint(checkpoint), before, lengths=[2])
    assert list(tmp_path.iterdir()) == [before]
    assert before.read_bytes() == b"of an earlier export"
