"""The model as it is: nothing to prepare."""

from __future__ import annotations

from memorysam_core.engines.graphs import Graph, Modules, Run


class Eager:
    """Graphs that PyTorch runs operation by operation."""

    name = "eager"

    def __init__(self, modules: Modules) -> None:
        self.shapes = modules.shapes
        self._modules = modules

    def offers(self, graph: Graph) -> bool:
        """Always."""
        return True

    def make(self, graph: Graph) -> Run:
        """The module itself."""
        return self._modules.of(graph)
