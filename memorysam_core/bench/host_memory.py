"""Freed memory of the host, kept for the next set or given back at each, on the processor."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Iterator

from memorysam_core.bench.row import Row
from memorysam_core.bench.stages import WIDE
from memorysam_core.bench.timing import in_turn

_SMALL = (256, 448)
_SETTLING = 2
"""Sets in which the heap grows to what it will need."""
_PROGRAM = """
import resource, sys
import numpy as np
from memorysam_core import Segmenter
from memorysam_core.checkpoint import SHIPPED

size = tuple(map(int, sys.argv[1:]))
segmenter = Segmenter(SHIPPED, "cpu", size=size)
rng = np.random.default_rng(0)
for _ in sys.stdin:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    frames = rng.integers(0, 256, (len(segmenter.contract.names), *size, 3), dtype=np.uint8)
    segmenter.segment(dict(zip(segmenter.contract.names, frames)))
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(used.ru_minflt - before, used.ru_maxrss / 1024, flush=True)
"""


def rows(device: str, quick: bool) -> Iterator[Row]:
    """All rows of the area; a minute on two cores. Of a GPU there is nothing to tell."""
    if device != "cpu":
        return
    for size, repeats in [(_SMALL, 8)] if quick else [(_SMALL, 20), (WIDE, 7)]:
        # As many arenas as without it; but whoever sets anything of glibc is left alone.
        given_back, kept = _Process(size, MALLOC_ARENA_MAX="16"), _Process(size)
        try:
            ratio, spread = in_turn(given_back.segment, kept.segment, device, repeats)
        finally:
            given_back.close()
            kept.close()
        what = f"nano, 4 x {size[1]} x {size[0]}"
        yield Row("saved by keeping freed memory", ratio, "x", f"{what}; {spread}")
        for name, process in ("given back", given_back), ("kept", kept):
            yield Row(f"{name}: pages cleared for a set", process.faults, "pages", what)
            yield Row(f"{name}: most memory", process.most_mb, "MB", what)


class _Process:
    """Segments in a process of its own, with the given environment besides."""

    def __init__(self, size: tuple[int, int], **environment: str) -> None:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, *map(str, size)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=inherited | environment,
        )
        self._faults: list[float] = []
        self.most_mb = 0.0

    @property
    def faults(self) -> float:
        """Pages that the kernel cleared for a set, on average of all but the first two."""
        return statistics.mean(self._faults[_SETTLING:])

    def segment(self) -> None:
        assert self._process.stdin and self._process.stdout
        print(file=self._process.stdin, flush=True)
        faults, self.most_mb = map(float, self._process.stdout.readline().split())
        self._faults.append(faults)

    def close(self) -> None:
        self._process.communicate()
