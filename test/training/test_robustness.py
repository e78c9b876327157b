"""Failing sensors: which cases there are, what they do, and the summaries by hand."""

from __future__ import annotations

import pytest
import torch

from memorysam_core.contract import deliver_modalities
from memorysam_training.robustness import (
    NOISE,
    Case,
    cases,
    damaged,
    expected_score,
    subsets_in_order,
    summary,
)

MODALITIES = deliver_modalities()


def test_emm_is_all_fifteen_subsets():
    found = cases(MODALITIES, ["emm"], "absent")
    assert len(found) == 15 and found[0].test == "full"
    sequences = {tuple(m for m, _ in case.frames) for case in found}
    assert len(sequences) == 15 and () not in sequences
    assert all(list(s) == sorted(s) for s in sequences)
    for case in found:
        assert set(case.damaged) == set(range(4)) - {m for m, _ in case.frames}


def test_zeros_keep_the_sequence_whole():
    found = cases(MODALITIES, ["emm"], "zeros")
    assert all(len(case.frames) == 4 for case in found)
    assert found[1].frames == ((0, "zeros"), (1, "clean"), (2, "clean"), (3, "clean"))


def test_rmm_and_nm():
    found = cases(MODALITIES, ["rmm", "nm"], "absent")
    assert len(found) == 1 + 3 * 14 + 3
    assert all(len(case.frames) == 4 for case in found)


def test_expectation_by_hand():
    """Two modalities: both there 0.6, the first alone 0.4, the second alone 0.2."""
    scores = {
        Case("full", "a + b", ((0, "clean"), (1, "clean"))): 0.6,
        Case("emm", "a", ((0, "clean"),), (1,)): 0.4,
        Case("emm", "b", ((1, "clean"),), (0,)): 0.2,
    }
    p = 0.1
    weights = [0.81, 0.09, 0.09]  # p = 0.1 to fail, each; both at once is left out
    by_hand = (0.81 * 0.6 + 0.09 * 0.4 + 0.09 * 0.2) / sum(weights)
    assert expected_score(list(scores), scores.__getitem__, 2, p) == pytest.approx(by_hand)
    figures = summary(scores, 2)["emm"]
    assert figures["mean"] == pytest.approx(0.4)
    assert figures["expected p=0.1"] == pytest.approx(by_hand)


def test_expectation_of_published_figures():
    """The benchmark's own table: when failing gets rare, the expectation goes to the full score."""
    found = cases(MODALITIES, ["emm"], "absent")
    score = {case: 0.66 if case.test == "full" else 0.3 for case in found}.__getitem__
    figures = [expected_score(found, score, 4, p) for p in (0.2, 0.1, 0.05, 1e-9)]
    assert figures == sorted(figures) and figures[-1] == pytest.approx(0.66)


def test_rmm_zeroes_the_share_it_says():
    frame = torch.ones(2, 3, 64, 64)
    for share in (0.25, 0.5, 0.75):
        hit = damaged(frame, f"rmm {share:g}", MODALITIES[0], torch.Generator().manual_seed(0))
        assert (hit == 0).float().mean().item() == pytest.approx(share, abs=0.02)


@pytest.mark.parametrize("level", NOISE)
def test_noise_levels(level):
    density, deviation = NOISE[level]
    frame = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 0.5 + 0.25
    frame[:, :, 0, 0], frame[:, :, 0, 1] = 0.0, 1.0
    event = next(m for m in MODALITIES if m.name == "event")
    salted = damaged(frame, f"nm {level}", event, torch.Generator().manual_seed(2))
    changed = (salted != frame).float().mean().item()
    assert changed == pytest.approx(density, rel=0.1)  # no Gaussian noise on events
    assert set(salted[salted != frame].tolist()) == {0.0, 1.0}
    noisy = damaged(frame, f"nm {level}", MODALITIES[0], torch.Generator().manual_seed(2))
    difference = (noisy - salted).std().item()
    assert difference == pytest.approx(deviation, rel=0.03)


def test_versions_without_chance():
    frame = torch.rand(1, 3, 8, 8)
    generator = torch.Generator()
    assert torch.equal(damaged(frame, "clean", MODALITIES[0], generator), frame)
    assert damaged(frame, "zeros", MODALITIES[0], generator).abs().max() == 0


def test_subsets_are_in_the_order_of_the_papers():
    letters = [name for name, _ in subsets_in_order(["image", "aolp", "dolp"])]
    assert letters == ["R", "A", "D", "RA", "RD", "AD", "RAD"]
    assert dict(subsets_in_order(["image", "aolp", "dolp"]))["AD"] == (1, 2)
