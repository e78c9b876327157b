"""Streams and devices, with a stand-in for CUDA that notes what is asked of it."""

from __future__ import annotations

import contextlib
import threading
import types
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from memorysam_core.engines import aoti, onnx_files, placement, streams
from memorysam_core.engines.engine import Engine
from memorysam_core.engines.graphs import Graph, Shapes
from memorysam_core.engines.memory_use import give_back
from memorysam_core.engines.replay import PREPARING, Replay
from memorysam_core.segmenter import Segmenter

SECOND = torch.device("cuda", 1)
SHAPES = Shapes((32, 32), 32, torch.float32, SECOND)


class Cuda:
    """What is asked, and the stream on which it is."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.made = 0
        self.default = self._stream("default")
        self.now = self.default

    def _stream(self, name: str) -> types.SimpleNamespace:
        def wait(other: types.SimpleNamespace) -> None:
            self.asked.append(f"{name} waits for {other.name}")

        def synchronize() -> None:
            self.asked.append(f"host waits for {name}")

        return types.SimpleNamespace(
            name=name, wait_stream=wait, synchronize=synchronize, cuda_stream=4711, device=SECOND
        )

    def stream_of(self, device: torch.device) -> types.SimpleNamespace:
        self.made += 1
        return self._stream(f"stream {self.made} of {device}")

    @contextlib.contextmanager
    def on(self, stream: types.SimpleNamespace) -> Iterator[None]:
        before, self.now = self.now, stream
        yield
        self.now = before


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cuda]:
    fake = Cuda()
    streams.stream_of.cache_clear()
    monkeypatch.setattr(torch.cuda, "Stream", fake.stream_of)
    monkeypatch.setattr(torch.cuda, "stream", fake.on)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: fake.now)
    monkeypatch.setattr(torch.cuda, "default_stream", lambda device: fake.default)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: fake.asked.append("memory given back"))
    yield fake
    streams.stream_of.cache_clear()


def test_sets_wait_for_their_caller_and_for_nothing_else(cuda: Cuda) -> None:
    with streams.for_sets(SECOND):
        assert cuda.now.name == "stream 1 of cuda:1"
        with streams.for_sets("cuda:1"):  # frames drawn within, one and the same stream
            assert cuda.now.name == "stream 1 of cuda:1"
    assert cuda.now is cuda.default
    assert cuda.asked == ["stream 1 of cuda:1 waits for default"]
    with streams.for_sets("cpu"):
        assert cuda.now is cuda.default


def test_graphs_are_made_beside_the_sets_and_done_before_they_are_used(cuda: Cuda) -> None:
    class Source:
        name, shapes = "fake", SHAPES

        def offers(self, graph: Graph) -> bool:
            return True

        def make(self, graph: Graph):
            assert cuda.now.name == "stream 1 of cuda:1"
            cuda.asked.append(f"make {graph}")
            return lambda *inputs: inputs

    engine = Engine(Source(), lambda graph: lambda *inputs: inputs)
    engine.prepare([1])
    assert cuda.now is cuda.default
    assert [a for a in cuda.asked if a != "memory given back"] == [
        line
        for graph in ("encode1", "sequence1")
        for line in (
            "stream 1 of cuda:1 waits for default",
            f"make {graph}",
            "host waits for stream 1 of cuda:1",
        )
    ]
    with streams.for_sets(SECOND):
        assert cuda.now.name == "stream 2 of cuda:1"
    assert cuda.asked[-1] == "stream 2 of cuda:1 waits for default"


def test_nothing_runs_on_the_stream_of_recordings(
    cuda: Cuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is replayed beside what is prepared must not share a library's workspace with it."""
    recorded_on: list[tuple[str, str]] = []
    ran_on: list[str] = []

    @contextlib.contextmanager
    def graph(recording, *, pool, stream, capture_error_mode) -> Iterator[None]:
        recorded_on.append((stream.name, capture_error_mode))
        with cuda.on(stream):
            yield

    def run(x: torch.Tensor) -> tuple[torch.Tensor]:
        ran_on.append(cuda.now.name)
        return (x,)

    monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
    monkeypatch.setattr(torch.cuda, "graph", graph)
    with PREPARING, streams.for_preparing(SECOND):
        preparing = cuda.now.name
        for _ in range(2):
            Replay(run, (torch.zeros(2),), pool=None)
    assert len({*recorded_on}) == 1 and recorded_on[0] == ("stream 2 of cpu", "thread_local")
    assert ran_on == [preparing, preparing, "stream 2 of cpu"] * 2


def test_memory_is_not_given_back_while_anything_is_recorded(
    cuda: Cuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyTorch takes that for an error, on whichever thread."""
    other = threading.Thread(target=give_back)

    @contextlib.contextmanager
    def graph(recording, **options) -> Iterator[None]:
        yield

    def run(x: torch.Tensor) -> tuple[torch.Tensor]:
        cuda.asked.append("run")
        if cuda.asked.count("run") == 3:  # after the warm-ups
            other.start()
            other.join(0.2)
            cuda.asked.append("recorded")
        return (x,)

    monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
    monkeypatch.setattr(torch.cuda, "graph", graph)
    Replay(run, (torch.zeros(2),), pool=None)
    other.join()
    assert cuda.asked == ["run", "run", "run", "recorded", "memory given back"]


def test_a_device_without_a_number_is_the_current_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    assert placement.choose_device("cuda") == placement.choose_device("auto") == SECOND
    assert placement.choose_device("cuda:0").index == 0


@pytest.mark.parametrize(
    ("device", "single", "index"), [(SECOND, True, 1), (torch.device("cpu"), False, -1)]
)
def test_a_package_is_loaded_onto_its_device(
    monkeypatch: pytest.MonkeyPatch, device: torch.device, single: bool, index: int, tmp_path
) -> None:
    asked: list[tuple] = []
    monkeypatch.setattr(
        torch._C._aoti, "AOTIModelPackageLoader", lambda *options: asked.append(options)
    )
    package = tmp_path / "encode1.pt2"
    aoti._Code(package, device)
    assert asked == [(str(package), "model", single, 1, index)]


def test_onnxruntime_works_on_the_stream_of_sets_and_is_not_waited_for(
    cuda: Cuda, monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    asked: list = []
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPU"]
    )
    monkeypatch.setattr(
        onnxruntime, "InferenceSession", lambda path, options, providers: asked.append(providers)
    )
    onnx_files._session(tmp_path / "robot.onnx", SECOND)
    assert asked == [
        [
            ("CUDAExecutionProvider", {"device_id": 1, "user_compute_stream": "4711"}),
            "CPUExecutionProvider",
        ]
    ]
    key = "disable_synchronize_execution_providers"
    assert onnx_files._without_waiting().get_run_config_entry(key) == "1"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("engine", ["eager", "compiled"])
def test_a_set_is_waited_for_only_in_the_end(
    checkpoint: Path, frames: dict[str, np.ndarray], engine: str
) -> None:
    segmenter = Segmenter(checkpoint, "cuda", "fp32", engine=engine)
    segmenter.warm_up(lengths=[4], others=False, label_sizes=[(48, 80)])
    expected = Segmenter(checkpoint, "cpu", "fp32").segment(frames, (48, 80))
    torch.cuda.set_sync_debug_mode("error")  # of all waits but those for a stream
    try:
        result = segmenter.segment(frames, (48, 80))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert (result.labels == expected.labels).mean() > 0.999
    if engine == "compiled":
        told = [str(cost) for cost in segmenter.prepared]
        assert any(line.startswith("labels at 80 x 48 in ") for line in told)
    segmenter.close()
