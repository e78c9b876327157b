"""The benchmark runner: what it finds, prints, writes, and how it fails."""

import argparse
import json
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from memorysam_core.bench import __main__ as runner
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
