"""info, convert and segment, as a user calls them."""

from __future__ import annotations

import argparse
import json
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from stock_sam2 import add_released_lora, stock_model

from memorysam_core.architecture import Architecture
from memorysam_core.checkpoint import build_model, read_header, save_checkpoint
from memorysam_core.contract import InputContract, deliver_modalities
from memorysam_core.labels import numbered
from memorysam_core.segmenter import Segmenter


def call(command: str, *words: object) -> int:
    module = import_module(f"memorysam_core.commands.{command}")
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    return module.run(parser.parse_args([str(word) for word in words]))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    contract = InputContract(deliver_modalities(), numbered(5), (64, 96), {"seed": 7})
    path = tmp_path_factory.mktemp("weights") / "nano.safetensors"
    return save_checkpoint(path, build_model(Architecture("nano", num_classes=5)), contract)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    rng = np.random.default_rng(0)
    folder, paths = tmp_path_factory.mktemp("frames"), {}
    for name in ("image", "depth"):
        paths[name] = folder / f"{name}.png"
        Image.fromarray(rng.integers(0, 256, (64, 96, 3), dtype=np.uint8)).save(paths[name])
    return paths


def test_segment_writes_what_the_segmenter_says(
    checkpoint: Path, images: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    npz = tmp_path / "deep" / "logits.npz"
    npz.parent.mkdir()
    status = call(
        "segment", checkpoint, "--image", images["image"], "--modality",
        f"depth={images['depth']}", "--out", tmp_path / "out", "--save-logits", npz,
        "--device", "cpu", "--precision", "fp32",
    )  # fmt: skip
    assert status == 0
    assert "image, depth on cpu in fp32" in capsys.readouterr().out

    segmenter = Segmenter(checkpoint, "cpu", "fp32")
    frames = {name: np.asarray(Image.open(path)) for name, path in images.items()}
    expected = segmenter.segment(frames)
    labels = np.asarray(Image.open(tmp_path / "out" / "labels.png"))
    color = np.asarray(Image.open(tmp_path / "out" / "color.png"))
    overlay = np.asarray(Image.open(tmp_path / "out" / "overlay.png")).astype(int)
    assert np.array_equal(labels, expected.labels)
    assert np.array_equal(color, segmenter.contract.label_space.colourise(labels))
    assert np.abs(overlay * 2 - color.astype(int) - frames["image"]).max() <= 1
    saved = np.load(npz)
    assert saved["logits"].dtype == np.float32 and saved["logits"].shape == (5, 16, 24)
    assert np.array_equal(saved["logits"], segmenter.logits(frames)[0].numpy())
    assert np.array_equal(saved["labels"], labels)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no frames given; name at least one"),
        (["--image", "absent.png"], "no image at absent.png"),
        (["--modality", "depth"], "give NAME=FILE"),
        (["--modality", "radar={image}"], "no modality 'radar'"),
        (["--image", "{checkpoint}"], "cannot be read as an image"),
        (["--image", "{image}", "--size", "wide"], "give width x height in pixels"),
    ],
)
def test_segment_refuses(
    checkpoint: Path, images: dict[str, Path], words: list[str], message: str
) -> None:
    filled = [w.format(image=images["image"], checkpoint=checkpoint) for w in words]
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        call("segment", checkpoint, *filled)


def test_info_tells_the_contract(checkpoint: Path, capsys: pytest.CaptureFixture) -> None:
    assert call("info", checkpoint) == 0
    text = capsys.readouterr().out
    for part in ("nano, SAM 2.0, 5 classes", "96 x 64 (width x height)", "lidar_range(", "seed: 7"):
        assert part in text
    assert call("info", checkpoint, "--json") == 0
    content = json.loads(capsys.readouterr().out)
    assert content["size"] == [64, 96] and content["architecture"]["memory_mask"] == "best_iou"


def test_convert_writes_a_checkpoint_with_its_contract(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    torch.manual_seed(0)
    stock = stock_model(Architecture("nano", "2.0", 20), 64)
    add_released_lora(stock, rank=4)
    torch.save({"model_state_dict": stock.state_dict()}, tmp_path / "released.pth")
    out = tmp_path / "out.safetensors"
    status = call(
        "convert", tmp_path / "released.pth", out, "--label-space", "mcubes",
        "--modalities", "image,nir", "--size", "1024x576",
    )  # fmt: skip
    assert status == 0 and "nano, SAM 2.0, 20 classes" in capsys.readouterr().out
    header = read_header(out)
    assert header.contract.names == ("image", "nir") and header.contract.size == (576, 1024)
    assert header.contract.label_space.name == "mcubes" and header.architecture.object_gate
    assert header.contract.provenance["converted_from"] == "released.pth"
    with pytest.raises(ValueError, match="no modality 'event' in this label space"):
        call("convert", tmp_path / "released.pth", out, "--label-space", "mcubes",
             "--modalities", "event")  # fmt: skip
