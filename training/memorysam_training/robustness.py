"""Sensors that fail, as in the robustness benchmark of arXiv 2503.18445 (EMM, RMM, NM).

* EMM, entire-missing: every non-empty subset of the modalities. The benchmark feeds zeros for a
  missing one; we leave it out of the sequence, as on a robot, and can do either.
* RMM, random-missing: in every proper subset's complement a share ``r`` of the numbers is zero.
* NM, noisy: salt and pepper on every modality and Gaussian noise on all but events, three levels.

Faults act on normalised frames. Two summaries: the mean over all combinations, the undamaged one
among them, and the expectation if every modality fails with probability ``p`` independently,
given that not all fail.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from memorysam_core.contract import Modality
from memorysam_training.corruption import gaussian, salt_and_pepper, zeroed

Missing = Literal["absent", "zeros"]

PROBABILITIES = (0.2, 0.1, 0.05)
"""Of a modality to fail."""
SHARES = (0.25, 0.5, 0.75)
"""Of the numbers that are zero in RMM."""
NOISE = {"low": (0.05, 0.1), "mid": (0.1, 0.2), "high": (0.2, 0.5)}
"""Density of salt and pepper, and standard deviation, of NM."""
CLEAN = "clean"


@dataclass(frozen=True)
class Case:
    """One way in which the sensors of a sample are given to the model."""

    test: str
    """``full``, ``emm``, ``rmm 0.5``, ``nm low``, ..."""
    name: str
    """For people."""
    frames: tuple[tuple[int, str], ...]
    """The sequence: which modality, in which version."""
    damaged: tuple[int, ...] = ()
    """Modalities that are missing or damaged."""


def cases(modalities: Sequence[Modality], tests: Sequence[str], missing: Missing) -> list[Case]:
    """What to run for the tests ``emm``, ``rmm`` and ``nm``; the undamaged case comes first."""
    everything = range(len(modalities))
    found = [Case("full", _names(modalities, everything), tuple((m, CLEAN) for m in everything))]
    subsets = [
        lost
        for count in range(1, len(modalities))
        for lost in itertools.combinations(everything, count)
    ]
    for lost in subsets if "emm" in tests else ():
        kept = [m for m in everything if m not in lost]
        frames = [(m, "zeros" if m in lost else CLEAN) for m in everything]
        if missing == "absent":
            frames = [frame for frame in frames if frame[0] in kept]
        found.append(Case("emm", _names(modalities, kept), tuple(frames), lost))
    for share in SHARES if "rmm" in tests else ():
        for lost in subsets:
            version = f"rmm {share:g}"
            frames = tuple((m, version if m in lost else CLEAN) for m in everything)
            found.append(Case(version, "damaged " + _names(modalities, lost), frames, lost))
    for level in NOISE if "nm" in tests else ():
        version = f"nm {level}"
        frames = tuple((m, version) for m in everything)
        found.append(Case(version, version, frames, tuple(everything)))
    return found


def damaged(frame: Tensor, version: str, modality: Modality, generator: torch.Generator) -> Tensor:
    """A normalised frame ``(B, 3, H, W)`` in one of the versions that cases name."""
    test, _, level = version.partition(" ")
    if test == "zeros":
        return torch.zeros_like(frame)
    if test == "rmm":
        return zeroed(frame, float(level), generator)
    if test == "nm":
        density, deviation = NOISE[level]
        noisy = torch.stack([salt_and_pepper(f, density, generator) for f in frame])
        if modality.representation.reading == "events":
            return noisy
        return gaussian(noisy, deviation, generator)
    return frame


def mean_score(results: Sequence[Case], score: Callable[[Case], float]) -> float:
    """mIoU^Avg: all combinations are equally likely."""
    return sum(map(score, results)) / len(results)


def expected_score(
    results: Sequence[Case], score: Callable[[Case], float], count: int, probability: float
) -> float:
    """mIoU^E: each of ``count`` modalities fails with ``probability``, not all at once."""
    weights = [
        probability ** len(case.damaged) * (1 - probability) ** (count - len(case.damaged))
        for case in results
    ]
    total = sum(weight * score(case) for weight, case in zip(weights, results, strict=True))
    return total / sum(weights)


def summary(results: Mapping[Case, float], count: int) -> dict[str, dict[str, float]]:
    """The figures of each test from the score of each case."""
    full = next(case for case in results if case.test == "full")
    found: dict[str, dict[str, float]] = {}
    for test in dict.fromkeys(case.test for case in results if case.test != "full"):
        of_test = [case for case in results if case.test == test]
        if test.startswith("nm"):
            found[test] = {"miou": results[of_test[0]]}
            continue
        of_test = [full, *of_test]
        found[test] = {"mean": mean_score(of_test, results.__getitem__)}
        for p in PROBABILITIES:
            found[test][f"expected p={p:g}"] = expected_score(
                of_test, results.__getitem__, count, p
            )
    return found


def subsets_in_order(modalities: Sequence[str]) -> list[tuple[str, tuple[int, ...]]]:
    """All non-empty subsets with their letters, as papers list them: R, D, E, L, RD, ..., RDEL."""
    letters = ["R" if name == "image" else name[0].upper() for name in modalities]
    return [
        ("".join(letters[m] for m in kept), kept)
        for count in range(1, len(modalities) + 1)
        for kept in itertools.combinations(range(len(modalities)), count)
    ]


def _names(modalities: Sequence[Modality], which: Sequence[int]) -> str:
    return " + ".join(modalities[m].name for m in which)
