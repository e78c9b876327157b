"""Conversion of Meta's and the authors' files: exact, strict, and nothing executed."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch
from stock_sam2 import add_released_lora, run_as_video, stock_model
from torch import nn

from memorysam_core.architecture import Architecture
from memorysam_core.checkpoint import CheckpointError
from memorysam_core.convert import convert, convert_state, read_torch_file

SHARED = Path(__file__).parents[3] / "shared" / "data"


def released(size: str = "nano", version: str = "2.0", classes: int = 5) -> nn.Module:
    torch.manual_seed(0)
    stock = stock_model(Architecture(size, version, classes, object_gate=True), 64)
    add_released_lora(stock, rank=4)
    return stock


@pytest.mark.parametrize("wrapping", ["bare", "model_state_dict", "module.", "module.sam."])
def test_a_released_checkpoint_gives_the_same_logits(tmp_path: Path, wrapping: str) -> None:
    stock = released()
    state = stock.state_dict()
    if wrapping == "model_state_dict":
        content: object = {"model_state_dict": state, "epoch": 3}
    else:
        prefix = "" if wrapping == "bare" else wrapping
        content = {prefix + key: value for key, value in state.items()}
    torch.save(content, tmp_path / "released.pth")

    model = convert(tmp_path / "released.pth", num_classes=5)
    assert model.architecture == Architecture("nano", "2.0", 5, object_gate=True)
    frames = torch.randn(3, 1, 3, 64, 64)
    expected, _, _ = run_as_video(stock, frames)
    with torch.no_grad():
        logits = model(frames).logits
    scale = expected.mean(0).abs().max().clamp(min=1)  # closed gates put -1024 into the mean
    assert (logits - expected.mean(0)).abs().max() <= 1e-5 * max(1.0, scale.item() / 16)


def test_the_released_layout_has_840_tensors_and_is_told_apart() -> None:
    stock = stock_model(Architecture("base_plus", "2.0", 25), 1024)
    add_released_lora(stock, rank=4)
    state = stock.state_dict()
    assert len(state) == 840
    assert sum(v.numel() for k, v in state.items() if "positional_encoding" not in k) == 84_080_216
    architecture, _ = convert_state(state)
    assert architecture == Architecture("base_plus", "2.0", 25, object_gate=True, lora_rank=4)


@pytest.mark.parametrize(
    ("size", "version"),
    [("tiny", "2.0"), ("tiny", "2.1"), ("small", "2.1"), ("base_plus", "2.0"), ("large", "2.1")],
)
def test_meta_files_of_every_size_convert_strictly(tmp_path: Path, size: str, version: str) -> None:
    stock = stock_model(Architecture(size, version, 3), 1024)
    state = {k: torch.full(v.shape, 0.25) for k, v in stock.state_dict().items()}
    torch.save({"model": state}, tmp_path / "sam2.pt")
    model = convert(tmp_path / "sam2.pt", num_classes=4)
    assert model.architecture == Architecture(size, version, 4)
    converted = model.state_dict()
    fresh = [key for key, value in converted.items() if not (value == 0.25).all()]
    assert fresh and all(
        key.startswith("sam_mask_decoder.")
        and (
            "mask_tokens" in key or "hypernetworks" in key or "iou_prediction_head.layers.2" in key
        )
        for key in fresh
    )
    assert converted["sam_mask_decoder.mask_tokens.weight"].shape[0] == 5


def test_every_key_is_accounted_for(tmp_path: Path) -> None:
    state = released().state_dict()
    del state["no_mem_embed"]
    state["stranger"] = torch.zeros(2)
    state["no_obj_ptr"] = torch.zeros(1, 9)
    torch.save(state, tmp_path / "odd.pth")
    with pytest.raises(CheckpointError) as caught:
        convert(tmp_path / "odd.pth", num_classes=5)
    for part in ("1 missing: no_mem_embed", "1 unexpected: stranger", "no_obj_ptr (1, 9) instead"):
        assert part in str(caught.value)


def test_wrong_class_count_names_both(tmp_path: Path) -> None:
    torch.save(released().state_dict(), tmp_path / "five.pth")
    with pytest.raises(CheckpointError, match="trained for 5 classes, but the label space has 25"):
        convert(tmp_path / "five.pth", num_classes=25)


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mknod, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False], ids=["torch_file", "plain_pickle"])
def test_a_foreign_pickle_is_refused_and_never_executed(tmp_path: Path, zipped: bool) -> None:
    target, source = tmp_path / "executed", tmp_path / "evil.pth"
    if zipped:
        torch.save({"model": Bomb(target)}, source)
    else:
        source.write_bytes(pickle.dumps(Bomb(target)))
    with pytest.raises(CheckpointError, match="objects other than tensors.*refused"):
        read_torch_file(source)
    assert not target.exists()


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    torch.save(released().state_dict(), tmp_path / "whole.pth")
    content = (tmp_path / "whole.pth").read_bytes()
    cut = tmp_path / "cut.pth"
    cut.write_bytes(content[: len(content) // 3])
    with pytest.raises(CheckpointError, match="cut off or damaged.*download or copy it again"):
        read_torch_file(cut)


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the real samples beside the project")
def test_a_truncated_download_is_refused() -> None:
    files = [p for p in (SHARED / "truncated_checkpoint").iterdir() if p.suffix == ".pt"]
    assert files
    with pytest.raises(CheckpointError, match="cut off or damaged.*download or copy it again"):
        read_torch_file(files[0])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": torch.zeros(1)}, "no SAM 2 or MemorySAM checkpoint"),
        ([torch.zeros(1)], "holds a list, not a state dictionary"),
        ({"model": {"a": "text"}}, "no tensors .a."),
        ({}, "holds a dict, not a state"),
    ],
)
def test_other_contents_are_refused(tmp_path: Path, content: object, message: str) -> None:
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match=message):
        convert(tmp_path / "other.pt", num_classes=3)


def test_an_unknown_trunk_is_refused(tmp_path: Path) -> None:
    state = released().state_dict()
    state["image_encoder.trunk.patch_embed.proj.weight"] = torch.zeros(50, 3, 7, 7)
    with pytest.raises(CheckpointError, match="50 channels and 13 blocks, which is no known size"):
        convert_state(state)
