"""The benchmark runner: what it finds, prints, writes, and how it fails."""

import argparse
import json
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from memorysam_core.bench import __main__ as runner
from memorysam_core.bench import core, engines, sizes
from memorysam_core.bench.row import Row


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


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_engines_area_runs_at_a_small_size() -> None:
    rows = list(engines.rows("cpu", True))
    equal = [row.value for row in rows if "labels equal to eager's" in row.name]
    assert len(equal) == 3 and min(equal) >= 99.99
    assert any(row.name == "process start to first label: compiled, warm" for row in rows)
