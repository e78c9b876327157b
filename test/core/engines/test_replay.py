"""Recordings: the order of copies, with a stand-in for CUDA graphs that is as strict as they are.

Without a GPU, a recording is played by running the function again on the same buffers. Whatever
lies in a pool is spoilt as soon as another recording of that pool is played, which is when a real
one may overwrite it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from memorysam_core.engines.graphs import Graph
from memorysam_core.engines.replay import Replay
from memorysam_core.segmenter import Segmenter


class Recording:
    """One pool's recordings; the last one that was played is the only one whose results hold."""

    pools: dict[object, list[Recording]] = {}

    def __init__(self, owner: Replay) -> None:
        self.owner = owner
        self.pools.setdefault(owner._pool, []).append(self)

    def replay(self) -> None:
        results = [result.clone() for result in self.owner._run(*self.owner._inputs)]
        for recording in self.pools[self.owner._pool]:
            for output in recording.owner._outputs:
                output.fill_(True if output.dtype == torch.bool else 113)
        for output, result in zip(self.owner._outputs, results, strict=True):
            output.copy_(result)


@pytest.fixture
def without_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def record(self: Replay, inputs: tuple[torch.Tensor, ...]) -> None:
        self._inputs = tuple(given.clone() for given in inputs)
        self._outputs = tuple(result.clone() for result in self._run(*self._inputs))
        self._recording = Recording(self)  # type: ignore[assignment]

    monkeypatch.setattr(Recording, "pools", {})
    monkeypatch.setattr(Replay, "_record", record)


@pytest.mark.usefixtures("without_gpu")
def test_inputs_are_copied_in_and_never_written_to() -> None:
    double = Replay(lambda x: (x * 2,), pool=None)
    one, other = torch.ones(3), torch.full((3,), 5.0)
    (result,) = double(one)
    assert result.tolist() == [2, 2, 2]
    (result,) = double(other)
    assert result.tolist() == [10, 10, 10]
    assert one.tolist() == [1, 1, 1] and other.tolist() == [5, 5, 5]


@pytest.mark.usefixtures("without_gpu")
def test_a_segmenter_uses_results_up_before_they_are_overwritten(
    checkpoint: Path, frames: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = Segmenter(checkpoint, "cpu", "fp32")
    make = recorded.engine.source.make
    monkeypatch.setattr(recorded.engine.source, "make", lambda g: Replay(make(g), pool="model"))
    recorded.engine.prepare([4, 2])
    rng = np.random.default_rng(3)
    subsets = [tuple(frames), ("image", "lidar"), ("depth", "event"), tuple(frames), ("event",)]
    for subset in subsets * 2:
        for name in subset[::2]:  # the others are held
            frames[name] = rng.integers(0, 256, frames[name].shape, dtype=np.uint8)
        given = {name: frames[name] for name in subset}
        result, expected = recorded.segment(given), Segmenter(checkpoint, "cpu", "fp32")
        expected = expected.segment(given)
        assert (result.labels == expected.labels).mean() > 0.999
        assert result.closed_gates == expected.closed_gates
    assert Graph("encode", 1) in recorded.engine._ready and len(Recording.pools["model"]) >= 5
