"""Checkpoints: whole round trips, and bad files refused by a sentence that helps."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from memorysam_core.architecture import Architecture
from memorysam_core.checkpoint import (
    Checkpoint,
    CheckpointError,
    Header,
    build_model,
    digest,
    load_checkpoint,
    read_header,
    save_checkpoint,
)
from memorysam_core.contract import InputContract, deliver_modalities
from memorysam_core.labels import DELIVER, numbered
from memorysam_core.model import MemorySAM

CONTRACT = InputContract(
    deliver_modalities("log_depth")[:3], numbered(5), (64, 96), {"seed": 3, "data": "none"}
)


def nano(**settings: object) -> MemorySAM:
    torch.manual_seed(0)
    return build_model(Architecture("nano", num_classes=5, **settings)).eval()


@pytest.fixture
def written(tmp_path: Path) -> Path:
    return save_checkpoint(tmp_path / "nano.safetensors", nano(memory_mask="constant"), CONTRACT)


def test_round_trip_keeps_weights_architecture_and_contract(written: Path) -> None:
    checkpoint = load_checkpoint(written)
    assert checkpoint.contract == CONTRACT
    assert checkpoint.architecture == Architecture("nano", num_classes=5, memory_mask="constant")
    model, frames = nano(memory_mask="constant"), torch.randn(2, 1, 3, 64, 96)
    with torch.no_grad():
        assert torch.equal(checkpoint.build()(frames).logits, model(frames).logits)


def test_adapters_are_saved_and_come_back(tmp_path: Path) -> None:
    model = nano(lora_rank=2)
    path = save_checkpoint(tmp_path / "adapted.safetensors", model, CONTRACT)
    again = load_checkpoint(path).build()
    assert again.architecture.lora_rank == 2
    assert again.state_dict().keys() == model.state_dict().keys()


def test_whoever_may_read_other_new_files_may_read_checkpoints(tmp_path: Path) -> None:
    """A node need not run as the user that trained."""
    plain = tmp_path / "plain"
    before = os.umask(0o027)
    try:
        plain.touch()
        path = save_checkpoint(tmp_path / "nano.safetensors", nano(), CONTRACT)
    finally:
        os.umask(before)
    assert path.stat().st_mode == plain.stat().st_mode


def test_half_precision_storage_halves_the_file(tmp_path: Path) -> None:
    full = save_checkpoint(tmp_path / "full.safetensors", nano(), CONTRACT)
    half = save_checkpoint(tmp_path / "half.safetensors", nano(), CONTRACT, torch.float16)
    assert half.stat().st_size < 0.55 * full.stat().st_size
    assert next(load_checkpoint(half).build().parameters()).dtype == torch.float32


def test_a_fused_model_is_saved_as_the_plain_one(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path / "fused.safetensors", nano().fuse(), CONTRACT)
    frames = torch.randn(1, 1, 3, 64, 96)
    with torch.no_grad():
        assert torch.equal(load_checkpoint(path).build()(frames).logits, nano()(frames).logits)


def test_nothing_is_left_half_written(
    tmp_path: Path, written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = written.read_bytes()

    def fail(*args: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(written, nano(), CONTRACT)
    assert written.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [written.name]


def test_header_alone_reads_no_weights_and_digest_tells_files_apart(
    written: Path, tmp_path: Path
) -> None:
    assert read_header(written).contract.names == ("image", "depth", "event")
    other = save_checkpoint(tmp_path / "b.safetensors", nano(), CONTRACT, torch.float16)
    assert digest(written) != digest(other)


def rewritten(path: Path, change: object) -> Path:
    state = load_file(path)
    metadata = read_header(path).to_metadata()
    change(state, metadata)  # type: ignore[operator]
    save_file(state, path, metadata=metadata)
    return path


def test_missing_unexpected_and_misshapen_keys_are_listed(written: Path) -> None:
    def change(state: dict, metadata: dict) -> None:
        del state["no_obj_ptr"]
        state["stranger"] = torch.zeros(1)
        state["no_mem_embed"] = torch.zeros(1, 1, 7)

    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(rewritten(written, change)).build()
    message = str(caught.value)
    assert "1 missing: no_obj_ptr" in message
    assert "1 unexpected: stranger" in message
    assert "no_mem_embed (1, 1, 7) instead of (1, 1, 128)" in message
    assert "\n" not in message


def test_not_finite_weights_are_refused(written: Path) -> None:
    def change(state: dict, metadata: dict) -> None:
        state["no_obj_ptr"][0, 3] = float("nan")

    with pytest.raises(CheckpointError, match="NaN or infinity in 1 tensors: no_obj_ptr"):
        load_checkpoint(rewritten(written, change)).build()


def test_wrong_class_count_is_refused() -> None:
    with pytest.raises(CheckpointError, match="5 classes but its label space 'deliver' has 25"):
        Header(Architecture("nano", num_classes=5), CONTRACT.replace(label_space=DELIVER))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("format", "memorysam/9", "format 'memorysam/9', not 'memorysam/1'"),
        ("architecture", json.dumps({"size": "huge"}), "accepted are nano, tiny"),
        ("architecture", json.dumps({"colour": 1}), "an architecture has no colour"),
        ("contract", "{}", "cannot be used"),
    ],
)
def test_a_wrong_header_is_refused(written: Path, key: str, value: str, message: str) -> None:
    def change(state: dict, metadata: dict) -> None:
        metadata[key] = value

    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(rewritten(written, change))


def test_a_cut_off_file_is_refused(written: Path) -> None:
    written.write_bytes(written.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match="no whole safetensors file.*copy it again"):
        load_checkpoint(written)


def test_other_files_are_refused(tmp_path: Path) -> None:
    pickled = tmp_path / "model.pth"
    pickled.write_bytes(b"x")
    with pytest.raises(CheckpointError, match="memorysam convert"):
        load_checkpoint(pickled)
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        load_checkpoint(tmp_path / "absent.safetensors")
    with pytest.raises(ValueError, match="does not end in .safetensors"):
        save_checkpoint(tmp_path / "model.pt", nano(), CONTRACT)
    plain = tmp_path / "plain.safetensors"
    save_file({"a": torch.zeros(1)}, plain)
    with pytest.raises(CheckpointError, match="format None, not 'memorysam/1'"):
        load_checkpoint(plain)


def test_a_checkpoint_made_in_memory_builds() -> None:
    model = nano()
    checkpoint = Checkpoint(Header(model.architecture, CONTRACT), model.state_dict())
    assert checkpoint.build().architecture == model.architecture
