"""The compiled engine: same labels, from any thread, and a cache that a new process finds."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from memorysam_core.architecture import Architecture
from memorysam_core.checkpoint import build_model, load_checkpoint, save_checkpoint
from memorysam_core.contract import InputContract, deliver_modalities
from memorysam_core.engines.compiled import CACHE_VARIABLE, cache_folder
from memorysam_core.engines.export import export
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
    compiled.forget()
    with stance:  # the node's inference thread is not the one that prepared
        thread = threading.Thread(target=lambda: others.append(compiled.segment(given).labels))
        thread.start()
        thread.join()
    assert np.array_equal(others[0], result.labels)


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
