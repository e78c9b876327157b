"""MemorySAM's core: torch and numpy in, labels out; no ROS, no training.

The names below are imported when first used, so that ``memorysam --help`` needs no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from memorysam_core.architecture import Architecture
    from memorysam_core.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
    from memorysam_core.contract import InputContract, Modality
    from memorysam_core.labels import LabelSpace
    from memorysam_core.model import MemorySAM
    from memorysam_core.segmenter import Segmentation, Segmenter

__all__ = [
    "Architecture",
    "CheckpointError",
    "InputContract",
    "LabelSpace",
    "MemorySAM",
    "Modality",
    "Segmentation",
    "Segmenter",
    "load_checkpoint",
    "save_checkpoint",
]

_HOME = {
    "Architecture": "architecture",
    "CheckpointError": "checkpoint",
    "InputContract": "contract",
    "LabelSpace": "labels",
    "MemorySAM": "model",
    "Modality": "contract",
    "Segmentation": "segmenter",
    "Segmenter": "segmenter",
    "load_checkpoint": "checkpoint",
    "save_checkpoint": "checkpoint",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
