"""Exported files say what they were made for, and refuse everything else in one line."""

from __future__ import annotations

import argparse
import dataclasses
import json
import shlex
import zipfile
from pathlib import Path

import pytest
import torch

from memorysam_core.architecture import Architecture
from memorysam_core.checkpoint import CheckpointError, digest
from memorysam_core.commands import export
from memorysam_core.contract import InputContract, deliver_modalities
from memorysam_core.engines import aoti, processor
from memorysam_core.engines.load import load_engine
from memorysam_core.engines.made_for import Machine, MadeFor
from memorysam_core.labels import numbered

ORIN = Machine("cuda", "Orin", "8.7", "2.8.0")
MADE_FOR = MadeFor(
    format=aoti.FORMAT,
    architecture=Architecture("nano", num_classes=3),
    contract=InputContract(deliver_modalities()[:2], numbered(3), (64, 96)),
    precision="fp16",
    machine=ORIN,
    checkpoint="drive home.safetensors",
    checkpoint_sha256="ab" * 32,
    graphs=("encode1", "encode3", "sequence1", "sequence3"),
)


def test_survives_the_file() -> None:
    assert MadeFor.from_json(MADE_FOR.to_json()) == MADE_FOR
    anywhere = dataclasses.replace(MADE_FOR, machine=None)
    assert MadeFor.from_json(anywhere.to_json()) == anywhere


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            {"machine": dataclasses.replace(ORIN, name="NVIDIA Thor", capability="11.0")},
            r"made for cuda Orin \(compute capability 8.7\) with torch 2.8.0, and is asked to run "
            r"as cuda NVIDIA Thor \(compute capability 11.0\)",
        ),
        ({"machine": dataclasses.replace(ORIN, pytorch="2.9.1")}, "run as .*with torch 2.9.1"),
        ({"machine": Machine("cpu", "AVX512", "", "2.8.0")}, "run as cpu AVX512 with torch"),
        ({"precision": "bf16"}, "made for precision fp16, and is asked to run as precision bf16"),
        ({"size": (96, 64)}, "made for input size 96 x 64, and .* as input size 64 x 96"),
    ],
)
def test_anything_else_is_refused(asked: dict, message: str) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        MADE_FOR.refuse_other(Path("robot.pt2"), **{"machine": ORIN, **asked})
    assert "memorysam export 'drive home.safetensors' robot.pt2" in str(caught.value)


def test_what_it_was_made_for_is_accepted() -> None:
    MADE_FOR.refuse_other(Path("robot.pt2"), ORIN, "fp16", (64, 96))
    MADE_FOR.refuse_other(Path("robot.pt2"), ORIN, "auto", None)
    anywhere = dataclasses.replace(MADE_FOR, machine=None)
    anywhere.refuse_other(Path("robot.onnx"), Machine("cpu", "AVX2", "", "2.13.0+cpu"))


@pytest.mark.parametrize("made_for", [MADE_FOR, dataclasses.replace(MADE_FOR, machine=None)])
def test_the_command_that_remakes_it_is_one(made_for: MadeFor) -> None:
    words = shlex.split(made_for.command("out.pt2"))
    parser = argparse.ArgumentParser()
    export.add_arguments(parser)
    args = parser.parse_args(words[2:])
    assert words[:2] == ["memorysam", "export"] and args.checkpoint == "drive home.safetensors"
    assert args.lengths == "1,3"
    assert args.size == "96x64" and args.modalities == "image,depth" and args.precision == "fp16"
    assert (args.format == "onnx") == (made_for.machine is None)


CPUINFO = """processor : 0
model name : Some CPU
flags : fpu sse4_2 avx2 avx512f {more}

processor : 1
model name : Some CPU
flags : fpu sse4_2 avx2 avx512f {more}
"""


def test_a_processor_with_other_instructions_is_another_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def machine(text: str) -> Machine:
        (tmp_path / "cpuinfo").write_text(text)
        return Machine.here(torch.device("cpu"))

    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "cpuinfo")
    here = machine(CPUINFO.format(more=""))
    assert here.name.startswith("Some CPU, ")
    assert machine(CPUINFO.format(more="ibrs_enhanced stibp")) == here  # the kernel's doing
    assert machine(CPUINFO.format(more="avx512_bf16")) != here
    assert machine(CPUINFO.replace("Some", "Other").format(more="")) != here
    arm = "model name : Cortex\nFeatures : fp asimd {}\n"
    assert machine(arm.format("sve")) != machine(arm.format("bf16"))
    (tmp_path / "cpuinfo").unlink()
    assert machine is not None and Machine.here(torch.device("cpu")) != here


def write(path: Path, made_for: MadeFor) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(aoti.MADE_FOR, made_for.to_json())
    return path


def test_a_file_of_a_checkpoint_that_changed_since_is_refused(tmp_path: Path) -> None:
    beside = tmp_path / "retrained.safetensors"
    beside.write_bytes(b"new weights")
    here = dataclasses.replace(
        MADE_FOR, machine=Machine.here(torch.device("cpu")), checkpoint=beside.name
    )
    path = write(tmp_path / "robot.pt2", here)
    with pytest.raises(CheckpointError, match=rf"given has {digest(beside)[:16]}; make it anew"):
        load_engine(path, device="cpu")


def test_files_that_are_none_of_ours(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="make one with memorysam export"):
        load_engine(tmp_path / "absent.pt2")
    broken = tmp_path / "broken.pt2"
    broken.write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(CheckpointError, match="or is damaged .*make it: memorysam export"):
        load_engine(broken)
    foreign = tmp_path / "foreign.pt2"
    with zipfile.ZipFile(foreign, "w") as archive:
        archive.writestr("archive_format", "pt2")
    with pytest.raises(CheckpointError, match="no model that memorysam export wrote"):
        load_engine(foreign)
    newer = json.loads(MADE_FOR.to_json()) | {"format": "memorysam-aoti/2"}
    with zipfile.ZipFile(foreign, "w") as archive:
        archive.writestr(aoti.MADE_FOR, json.dumps(newer))
    with pytest.raises(CheckpointError, match="format 'memorysam-aoti/2', this release reads"):
        load_engine(foreign)


def test_an_exported_file_is_its_own_engine(tmp_path: Path) -> None:
    path = write(tmp_path / "robot.pt2", MADE_FOR)
    with pytest.raises(ValueError, match="engine 'compiled' cannot be chosen with it"):
        load_engine(path, engine="compiled")
    with pytest.raises(ValueError, match="accepted are auto, eager, compiled, or the file"):
        load_engine(path, engine="tensorrt")
