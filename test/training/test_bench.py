"""The training benchmark runs and compares like with like."""

from __future__ import annotations

import pytest
import torch

from memorysam_core.bench.frame_by_frame import FrameByFrame
from memorysam_training.attention import attention_for, written_out
from memorysam_training.bench import training
from memorysam_training.bench.live_memory import LiveMemory, step_bytes
from memorysam_training.model import recompute_activations


def test_quick_rows():
    *every, memory = training.rows("cpu", quick=True)
    assert memory.unit == "GiB" and 0.05 < memory.value < 1
    precise, rounded = every[:3], every[3:]
    for rows, others in (
        (precise, ["frame by frame"]),
        (rounded, ["frame by frame", "frame by frame, torch's attention"]),
    ):
        by_name = {row.name: row for row in rows}
        assert len(by_name) == len(rows) == 1 + 2 * len(others)
        for name in others:
            ratio = by_name[f"training against {name}"]
            theirs = by_name[f"training, {name}"].value
            assert ratio.value == pytest.approx(by_name["training"].value / theirs)
            assert ratio.unit == "x"


def test_the_yardstick_has_the_attention_that_its_row_says(monkeypatch):
    """Else the ratio would be that of two attentions, not of two schedules."""
    used = []

    def noting(query, key, value, dropout_p=0.0):
        used.append(query.shape)
        return written_out(query, key, value, dropout_p)

    monkeypatch.setattr("memorysam_training.attention.written_out", noting)
    model = training._model("nano")
    batch = training._batch(64, 1, torch.device("cpu"))
    released = FrameByFrame(model)
    for precision, expected in (("fp32", [0, 0]), ("bf16", [1, 1, 0])):
        counts = []
        for step in training._steps(model, released, *batch, precision).values():
            used.clear()
            step()
            counts.append(min(1, len(used)))
        assert counts == expected


def test_both_schedules_compute_the_same():
    torch.manual_seed(0)
    model = training._model("nano").eval()
    frames, labels = training._batch(64, 1, torch.device("cpu"))
    with attention_for(torch.device("cpu"), bf16=True):
        ours = model(frames).logits
    theirs = FrameByFrame(model)(frames)
    full = torch.nn.functional.interpolate(ours.detach(), labels.shape[1:], mode="bilinear")
    torch.testing.assert_close(theirs, full, atol=1e-4, rtol=1e-3)


def test_written_out_attention_equals_the_fused_one():
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 3, n, 8, requires_grad=True) for n in (5, 7, 7))
    fused = torch.nn.functional.scaled_dot_product_attention(query, key, value)
    ours = written_out(query, key, value)
    torch.testing.assert_close(ours, fused)
    for tensor in (query, key, value):
        expected = torch.autograd.grad(fused.sum(), tensor, retain_graph=True)
        found = torch.autograd.grad(ours.sum(), tensor, retain_graph=True)
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-4)


def test_shapes_alone_tell_what_a_step_needs():
    def told(real: bool, recomputed: bool = False) -> int:
        model = training._model("nano")
        if recomputed:
            recompute_activations(model)
        return step_bytes(model, modalities=2, batch=1, side=64, real=real)

    assert told(real=False) == pytest.approx(told(real=True), rel=0.01)
    assert told(real=False, recomputed=True) < told(real=False)


def test_live_memory_counts_what_is_alive():
    with LiveMemory() as live:
        first = torch.zeros(1000)  # 4000 bytes
        again = first.view(10, 100)  # the same ones
        second = first + 1
        assert live.now == live.peak == 8000
        del second
        assert live.now == 4000
        del first, again
    assert (live.now, live.peak) == (0, 8000)
