"""Runs of the smallest model, for the tests of the trainer."""

from __future__ import annotations

import sys
from pathlib import Path

from memorysam_training.recipe import Recipe
from memorysam_training.runs import read_metrics

SMALL = [
    "model.size=nano",
    "data.size=[64,64]",
    "optimiser.batch=2",
    "optimiser.batch_per_process=1",
    "optimiser.epochs=3",
    "optimiser.warmup_epochs=1",
    "run.workers=0",
    "run.log_every=1",
    "run.save_every=1",
    "run.pictures=1",
    "run.validate_every=1",
    "augment.early_size=[32,32]",
    "augment.early_share=0.5",
]
SCRATCH = ["model.trainable=full", "model.rank=0", "data.depth=log_depth"]


def settings(tree: Path, folder: Path, *overrides: str) -> list[str]:
    """Of a run from random weights."""
    return [*SMALL, *SCRATCH, f"data.root={tree}", f"run.folder={folder}", *overrides]


def recipe(tree: Path, folder: Path, *overrides: str) -> Recipe:
    """The same as a recipe."""
    return Recipe.load(None, settings(tree, folder, *overrides))


def command(file: Path, *words: str) -> list[str]:
    """What starts ``memorysam train`` in a process of its own, with an empty recipe."""
    file.write_text("name: small\n")
    program = "import sys; from memorysam_core.cli import main; sys.exit(main())"
    return [sys.executable, "-c", program, "train", str(file), *words]


def losses(folder: Path) -> list[tuple[int, float]]:
    """Of every step."""
    return [(r["step"], r["loss"]) for r in read_metrics(folder / "metrics.jsonl") if "loss" in r]


def validations(folder: Path) -> list[dict]:
    """Of every validation all there is."""
    return [row for row in read_metrics(folder / "metrics.jsonl") if row["kind"] == "val"]
