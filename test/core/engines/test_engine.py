"""The engine: which graph runs when, by a source whose graphs are known and can be held up."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from memorysam_core.engines import engine as engine_module
from memorysam_core.engines.engine import Engine
from memorysam_core.engines.graphs import Graph, Shapes, graphs_for

SHAPES = Shapes((32, 32), 32, torch.float32, torch.device("cpu"))


class FakeSource:
    """Its graphs tell who ran; features are the pixels' sums."""

    name = "fake"
    shapes = SHAPES

    def __init__(self, offered: set[str] | None = None, fail: str = "") -> None:
        self.made: list[str] = []
        self.ran: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        self._offered, self._fail = offered, fail

    def offers(self, graph: Graph) -> bool:
        return self._offered is None or str(graph) in self._offered

    def make(self, graph: Graph):
        assert self.gate.wait(120)
        self.made.append(str(graph))
        if str(graph) == self._fail:
            raise RuntimeError("no such kernel")
        buffer = torch.zeros(graph.frames)

        def run(*inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            self.ran.append(str(graph))
            assert len(inputs[0]) == graph.frames
            buffer.copy_(inputs[0].flatten(1).float().sum(1))  # overwritten by the next run
            return buffer, buffer * 2, buffer * 3

        return run


def pixels(count: int) -> Tensor:
    return torch.arange(1, count + 1, dtype=torch.uint8)[:, None]


def encode(engine: Engine, count: int) -> list[float]:
    features = engine.encode(pixels(count), torch.arange(count))
    assert torch.equal(features.stride16, features.stride4 * 3)
    return features.stride4.tolist()


@pytest.fixture
def held_up() -> Iterator[tuple[FakeSource, FakeSource, Engine]]:
    """A source that waits for its gate, the stand-in meanwhile, and their engine."""
    slow, stand_in = FakeSource(), FakeSource()
    slow.gate.clear()
    engine = Engine(slow, stand_in.make)
    yield slow, stand_in, engine
    slow.gate.set()
    engine.close()
    engine.wait(120)


def test_what_lengths_need() -> None:
    assert [str(g) for g in graphs_for([4, 3])] == [
        "encode1", "encode3", "encode4", "sequence3", "sequence4"
    ]  # fmt: skip
    assert Graph.parse("sequence12") == Graph("sequence", 12)


def test_a_graph_is_made_once_and_its_cost_told() -> None:
    source = FakeSource()
    engine = Engine(source)
    assert encode(engine, 2) == encode(engine, 2) == [1, 2]
    assert source.made == ["encode2"] and source.ran == ["encode2"] * 2
    (cost,) = engine.prepared
    assert cost.graph == Graph("encode", 2) and 0 <= cost.seconds < 300
    assert str(cost).startswith("encode2 in ") and str(cost).endswith(" MB")


def test_batches_that_were_not_exported_are_encoded_in_parts() -> None:
    source = FakeSource({"encode1", "encode3", "sequence3"})
    engine = Engine(source)
    assert encode(engine, 5) == [1, 2, 3, 4, 5]
    assert source.ran == ["encode3", "encode1", "encode1"]


def test_an_unprepared_length_runs_by_the_stand_in_until_the_background_is_done(held_up) -> None:
    slow, stand_in, engine = held_up
    assert encode(engine, 2) == [1, 2]  # at once, though nothing is ready
    assert stand_in.ran == ["encode2"] and slow.ran == []
    assert not engine.wait(0.05)
    slow.gate.set()
    assert engine.wait(120)
    assert slow.made == ["encode1", "encode2", "sequence2"]
    assert encode(engine, 2) == [1, 2]
    assert stand_in.ran == ["encode2"] and slow.ran == ["encode2"]
    assert encode(engine, 3) == [1, 2, 3]  # made up of what is ready
    assert slow.ran == ["encode2", "encode2", "encode1"]


def test_a_graph_that_cannot_be_made_is_not_tried_again() -> None:
    source, stand_in = FakeSource(fail="sequence2"), FakeSource()
    engine = Engine(source, stand_in.make)
    for _ in range(3):
        engine.run_sequence(SHAPES.features(2))
        assert engine.wait(120)
    assert source.made.count("sequence2") == 1
    assert stand_in.ran == ["sequence2"] * 3


def test_preparing_asks_only_for_what_there_is() -> None:
    source = FakeSource({"encode1", "sequence2"})
    engine = Engine(source)
    assert [str(p.graph) for p in engine.prepare([1, 2])] == ["encode1", "sequence2"]
    assert engine.prepare([2]) == []
    assert engine.can_run(2) and not engine.can_run(1)


def test_a_closed_engine_prepares_nothing_more(held_up) -> None:
    slow, _, engine = held_up
    engine.prepare_in_background([1, 2])
    engine.close()
    slow.gate.set()
    assert engine.wait(120)
    engine.prepare_in_background([3])
    assert engine.wait(120) and len(slow.made) <= 1


def test_a_closed_engine_is_gone_once_the_graph_in_work_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    freed = threading.Event()
    monkeypatch.setattr(engine_module, "give_back", freed.set)
    source = FakeSource()
    source.gate.clear()
    gate, model = source.gate, weakref.ref(source)
    engine = Engine(source, FakeSource().make)
    engine.prepare_in_background([1, 2])
    thread = engine._thread
    engine.close()
    del engine, source
    assert model() is not None and not freed.is_set()  # it cannot be broken off
    gate.set()
    thread.join(120)
    assert freed.is_set() and model() is None


def test_what_was_in_work_when_the_engine_was_closed_is_not_kept(held_up) -> None:
    slow, _, engine = held_up
    engine.prepare_in_background([1])
    thread = engine._thread
    engine.close()
    slow.gate.set()
    thread.join(120)
    assert not engine._ready
