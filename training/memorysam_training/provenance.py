"""Where weights come from, for the checkpoint's header."""

from __future__ import annotations

import platform
from datetime import datetime, timezone
from pathlib import Path

import torch

from memorysam_core.metrics import Scores
from memorysam_training.processes import process_count
from memorysam_training.recipe import Recipe


def provenance(recipe: Recipe, step: int, seconds: float, scores: Scores, command: str) -> dict:
    """Plain values: recipe, seed, time, machine and the score on ``val``."""
    return {
        "command": command,
        "recipe": recipe.to_dict(),
        "seed": recipe.run.seed,
        "steps": step,
        "training_seconds": round(seconds),
        "machine": machine(),
        "torch": torch.__version__,
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "val": {key: round(value, 4) for key, value in scores.to_dict().items()},
        "licence": "Apache-2.0",
    }


def machine() -> str:
    """The device in words, and how many processes train if there are several."""
    count = process_count()
    return _device() if count == 1 else f"{_device()}; {count} processes"


def _device() -> str:
    if torch.cuda.is_available():
        return f"{torch.cuda.device_count()} x {torch.cuda.get_device_name()}"
    cores = torch.get_num_threads()
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{model}, {cores} threads"
