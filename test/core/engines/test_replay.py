"""Recordings: when they are made, and the order of copies, with a stand-in for CUDA graphs that is
as strict as they are.

Without a GPU, a recording is played by running the function again on the same buffers. Whatever
lies in a pool is spoilt as soon as another recording of that pool is played, which is when a real
one may overwrite it.
"""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from memorysam_core.engines import reducers
from memorysam_core.engines.graphs import Graph
from memorysam_core.engines.reducers import Reducers
from memorysam_core.engines.replay import PREPARING, Replay, recorded
from memorysam_core.reduce import labels_and_confidence
from memorysam_core.segmenter import Segmenter


class Recording:
    """One pool's recordings; the last one that was played is the only one whose results hold."""

    pools: dict[object, list[Recording]] = {}
    threads: list[str] = []
    """On which threads recordings were made."""

    def __init__(self, owner: Replay) -> None:
        assert PREPARING.locked()
        self.owner = owner
        self.pools.setdefault(owner._pool, []).append(self)
        self.threads.append(threading.current_thread().name)

    def replay(self) -> None:
        results = [result.clone() for result in self.owner._run(*self.owner._inputs)]
        for recording in self.pools[self.owner._pool]:
            for output in recording.owner._outputs:
                output.fill_(True if output.dtype == torch.bool else 113)
        for output, result in zip(self.owner._outputs, results, strict=True):
            output.copy_(result)


@pytest.fixture
def without_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def record(self: Replay):
        outputs = tuple(result.clone() for result in self._run(*self._inputs))
        return Recording(self), outputs

    monkeypatch.setattr(Recording, "pools", {})
    monkeypatch.setattr(Recording, "threads", [])
    monkeypatch.setattr(Replay, "_record", record)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", object)


def record_everything(segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    source = segmenter.engine.source
    make = source.make

    def recording(graph: Graph):
        with PREPARING:
            return recorded(make(graph), source.shapes.noise(graph), "model", graph)

    monkeypatch.setattr(source, "make", recording)
    segmenter.reduce = Reducers((5, 8, 16), segmenter.device, records=True)


@pytest.mark.usefixtures("without_gpu")
def test_inputs_are_copied_in_and_never_written_to() -> None:
    with PREPARING:
        double = Replay(lambda x: (x * 2,), (torch.zeros(3),), pool=None)
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
    segmenter = Segmenter(checkpoint, "cpu", "fp32")
    record_everything(segmenter, monkeypatch)
    segmenter.warm_up(lengths=[4, 2], others=False, label_sizes=[(48, 80)])
    rng = np.random.default_rng(3)
    subsets = [tuple(frames), ("image", "lidar"), ("depth", "event"), tuple(frames), ("event",)]
    for k, subset in enumerate(subsets * 2):
        for name in subset[::2]:  # the others are held
            frames[name] = rng.integers(0, 256, frames[name].shape, dtype=np.uint8)
        given, size = {name: frames[name] for name in subset}, ((32, 64), (48, 80))[k % 2]
        result = segmenter.segment(given, size)
        expected = Segmenter(checkpoint, "cpu", "fp32").segment(given, size)
        assert (result.labels == expected.labels).mean() > 0.999
        assert result.closed_gates == expected.closed_gates
    assert Graph("encode", 1) in segmenter.engine._ready and len(Recording.pools["model"]) >= 5


@pytest.mark.usefixtures("without_gpu")
def test_no_set_waits_for_a_recording(
    checkpoint: Path, frames: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    segmenter = Segmenter(checkpoint, "cpu", "fp32")
    record_everything(segmenter, monkeypatch)
    segmenter.engine._stand_in = segmenter.engine.source._modules.of
    segmenter.warm_up(label_sizes=[(48, 80)])
    assert segmenter.engine.wait(120)
    made = [str(cost.graph) for cost in segmenter.prepared]
    assert {"encode1", "encode4", "sequence1", "labels at 80 x 48", "labels at 64 x 32"} < set(made)
    here = Recording.threads.count(threading.current_thread().name)

    PREPARING.acquire()  # as when a graph is being compiled
    try:
        first = segmenter.segment(frames, (40, 60))
        again = segmenter.segment(frames, (40, 60))
    finally:
        PREPARING.release()
    _wait_for_labels()
    last = segmenter.segment(frames, (40, 60))
    assert np.array_equal(first.labels, again.labels) and np.array_equal(first.labels, last.labels)
    assert Recording.threads.count(threading.current_thread().name) == here
    assert Recording.threads[-1] == "record labels"
    assert str(segmenter.prepared[-1].graph) == "labels at 60 x 40"


def _wait_for_labels() -> None:
    for thread in threading.enumerate():
        if thread.name == "record labels":
            thread.join(120)


@pytest.mark.usefixtures("without_gpu")
@torch.inference_mode()
def test_recordings_of_labels_do_not_add_up() -> None:
    logits = torch.randn(5, 8, 16)
    reduce = Reducers((5, 8, 16), logits.device, records=True)
    sizes = [(8 * k, 16 * k) for k in range(1, 8)]
    for size in sizes:
        reduce.prepare(size)
    assert list(reduce._ready) == sizes[-reducers.MOST_SIZES :]
    reduce(logits, sizes[3])  # the one that would go next is used again
    reduce.prepare(sizes[0])
    assert set(reduce._ready) == {sizes[0], sizes[3], *sizes[-2:]}
    for size in sizes:
        labels, confidence = reduce(logits, size)
        expected = labels_and_confidence(logits, size)
        assert torch.equal(labels, expected[0]) and torch.equal(confidence, expected[1])
    _wait_for_labels()
    reduce.forget()
    assert not reduce._ready


def test_what_cannot_be_recorded_runs_as_it_is_and_is_not_tried_again(
    checkpoint: Path,
    frames: dict[str, np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    tries: list[Replay] = []

    def fail(self: Replay):
        tries.append(self)
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 GiB")

    monkeypatch.setattr(Replay, "_record", fail)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", object)
    segmenter = Segmenter(checkpoint, "cpu", "fp32")
    record_everything(segmenter, monkeypatch)
    segmenter.warm_up(lengths=[4], others=False)
    expected = Segmenter(checkpoint, "cpu", "fp32").segment(frames)
    for _ in range(3):
        assert np.array_equal(segmenter.segment(frames).labels, expected.labels)
        segmenter.forget()
    assert len(tries) == 4  # encode1, encode4, sequence4, labels
    told = [record.getMessage() for record in caplog.records if "recorded" in record.getMessage()]
    assert len(told) == 4
    assert "encode4 cannot be recorded as a CUDA graph" in told[2] + told[1]
    assert "CUDA out of memory. Tried to allocate" in told[0]
