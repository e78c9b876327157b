"""The benchmark runner: what it finds, prints, writes, and how it fails."""

import argparse
import dataclasses
import json
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from memorysam_core.bench import __main__ as runner
from memorysam_core.bench import (
    core,
    engine_sizes,
    engine_steps,
    engines,
    host_memory,
    sizes,
)
from memorysam_core.bench.breakdown import REST
from memorysam_core.bench.engine_steps import Step
from memorysam_core.bench.row import Row
from memorysam_core.bench.submit import submit


@pytest.fixture
def areas(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two areas in place of the real ones: `sound` gives a row, `broken` gives one and fails."""

    def sound(device: str, quick: bool) -> Iterator[Row]:
        yield Row("a ratio", 2.5, "x", f"{device}, quick {quick}")

    def broken(device: str, quick: bool) -> Iterator[Row]:
        yield Row("before it broke", 1.0, "ms")
        raise RuntimeError("out of steam")

    for name, rows in (("sound", sound), ("broken", broken)):
        module = types.ModuleType(f"memorysam_bench_{name}")
        module.rows = rows
        monkeypatch.setitem(sys.modules, module.__name__, module)
    found = {name: f"memorysam_bench_{name}" for name in ("sound", "broken")}
    monkeypatch.setattr(runner, "areas", lambda: found)


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    runner.add_arguments(parser)
    return runner.run(parser.parse_args(words))


def test_rows_are_printed_and_written_with_what_they_were_measured_on(
    areas: None, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "new" / "bench.json"
    assert run("--only", "sound", "--quick", "--out", str(out)) == 0
    report = json.loads(out.read_text())
    row = {"area": "sound", "name": "a ratio", "value": 2.5, "unit": "x"}
    assert report["rows"] == [row | {"detail": "cpu, quick True"}]
    assert report["quick"] is True
    assert report["machine"]["cores"] >= 1
    assert report["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert report["date"].endswith("+00:00")
    assert "2.5 x" in capsys.readouterr().out
    assert [path.name for path in out.parent.iterdir()] == ["bench.json"]


def test_an_area_that_fails_leaves_the_others_alone(areas: None, tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    assert run("--only", "broken", "--only", "sound", "--out", str(out)) == 1
    report = json.loads(out.read_text())
    assert report["failed"] == {"broken": "RuntimeError: out of steam"}
    assert [row["area"] for row in report["rows"]] == ["broken", "sound"]


def test_what_was_measured_is_kept_when_the_rest_is_interrupted(
    areas: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(device: str, quick: bool) -> Iterator[Row]:
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(sys.modules["memorysam_bench_broken"], "rows", interrupted)
    out = tmp_path / "bench.json"
    with pytest.raises(KeyboardInterrupt):
        run("--only", "sound", "--only", "broken", "--out", str(out))
    assert [row["area"] for row in json.loads(out.read_text())["rows"]] == ["sound"]


def test_wrong_choices_are_refused_before_anything_runs(areas: None, tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    with pytest.raises(ValueError, match="no area soud; there are sound, broken"):
        run("--only", "soud", "--out", str(out))
    with pytest.raises(ValueError, match="'tpu'; give cpu"):
        run("--device", "tpu", "--out", str(out))
    assert not out.exists()


def test_every_area_has_a_name_of_its_own() -> None:
    modules = [
        module
        for home in runner.HOMES
        for module, source in runner.discovery.modules(home).items()
        if runner._defines_rows(source)
    ]
    assert sorted(runner.areas().values()) == sorted(modules)
    assert "core" in runner.areas()


def test_the_models_areas_run_at_a_small_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "_start_up", lambda: Row("process start to first label", 1.0, "s"))
    rows = [*core.rows("cpu", True), *sizes.rows("cpu", True)]
    named = {row.name: row for row in rows}
    assert sum(name.startswith("saved by ") for name in named) == 3
    assert sum("frame by frame" in name for name in named) == 2
    assert all(row.value > 0 for row in rows)
    stages = ["encoder", "memory attention", "decoder", "memory encoder", "labels"]
    assert {f"  {stage}, p50" for stage in stages} < set(named)
    assert named["one set, p50"].value >= named["  encoder, p50"].value


def test_kept_memory_is_measured_beside_memory_given_back() -> None:
    named = {row.name: row.value for row in host_memory.rows("cpu", True)}
    assert named["saved by keeping freed memory"] > 0
    pages = ": pages cleared for a set"
    assert named["given back" + pages] > 1000
    assert named["kept" + pages] < named["given back" + pages] / 2
    assert not list(host_memory.rows("cuda", True))


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_wide_input_is_in_every_table(device: str) -> None:
    table = list(sizes._table(device, False))
    for size in ("nano", "tiny", "small", "base_plus", "large"):
        assert any(row[0] == size and row[1] == (576, 1024) and 4 in row[3] for row in table)
    assert {row[2] for row in table} == {"fp32", "bf16", "fp16"}


def test_on_a_gpu_the_goals_are_measured_first() -> None:
    first, second, third = engines.ON_GPU[:3]
    assert first.size == "base_plus" and first.engines == ("compiled",) and first.yardstick
    assert (second.size, second.shape) == ("tiny", (1024, 1024))
    assert (third.size, third.shape) == ("base_plus", (576, 1024))
    assert [step.engines for step in engines.ON_GPU].index(("aoti",)) > 3
    timed = {start for step in engines.ON_GPU for start in step.starts}
    assert timed == {"eager", "compiled", "aoti"} and any(step.held for step in engines.ON_GPU)
    for step in [*engines.ON_GPU, *engines.ON_CPU]:
        assert Step.from_json(json.dumps(dataclasses.asdict(step))) == step


@pytest.mark.parametrize("native", ["bf16", "fp32"])
def test_bf16_is_measured_where_the_processor_has_it(
    monkeypatch: pytest.MonkeyPatch, native: str
) -> None:
    monkeypatch.setattr(engines, "choose_precision", lambda *_: native)
    for steps in (engines.ON_CPU, engine_sizes.LARGER):
        chosen = engines.for_processor(steps)
        assert (chosen == steps) == (native == "bf16")
        assert {(s.size, s.shape) for s in chosen} == {(s.size, s.shape) for s in steps}
        assert ("bf16" in {s.precision for s in chosen}) == (native == "bf16")
        named = [str(step) for step in chosen]
        assert sorted(set(named)) == sorted(named)


def test_a_step_that_takes_too_long_is_broken_off_and_the_rest_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    endless = tmp_path / "python"
    row = json.dumps({"name": "made in", "value": 3.5, "unit": "s", "detail": "nano"})
    endless.write_text(f"#!/bin/sh\necho '{row}'\nsleep 1000 &\nsleep 1000\n")
    endless.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(endless))
    monkeypatch.setattr(engines, "LEAST_S", 0.5)
    rows = list(engines.within(engines.ON_GPU[:3], tmp_path, "cuda", seconds=1.5))
    assert [row.name for row in rows] == [
        "made in", "broken off after 1 s: no time left", *["left out: no time left"] * 2
    ]  # fmt: skip
    assert rows[0] == Row("made in", 3.5, "s", "nano")
    assert rows[1].detail == "base_plus, 4 x 1024 x 1024, bf16"


def test_a_step_that_fails_costs_no_other_step(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    step = Step("nano", (32, 32), "fp32", (), 2, 2)
    broken = Step("nano", (33, 32), "fp32", (), 2, 2)
    monkeypatch.setattr(engines, "LEAST_S", 0.5)
    rows = list(engines.within([broken, step], tmp_path, "cpu", seconds=200))
    assert rows[0].name.startswith("failed: ValueError: input size 33 x 32")
    assert rows[1].name == "eager: one set, host to host, p50"


def test_a_set_is_told_by_its_stages(tmp_path: Path) -> None:
    step = Step("nano", (64, 64), "fp32", (), 3, 2, held=True)
    rows = list(engine_steps.measure(step, tmp_path, "cpu"))
    shares = {
        row.name.removeprefix("eager: "): row.value
        for row in rows
        if row.detail == "of the time of a set; nano, 3 x 64 x 64, fp32"
    }
    assert list(shares) == ["encoder", "decoder", "memory", "labels", REST]
    assert min(shares.values()) >= 0 and sum(shares.values()) >= 99.99
    assert sum(row.name.startswith("saved by held features") for row in rows) == 2

    content = {
        "machine": {"device_name": "CPU"}, "versions": {"torch": "2"}, "date": "2026-01-01",
        "commit": "abc", "quick": False,
        "rows": [{"area": "engine_sizes", **dataclasses.asdict(row)} for row in rows],
    }  # fmt: skip
    (tmp_path / "report.json").write_text(json.dumps(content))
    (line,) = (r for r in submit(tmp_path / "report.json", tmp_path / "no page") if "p95" in r)
    assert "| nano, 3 x 64 x 64, fp32 | eager |" in line
    assert f"encoder {shares['encoder']:.0f}%, decoder" in line


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_engines_area_runs_at_a_small_size() -> None:
    rows = list(engines.rows("cpu", True))
    equal = [row.value for row in rows if "labels equal to eager's" in row.name]
    assert len(equal) == 3 and min(equal) >= 99.99
    assert any(row.name == "process start to first label: compiled, warm" for row in rows)
