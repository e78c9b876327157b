"""The model of a node, loaded and warm."""

from __future__ import annotations

from typing import Any, Protocol

import torch

from memorysam_core.checkpoint import digest
from memorysam_core.segmenter import Segmenter
from memorysam_ros.parameters import Parameters
from memorysam_ros.pipeline import SegmenterLike


class Load(Protocol):
    """How a node gets its model, and what to say of it in diagnostics."""

    def __call__(self, parameters: Parameters) -> tuple[SegmenterLike, dict[str, str]]:
        """The model, ready, and facts by name."""
        ...


def load_model(parameters: Parameters) -> tuple[SegmenterLike, dict[str, str]]:
    """The checkpoint's model, run once, and facts about it.

    Raises ValueError for parameters, OSError or CheckpointError for a file that cannot be used.
    """
    if not parameters.checkpoint:
        raise ValueError("parameter checkpoint is empty; give a .safetensors file")
    precision: Any = parameters.precision
    segmenter = Segmenter(
        parameters.checkpoint,
        parameters.device,
        precision,
        parameters.network_size,
        parameters.engine,
    )
    most = len(segmenter.contract.names)
    segmenter.warm_up(lengths=range(1, most + 1) if parameters.prepare == "all" else None)
    height, width = segmenter.size
    facts = {
        "checkpoint": f"{parameters.checkpoint} sha256 {digest(parameters.checkpoint)[:16]}",
        "model": f"{segmenter.precision} on {segmenter.device}, {width} x {height}",
        "engine": f"{segmenter.engine.source.name}, torch {torch.__version__}",
        "modalities": ", ".join(segmenter.contract.names),
    }
    if segmenter.prepared:
        facts["prepared"] = "; ".join(map(str, segmenter.prepared))
    return segmenter, facts


def device_memory() -> dict[str, str]:
    """Device memory in use by torch, where there is a device."""
    if not torch.cuda.is_available():
        return {}
    return {
        "GPU memory (MB)": f"{torch.cuda.memory_allocated() / 2**20:.0f}",
        "GPU memory, peak (MB)": f"{torch.cuda.max_memory_allocated() / 2**20:.0f}",
    }


def free_device_memory() -> None:
    """Gives back what nothing refers to any more."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
