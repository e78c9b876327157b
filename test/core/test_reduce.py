"""Strip-wise reduction equals upsampling everything first."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from memorysam_core import reduce


@pytest.mark.parametrize("size", [(64, 96), (37, 53), (16, 24), (9, 11), (200, 300)])
@pytest.mark.parametrize("strip", [1, 2000, 1 << 21])
def test_equals_upsampling_all_at_once(
    size: tuple[int, int], strip: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reduce, "STRIP_NUMBERS", strip)
    logits = torch.randn(7, 16, 24, generator=torch.Generator().manual_seed(0)) * 3
    full = F.interpolate(logits[None], size=size, mode="bilinear", align_corners=False)[0]
    probability, label = full.softmax(0).max(0)
    labels, confidence = reduce.labels_and_confidence(logits, size)
    tie = full.topk(2, dim=0).values.diff(dim=0).abs()[0] < 1e-5
    assert ((labels == label) | tie).all()
    assert (confidence.float() - probability * 255).abs().max() <= 0.5 + 1e-2


def test_many_classes_get_wide_labels() -> None:
    logits = torch.zeros(400, 2, 2)
    logits[399] = 9
    labels, _ = reduce.labels_and_confidence(logits, (8, 8))
    assert labels.dtype == torch.int32 and (labels == 399).all()


def test_the_full_logits_are_never_held() -> None:
    logits = torch.randn(150, 128, 128)
    largest = 0
    with torch.profiler.profile(profile_memory=True) as profile:
        reduce.labels_and_confidence(logits, (512, 512))
    for event in profile.events():
        largest = max(largest, event.cpu_memory_usage)
    assert 0 < largest < 150 * 512 * 512 * 4 / 4
