"""The model of a node, loaded and warm."""

from __future__ import annotations

from typing import Any, Protocol

import torch

from memorysam_core.checkpoint import digest
from memorysam_core.segmenter import Segmenter
from memorysam_ros.feeds import fed_by
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
    try:
        warm_up(segmenter, parameters)
    except BaseException:
        segmenter.close()
        raise
    height, width = segmenter.size
    facts = {
        "checkpoint": f"{parameters.checkpoint} sha256 {digest(parameters.checkpoint)[:16]}",
        "model": f"{segmenter.precision} on {segmenter.device}, {width} x {height}",
        "engine": f"{segmenter.engine.source.name}, torch {torch.__version__}",
        "modalities": ", ".join(segmenter.contract.names),
        **facts_now(segmenter),
    }
    return segmenter, facts


def warm_up(segmenter: Segmenter, parameters: Parameters) -> None:
    """Makes what the sensors that will be fed need: code for as many of them as ``prepare`` says,
    and one run of each. Code for the other numbers of them is made in the background.
    """
    feeds = fed_by(segmenter.contract, parameters)
    fed = [name for name in segmenter.contract.names if name in feeds]
    possible = range(1, len(fed) + 1)
    lengths = set(possible if parameters.prepare == "all" else possible[-2:])
    subsets = [fed[:length] for length in sorted(lengths) if segmenter.engine.can_run(length)]
    segmenter.warm_up(subsets, lengths, others=False)
    segmenter.engine.prepare_in_background(set(possible) - lengths)


def facts_now(segmenter: SegmenterLike) -> dict[str, str]:
    """What changes while the node runs: code that is ready, and device memory where it has one."""
    facts = {}
    prepared = getattr(segmenter, "prepared", ())
    if prepared:
        facts["prepared"] = "; ".join(map(str, prepared))
    device = torch.device(segmenter.device)
    if device.type == "cuda":
        used, peak = torch.cuda.memory_allocated(device), torch.cuda.max_memory_allocated(device)
        facts["GPU memory (MB)"] = f"{used / 2**20:.0f}"
        facts["GPU memory, peak (MB)"] = f"{peak / 2**20:.0f}"
    return facts
