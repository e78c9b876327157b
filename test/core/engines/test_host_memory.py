"""Freed memory is used again, where a model runs on the processor, unless the user has a say."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library is not glibc"
)
BLOCK_MB, TIMES = 40, 5
PAGES = BLOCK_MB * 256
"""Of 4 KB, of one block."""
PROGRAM = f"""
import resource
from concurrent.futures import ThreadPoolExecutor

import torch

from memorysam_core.checkpoint import SHIPPED
from memorysam_core.segmenter import Segmenter


def faults() -> int:
    def use() -> None:
        torch.ones({BLOCK_MB} << 18)

    for _ in range(3):
        use()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range({TIMES}):
        use()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


before = faults()
Segmenter(SHIPPED, "cpu", size=(32, 64))
with ThreadPoolExecutor(1) as pool:
    print(before, faults(), pool.submit(faults).result())
"""


def page_faults(**environment: str) -> list[int]:
    """Before there is a segmenter, with one, and with one in another thread."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=clean | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return [int(word) for word in done.stdout.split()]


def test_memory_of_one_set_serves_the_next_in_any_thread() -> None:
    before, after, in_a_thread = page_faults()
    assert before > TIMES * PAGES / 2  # or there is nothing to show
    assert after < PAGES / 10
    assert in_a_thread < PAGES / 10


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MALLOC_MMAP_THRESHOLD_", "1000000"),
        ("GLIBC_TUNABLES", "glibc.malloc.mmap_threshold=1000000"),
    ],
)
def test_what_the_user_has_set_stays(name: str, value: str) -> None:
    assert min(page_faults(**{name: value})) > TIMES * PAGES / 2
