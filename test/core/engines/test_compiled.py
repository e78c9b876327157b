"""The compiled engine: same labels, from any thread, and a cache that a new process finds."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch

from memorysam_core.architecture import Architecture
from memorysam_core.checkpoint import build_model, load_checkpoint, save_checkpoint
from memorysam_core.contract import InputContract, deliver_modalities
from memorysam_core.engines import check
from memorysam_core.engines.compiled import CACHE_VARIABLE, OrEager, cache_folder
from memorysam_core.engines.export import export
from memorysam_core.engines.replay import PREPARING
from memorysam_core.engines.tracing import Undisturbed
from memorysam_core.labels import numbered
from memorysam_core.segmenter import Segmenter


def test_compiled_code_outlives_a_restart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(CACHE_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "memorysam" / f"torch-{torch.__version__}"
    monkeypatch.setenv(CACHE_VARIABLE, "/somewhere/else")
    assert cache_folder() == Path("/somewhere/else")


def test_without_a_compiler_the_message_says_what_to_install(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match="needs a C\\+\\+ compiler .*apt-get install g\\+\\+"):
        Segmenter(checkpoint, "cpu", engine="compiled")
    with pytest.raises(ValueError, match="or use engine eager"):
        export(load_checkpoint(checkpoint), tmp_path / "robot.pt2", device="cpu")
    assert list(tmp_path.iterdir()) == []


def test_compiled_code_gives_way_while_another_thread_traces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = torch.nn.Linear(3, 2).eval()
    run, x = torch.compile(module, backend="eager", fullgraph=True), torch.randn(4, 3)
    with torch.no_grad():
        expected = run(x)
        monkeypatch.setattr(torch.fx._symbolic_trace, "_is_fx_tracing_flag", True)
        with pytest.raises(RuntimeError, match="using FX to symbolically trace"):
            run(x)
        assert torch.equal(OrEager(run, module)(x), expected)

    def broken(x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("no such kernel")

    with pytest.raises(RuntimeError, match="no such kernel"):
        OrEager(broken, module)(x)


def test_the_model_runs_beside_another_threads_trace() -> None:
    tracing, ended = threading.Event(), threading.Event()

    class Slow(torch.nn.Module):
        def forward(self, x):
            tracing.set()
            ended.wait(120)
            return x

    module, x = torch.nn.Sequential(torch.nn.Linear(3, 2)).eval(), torch.randn(4, 3)
    expected = module(x)
    thread = threading.Thread(target=torch.fx.symbolic_trace, args=(Slow(),))
    thread.start()
    assert tracing.wait(120)
    with pytest.raises(NameError, match="not installed as a submodule"):
        module(x)

    tries: list[torch.Tensor] = []

    def run(x: torch.Tensor) -> torch.Tensor:
        tries.append(x)
        if len(tries) == 3:
            ended.set()
            thread.join()
        return module(x)

    assert torch.equal(Undisturbed(run)(x), expected) and len(tries) == 3

    def broken(x: torch.Tensor) -> torch.Tensor:
        return unknown(x)  # noqa: F821

    with pytest.raises(NameError, match="'unknown' is not defined"):
        Undisturbed(broken)(x)


def test_any_number_of_graphs_may_be_compiled_on_any_thread(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    limits: list[int] = []

    def note(module: torch.nn.Module, **options: object):
        def run(*inputs: torch.Tensor):
            assert PREPARING.locked()  # nothing is recorded anywhere meanwhile
            limits.append(torch._dynamo.config.recompile_limit)
            return module(*inputs)

        return run

    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    monkeypatch.setattr(torch, "compile", note)
    compiled = Segmenter(checkpoint, "cpu", "fp32", engine="compiled")
    compiled.engine.prepare_in_background([1])
    assert compiled.engine.wait(120)
    assert len(limits) == 2 * check.TRIES and min(limits) >= 256


@pytest.mark.timeout(1500)  # a minute of compiling, on a machine that does nothing else
def test_eager_until_compiled_with_the_same_labels(
    checkpoint: Path,
    frames: dict[str, np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    monkeypatch.setenv("TORCHINDUCTOR_DEBUG_COMPILE", "1")  # fast to compile, slow to run
    eager = Segmenter(checkpoint, "cpu", "fp32")
    compiled = Segmenter(checkpoint, "cpu", "fp32", engine="compiled")
    given = {name: frames[name] for name in ("image", "lidar")}
    expected = eager.segment(given)
    assert np.array_equal(compiled.segment(given).labels, expected.labels)  # eagerly, at once
    sets = 0
    while not compiled.engine.wait(0.5):  # compiled in the background, sets go on meanwhile
        compiled.forget()
        assert np.array_equal(compiled.segment(given).labels, expected.labels)
        sets += 1
    assert sets > 1
    assert {str(p.graph) for p in compiled.prepared} == {"encode1", "encode2", "sequence2"}

    stance = torch.compiler.set_stance("fail_on_recompile")
    compiled.forget()
    with stance:
        result = compiled.segment(given)
    assert (result.labels == expected.labels).mean() >= 0.9999
    assert result.closed_gates == expected.closed_gates
    others: list[np.ndarray] = []

    def label(segmenter: Segmenter) -> None:
        others.append(segmenter.segment(given).labels)

    compiled.forget()
    with stance:  # the node's inference thread is not the one that prepared
        thread = threading.Thread(target=label, args=(compiled,))
        thread.start()
        thread.join()
    assert np.array_equal(others[0], result.labels)

    compiled.close()
    model = weakref.ref(compiled.model)
    del compiled
    gc.collect()
    assert model() is None  # neither the compiler nor what it made holds on to it


START = """
import sys, time, numpy as np
from memorysam_core.segmenter import Segmenter
begin = time.perf_counter()
segmenter = Segmenter(sys.argv[1], "cpu", "fp32", engine="compiled")
segmenter.warm_up(lengths=[2], others=False)
print(time.perf_counter() - begin)
"""


@pytest.mark.slow
def test_the_second_start_finds_what_the_first_compiled(tmp_path: Path) -> None:
    torch.manual_seed(0)
    contract = InputContract(deliver_modalities(), numbered(5), (64, 96))
    path = save_checkpoint(
        tmp_path / "nano.safetensors", build_model(Architecture("nano", num_classes=5)), contract
    )
    environment = {**os.environ, CACHE_VARIABLE: str(tmp_path / "cache")}
    cold, warm = (
        float(
            subprocess.run(
                [sys.executable, "-c", START, str(path)], env=environment, check=True,
                capture_output=True, text=True,
            ).stdout
        )
        for _ in range(2)
    )  # fmt: skip
    print(f"cold {cold:.1f} s, warm {warm:.1f} s")
    assert warm < cold / 2
