"""A held frame is not encoded again, and nothing but the time tells."""

from __future__ import annotations

import weakref
from pathlib import Path

import numpy as np
import pytest
import torch

from memorysam_core.engines.graphs import Graph, Modules
from memorysam_core.engines.slots import FeatureSlots
from memorysam_core.frames.camera import Camera, ray_tensor
from memorysam_core.model import Features
from memorysam_core.segmenter import Segmenter


@pytest.fixture
def segmenter(checkpoint: Path) -> Segmenter:
    return Segmenter(checkpoint, "cpu", "fp32")


@pytest.fixture
def encoded(segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of frames that were encoded, call by call."""
    counts: list[int] = []
    encode = segmenter.engine.encode

    def counting(pixels, which):
        counts.append(len(pixels))
        return encode(pixels, which)

    monkeypatch.setattr(segmenter.engine, "encode", counting)
    return counts


def test_only_news_are_encoded_and_labels_are_the_same(
    segmenter: Segmenter, checkpoint: Path, encoded: list[int], frames: dict[str, np.ndarray]
) -> None:
    rng = np.random.default_rng(5)
    for tick in range(6):  # LiDAR at a third of the camera's rate, depth and events with the camera
        for name in ("image", "depth", "event") + (("lidar",) if tick % 3 == 0 else ()):
            frames[name] = rng.integers(0, 256, frames[name].shape, dtype=np.uint8)
        given = {name: torch.from_numpy(frame) for name, frame in frames.items()}
        logits, closed = segmenter.logits(given)
        anew, closed_anew = Segmenter(checkpoint, "cpu", "fp32").logits(given)
        assert torch.allclose(logits, anew, atol=1e-5) and torch.equal(closed, closed_anew)
    assert encoded == [4, 3, 3, 4, 3, 3]


def test_the_features_that_serve_again_are_the_very_same_numbers(
    segmenter: Segmenter, encoded: list[int], frames: dict[str, np.ndarray]
) -> None:
    first, _ = segmenter.logits(frames)
    again, _ = segmenter.logits(frames)
    assert encoded == [4] and torch.equal(first, again)


def test_a_sensor_that_left_and_came_back_unchanged(
    segmenter: Segmenter, encoded: list[int], frames: dict[str, np.ndarray]
) -> None:
    first = segmenter.segment(frames).labels
    fewer = {name: frames[name] for name in ("image", "event")}
    assert not np.array_equal(segmenter.segment(fewer).labels, first)
    assert np.array_equal(segmenter.segment(frames).labels, first)
    assert encoded == [4]


def test_a_frame_changed_in_place_is_encoded_again(
    segmenter: Segmenter, checkpoint: Path, encoded: list[int], frames: dict[str, np.ndarray]
) -> None:
    segmenter.segment(frames)
    frames["depth"][:] = 255 - frames["depth"]
    labels = segmenter.segment(frames).labels
    assert encoded == [4, 1]
    assert np.array_equal(labels, Segmenter(checkpoint, "cpu", "fp32").segment(frames).labels)


def test_a_failure_leaves_no_stale_features(
    segmenter: Segmenter, frames: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = segmenter.segment(frames).labels
    changed = {name: 255 - frame for name, frame in frames.items()}
    with monkeypatch.context() as patch:
        patch.setattr(segmenter.engine, "encode", lambda *_: (_ for _ in ()).throw(MemoryError))
        with pytest.raises(MemoryError):
            segmenter.segment(changed)
    assert not np.array_equal(segmenter.segment(changed).labels, expected)
    assert np.array_equal(segmenter.segment(frames).labels, expected)


def test_results_are_not_overwritten_by_the_next_set(
    segmenter: Segmenter, frames: dict[str, np.ndarray]
) -> None:
    logits, _ = segmenter.logits(frames)
    result = segmenter.segment(frames)
    kept = logits.clone(), result.labels.copy(), result.confidence.copy()
    segmenter.segment({name: 255 - frame for name, frame in frames.items()})
    assert torch.equal(logits, kept[0])
    assert np.array_equal(result.labels, kept[1]) and np.array_equal(result.confidence, kept[2])


def test_warming_up_leaves_no_black_frame_behind(segmenter: Segmenter, encoded: list[int]) -> None:
    segmenter.warm_up()
    assert encoded == [3, 4]
    segmenter.segment({"image": np.zeros((32, 64, 3), np.uint8)})
    assert encoded == [3, 4, 1]
    with pytest.raises(ValueError, match="5 sensors cannot be prepared for; this model has 4"):
        segmenter.warm_up(lengths=[5])


def test_a_closed_segmenter_leaves_nothing_behind(
    segmenter: Segmenter, frames: dict[str, np.ndarray]
) -> None:
    expected = segmenter.segment(frames).labels
    Camera(64, 32, 40.0, 40.0, 32.0, 16.0).rays()
    kept = [
        *segmenter._slots._slots.levels,
        segmenter._batches[4],
        segmenter._intake._seen["image"].pixels,
        ray_tensor(Camera(64, 32, 40.0, 40.0, 32.0, 16.0)),
    ]
    references = [weakref.ref(tensor) for tensor in kept]
    kept.clear()
    assert all(reference() is not None for reference in references)
    segmenter.close()
    assert not any(reference() is not None for reference in references)
    assert np.array_equal(segmenter.segment(frames).labels, expected)


def test_slots_keep_each_modality_apart(modules: Modules) -> None:
    slots = FeatureSlots(modules.shapes, 4)
    pixels, _ = modules.shapes.inputs(Graph("encode", 4))
    pixels += torch.arange(4, dtype=torch.uint8)[:, None, None, None] * 50
    with torch.inference_mode():
        whole = Features(*modules.of(Graph("encode", 4))(pixels, torch.arange(4)))
        slots.store(torch.tensor([2, 0]), _rows(whole, [2, 0]))
        slots.store(torch.tensor([1, 3]), _rows(whole, [1, 3]))
        for which in ([0, 1, 2, 3], [1, 3], [2]):
            gathered = slots.gather(torch.tensor(which))
            assert torch.equal(gathered.stride16, whole.stride16[which])
            assert torch.equal(gathered.stride4, whole.stride4[which])


def _rows(features: Features, which: list[int]) -> Features:
    return Features(features.stride4[which], features.stride8[which], features.stride16[which])
