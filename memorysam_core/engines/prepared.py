"""What it cost to get ready."""

from __future__ import annotations

from dataclasses import dataclass

from memorysam_core.engines.graphs import Graph


@dataclass(frozen=True)
class Prepared:
    """What one graph, or labels at one size, cost to prepare."""

    graph: Graph | str
    seconds: float
    memory_mb: float
    """Growth of device memory, or of the process where the device is the CPU."""

    def __str__(self) -> str:
        return f"{self.graph} in {self.seconds:.1f} s, {self.memory_mb:+.0f} MB"
