"""The segmenter: right labels for any subset and size, and bad frames refused."""

from __future__ import annotations

import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from memorysam_core.architecture import Architecture
from memorysam_core.checkpoint import build_model, load_checkpoint, save_checkpoint
from memorysam_core.contract import InputContract, Modality, deliver_modalities
from memorysam_core.engines import load
from memorysam_core.labels import numbered
from memorysam_core.representations import Rendered
from memorysam_core.segmenter import Segmenter, choose_device, choose_precision

SIZE = (64, 96)
NAMES = ("image", "depth", "event", "lidar")


def save_nano(path: Path, classes: int = 5, **settings: object) -> Path:
    torch.manual_seed(0)
    model = build_model(Architecture("nano", num_classes=classes, **settings))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    contract = InputContract(deliver_modalities(), numbered(classes), SIZE)
    return save_checkpoint(path, model, contract)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_nano(tmp_path_factory.mktemp("weights") / "nano.safetensors")


@pytest.fixture(scope="module")
def segmenter(checkpoint: Path) -> Segmenter:
    return Segmenter(checkpoint, "cpu", "fp32")


def frames(*names: str, size: tuple[int, int] = SIZE, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.integers(0, 256, (*size, 3), dtype=np.uint8) for name in names}


def test_equals_the_model_on_frames_normalised_by_hand(segmenter: Segmenter) -> None:
    given = frames("image", "lidar")
    image = given["image"].astype(np.float64) / 255
    image = (image - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    by_hand = np.stack([image, given["lidar"] / 255.0]).transpose(0, 3, 1, 2)[:, None]
    with torch.no_grad():
        logits = segmenter.model(torch.from_numpy(by_hand).float()).logits
    full = F.interpolate(logits, size=SIZE, mode="bilinear", align_corners=False)[0]
    result = segmenter.segment(given)
    assert (result.labels == full.argmax(0).numpy()).mean() > 0.999
    assert np.abs(result.confidence - full.softmax(0).amax(0).numpy() * 255).max() <= 1
    assert result.modalities == ("image", "lidar")
    assert result.labels.dtype == result.confidence.dtype == np.uint8


def test_order_is_the_contracts_whatever_the_order_given(segmenter: Segmenter) -> None:
    given = frames(*NAMES)
    turned = dict(reversed(given.items()))
    one, other = segmenter.segment(given), segmenter.segment(turned)
    assert one.modalities == other.modalities == NAMES
    assert np.array_equal(one.labels, other.labels)


def test_another_subset_each_time(segmenter: Segmenter) -> None:
    given = frames(*NAMES)
    first = segmenter.segment(given).labels
    for subset in (["lidar"], ["depth", "event"], ["image"]):
        result = segmenter.segment({name: given[name] for name in subset})
        assert result.modalities == tuple(subset) and len(result.closed_gates) == len(subset)
    assert np.array_equal(segmenter.segment(given).labels, first)


def test_labels_come_at_any_size(segmenter: Segmenter) -> None:
    given = frames("image", size=(48, 80))
    assert segmenter.segment(given).labels.shape == (48, 80)
    result = segmenter.segment(given, size=(101, 37))
    assert result.labels.shape == result.confidence.shape == (101, 37)


def test_frames_of_another_size_are_brought_to_the_models(segmenter: Segmenter) -> None:
    small = frames("lidar", size=(32, 48))
    doubled = {"lidar": small["lidar"].repeat(2, axis=0).repeat(2, axis=1)}
    one, other = segmenter.segment(small, size=SIZE), segmenter.segment(doubled)
    assert np.array_equal(one.labels, other.labels)  # nearest: a LiDAR pixel is not smeared


def test_torch_frames_are_as_good_as_numpy(segmenter: Segmenter) -> None:
    given = frames("image", "event")
    as_torch = {name: torch.from_numpy(frame) for name, frame in given.items()}
    assert np.array_equal(segmenter.segment(given).labels, segmenter.segment(as_torch).labels)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_is_near(checkpoint: Path, segmenter: Segmenter, precision: str) -> None:
    half = Segmenter(checkpoint, "cpu", precision)
    given = frames(*NAMES)
    full, _ = segmenter.logits(given)
    near, _ = half.logits(given)
    assert (near - full).abs().mean() < 0.1 * full.std()


def test_adapters_are_merged(tmp_path: Path) -> None:
    path = save_nano(tmp_path / "adapted.safetensors", lora_rank=4)
    segmenter = Segmenter(path, "cpu", "fp32")
    assert segmenter.model.architecture.lora_rank == 0
    segmenter.warm_up([["image"], ["image", "depth"]])


def test_more_than_255_classes(tmp_path: Path) -> None:
    path = save_nano(tmp_path / "many.safetensors", classes=300)
    assert Segmenter(path, "cpu", "fp32").segment(frames("image")).labels.dtype == np.uint16


def test_another_input_size_may_be_chosen(checkpoint: Path) -> None:
    segmenter = Segmenter(checkpoint, "cpu", "fp32", size=(96, 160))
    logits, _ = segmenter.logits(frames("image"))
    assert logits.shape == (5, 24, 40)
    with pytest.raises(ValueError, match="nearest is 96 x 160"):
        Segmenter(checkpoint, "cpu", "fp32", size=(100, 160))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "the sequence is empty; give a frame of at least one of image, depth, event, lidar"),
        ({"radar": np.zeros((8, 8, 3), np.uint8)}, "no modality 'radar'; it accepts image, depth"),
        (
            {**frames("image"), **frames("depth", size=(32, 32))},
            "differ in size .height x width.: image 64 x 96, depth 32 x 32",
        ),
        ({"image": np.zeros((8, 8, 3), np.float32)}, r"is float32 \(8, 8, 3\); give uint8"),
        ({"depth": np.full((8, 8, 3), np.nan)}, "it also holds NaN"),
        ({"image": np.zeros((8, 8), np.uint8)}, r"is uint8 \(8, 8\); give uint8 \(H, W, 3\)"),
    ],
)
def test_bad_frames_are_refused(segmenter: Segmenter, given: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        segmenter.segment(given)
    assert "\n" not in str(caught.value)


def test_output_that_is_not_finite_is_an_error(checkpoint: Path) -> None:
    segmenter = Segmenter(checkpoint, "cpu", "fp32")
    segmenter.model.no_mem_embed.data.fill_(float("inf"))
    with pytest.raises(ValueError, match="not finite in fp32 for image, event"):
        segmenter.segment(frames("event", "image"))


@pytest.mark.parametrize("scale", [1.0, 1e6])
def test_auto_is_fp32_where_fp16_overflows(
    checkpoint: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    scale: float,
) -> None:
    monkeypatch.setattr(
        load, "choose_precision", lambda precision, _: "fp16" if precision == "auto" else precision
    )
    large = load_checkpoint(checkpoint)
    large.state["no_mem_embed"].mul_(0).add_(scale)
    assert Segmenter(large, "cpu").precision == ("fp16" if scale == 1 else "fp32")
    assert ("these weights overflow in fp16" in caplog.text) == (scale != 1)
    with pytest.raises(ValueError, match="not finite in fp16") if scale != 1 else nullcontext():
        Segmenter(large, "cpu", "fp16").segment(frames("image", "depth"))


def test_device_and_precision_are_checked() -> None:
    with pytest.raises(ValueError, match="accepted are auto, cpu, cuda"):
        choose_device("gpu0")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="sees no CUDA device"):
            choose_device("cuda")
        assert choose_device("auto").type == "cpu"
    with pytest.raises(ValueError, match="accepted are auto, fp32, bf16, fp16"):
        choose_precision("int8", torch.device("cpu"))


def test_inference_imports_neither_peft_nor_transformers_nor_hydra(checkpoint: Path) -> None:
    code = f"""
import sys, numpy as np
from memorysam_core import Segmenter
Segmenter({str(checkpoint)!r}, "cpu").segment({{"image": np.zeros((64, 96, 3), np.uint8)}})
found = [m for m in ("peft", "transformers", "accelerate", "hydra", "rclpy", "cv2", "open3d")
         if m in sys.modules]
assert not found, found
import sam2.build_sam
assert "hydra" in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_modalities_of_other_names(tmp_path: Path) -> None:
    torch.manual_seed(0)
    contract = InputContract((Modality("thermal", Rendered("grey")),), numbered(2), (32, 32))
    path = save_checkpoint(
        tmp_path / "t.safetensors", build_model(Architecture("nano", num_classes=2)), contract
    )
    thermal = {"thermal": np.zeros((32, 32, 3), np.uint8)}
    assert Segmenter(path, "cpu").segment(thermal).labels.shape == (32, 32)
