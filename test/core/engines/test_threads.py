"""Threads: what a container or an affinity mask leaves is what is used."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from memorysam_core.engines import threads


@pytest.mark.parametrize(
    ("quota", "expected"),
    [("max 100000", 16), ("200000 100000", 2), ("250000 100000", 3), ("5000 100000", 1), ("", 16)],
)
def test_quota_of_a_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str, expected: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))
    if quota:
        (tmp_path / "cpu.max").write_text(quota + "\n")
    assert threads.available_processors(tmp_path) == expected


@pytest.mark.parametrize(("quota", "expected"), [("-1", 16), ("400000", 4)])
def test_quota_of_an_older_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str, expected: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text(quota)
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000")
    assert threads.available_processors(tmp_path) == expected


def test_affinity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5})
    assert threads.available_processors(tmp_path) == 2


@pytest.mark.parametrize(("set_by_user", "available", "used"), [(1, 2, 1), (2, 1, 1), (2, 2, 2)])
def test_the_number_is_only_lowered(
    monkeypatch: pytest.MonkeyPatch, set_by_user: int, available: int, used: int
) -> None:
    before = torch.get_num_threads()
    monkeypatch.setattr(threads, "available_processors", lambda: available)
    torch.set_num_threads(set_by_user)
    try:
        assert threads.use_available_threads() == torch.get_num_threads() == used
    finally:
        torch.set_num_threads(before)
