"""What runs the model: graphs of one kind, prepared ahead or in the background."""

from __future__ import annotations

import gc
import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from typing import Protocol

import torch
from torch import Tensor

from memorysam_core.engines.graphs import Graph, Run, Shapes, graphs_for
from memorysam_core.engines.memory_use import give_back, memory_mb
from memorysam_core.engines.prepared import Prepared
from memorysam_core.engines.streams import for_preparing
from memorysam_core.engines.tracing import Undisturbed
from memorysam_core.model import Features

log = logging.getLogger(__name__)


class Source(Protocol):
    """Where graphs of one kind come from."""

    name: str
    """As the user calls the kind."""
    shapes: Shapes

    def offers(self, graph: Graph) -> bool:
        """Whether :meth:`make` can make it."""
        ...

    def make(self, graph: Graph) -> Run:
        """The graph, ready to run at full speed. May take minutes. The caller is on a stream for
        that, and waits for it.
        """
        ...


class Engine:
    """Encodes frames and runs sequences, whatever their number.

    Graphs that are prepared are used. A batch of which none is prepared is encoded in parts, and a
    sequence of another length is run by ``stand_in`` until it is prepared in the background; where
    there is no stand-in, it is prepared on the spot.
    """

    def __init__(self, source: Source, stand_in: Callable[[Graph], Run] | None = None) -> None:
        self.source = source
        self.prepared: list[Prepared] = []
        """In the order in which they became ready."""
        self._stand_in = stand_in
        self._ready: dict[Graph, Run] = {}
        self._failed: set[Graph] = set()
        self._one_at_a_time = threading.Lock()
        self._asked: list[Graph] = []
        self._asked_changed = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False

    def encode(self, pixels: Tensor, which: Tensor) -> Features:
        """Frames uint8 ``(K, H, W, 3)`` of the modalities ``which`` ``(K,)``, to features."""
        count = pixels.shape[0]
        parts = self._parts(count)
        if parts == [count]:
            return Features(*self._run(Graph("encode", count))(pixels, which))
        done, encoded = 0, []
        for part in parts:
            run, span = self._run(Graph("encode", part)), slice(done, done + part)
            # Outputs of a graph may live in buffers of its own, which its next run overwrites.
            encoded.append([level.clone() for level in run(pixels[span], which[span])])
            done += part
        return Features(*(torch.cat(levels) for levels in zip(*encoded, strict=True)))

    def run_sequence(self, features: Features) -> tuple[Tensor, Tensor, Tensor]:
        """Features ``(M, ...)`` to logits ``(C, H/4, W/4)``, closed gates ``(M,)``, finite ``()``.

        They may lie in buffers that the next call overwrites.
        """
        run = self._run(Graph("sequence", features.stride4.shape[0]))
        # Compiled code reads memory in the order that it was made for, whatever the strides say.
        return run(*(level.contiguous() for level in features.levels))

    def has(self, graph: Graph) -> bool:
        """Whether a graph is ready, or can be run at full speed without one being prepared."""
        return graph in self._ready or self.source.name == "eager"

    def can_run(self, length: int) -> bool:
        """Whether sequences of that length can be run, prepared or not."""
        return self._stand_in is not None or self.source.offers(Graph("sequence", length))

    def prepare(self, lengths: Iterable[int]) -> list[Prepared]:
        """Makes what sequences of these lengths need, now; what was made and its cost."""
        return self.prepare_graphs(graphs_for(lengths))

    def prepare_graphs(self, graphs: Iterable[Graph]) -> list[Prepared]:
        """Makes these graphs now, as far as there are such; what was made and its cost."""
        before = len(self.prepared)
        for graph in graphs:
            if self.source.offers(graph):
                self._prepare(graph)
        return self.prepared[before:]

    def prepare_in_background(self, lengths: Iterable[int]) -> None:
        """The same on a thread of its own; :meth:`wait` waits for it."""
        with self._asked_changed:
            if self._closed:
                return
            known = {*self._ready, *self._failed, *self._asked}
            news = [g for g in graphs_for(lengths) if g not in known and self.source.offers(g)]
            self._asked += news
            if self._asked and self._thread is None:
                self._thread = threading.Thread(
                    target=_work_off, args=(weakref.ref(self),), name="prepare graphs", daemon=True
                )
                self._thread.start()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Waits for the background; whether it is done."""
        thread = self._thread
        if thread is not None:
            thread.join(timeout_s)
        return not self._asked

    def close(self) -> None:
        """Ends the background after the graph in work, which is not kept. Once nothing else refers
        to this engine, its memory is free then.
        """
        with self._asked_changed:
            self._closed = True
            self._asked.clear()

    def _parts(self, count: int) -> list[int]:
        """Batches, the largest first, that make up ``count`` without waiting for a graph."""
        sizes = [k for k in range(count, 0, -1) if self._at_hand(Graph("encode", k))]
        if count in sizes or 1 not in sizes:
            return [count]
        parts: list[int] = []
        for size in sizes:
            parts += [size] * ((count - sum(parts)) // size)
        return parts

    def _at_hand(self, graph: Graph) -> bool:
        return graph in self._ready or (self._stand_in is None and self.source.offers(graph))

    def _run(self, graph: Graph) -> Run:
        run = self._ready.get(graph)
        if run is not None:
            return run
        if self._stand_in is None:
            return self._prepare(graph)
        if self.source.offers(graph) and graph not in self._failed:
            self.prepare_in_background([graph.frames])
        return Undisturbed(self._stand_in(graph))

    def _prepare(self, graph: Graph) -> Run:
        device = self.source.shapes.device
        with self._one_at_a_time:
            if graph not in self._ready:
                start, memory = time.perf_counter(), memory_mb(device)
                with for_preparing(device):
                    run = self.source.make(graph)
                seconds = time.perf_counter() - start
                cost = Prepared(graph, seconds, memory_mb(device) - memory)
                self.prepared.append(cost)
                self._ready[graph] = run
                log.info("%s engine: %s", self.source.name, cost)
            return self._ready[graph]

    def _prepare_next(self) -> bool:
        """Prepares what was asked for first; whether there was anything."""
        with self._asked_changed:
            if not self._asked:
                self._thread = None
                return False
            graph = self._asked[0]
        try:
            self._prepare(graph)
        except Exception:  # the stand-in goes on serving
            self._failed.add(graph)
            log.exception("%s engine: cannot prepare %s", self.source.name, graph)
        with self._asked_changed:
            if self._closed:
                self._ready.pop(graph, None)
            if graph in self._asked:
                self._asked.remove(graph)
        return True


def _work_off(reference: weakref.ref[Engine]) -> None:
    """Prepares all that an engine asks for, as long as somebody else wants that engine."""
    engine = reference()
    while engine is not None:
        more = engine._prepare_next()
        engine = None
        engine = reference() if more else None
    if reference() is None:
        gc.collect()
        give_back()
