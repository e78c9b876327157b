"""The folder of a run: recipe, metrics, curves, pictures and checkpoints.

Everything is written so that a process killed at any moment leaves whole files: under another name
first and then renamed, or, for the metrics, line by line and cut back to the checkpoint on resume.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import yaml
from torch.utils.tensorboard import SummaryWriter

from memorysam_training.recipe import Recipe
from memorysam_training.settings import SettingsError


class RunFolder:
    """Paths and writers of one run; on all but the main process nothing is written."""

    def __init__(self, path: Path, is_main: bool = True) -> None:
        self.path, self.is_main = path, is_main
        self.state_file = path / "checkpoints" / "last.pt"
        self.last_file = path / "checkpoints" / "last.safetensors"
        self.best_file = path / "checkpoints" / "best.safetensors"
        self.metrics_file = path / "metrics.jsonl"
        self._board: SummaryWriter | None = None

    def start(self, recipe: Recipe) -> None:
        """Makes the folder for a new run. Raises SettingsError if another run is in it."""
        if self.state_file.exists():
            raise SettingsError(
                f"{self.path} holds another run; continue it with --resume, or give another name "
                "or run.folder"
            )
        if self.is_main:
            self.best_file.parent.mkdir(parents=True, exist_ok=True)
            self.metrics_file.unlink(missing_ok=True)
            self._tidy(recipe)

    def resume(self, recipe: Recipe, step: int, due: bool) -> None:
        """Forgets the metrics of what will be done again: steps after ``step`` and, if it is
        ``due``, the validation of ``step``; and notes the recipe that goes on.
        """
        if not self.is_main:
            return
        kept = [
            row
            for row in read_metrics(self.metrics_file)
            if row["step"] < step or (row["step"] == step and not (due and row["kind"] == "val"))
        ]
        with replacing(self.metrics_file) as temporary:
            temporary.write_text("".join(json.dumps(row) + "\n" for row in kept))
        self._tidy(recipe)

    def _tidy(self, recipe: Recipe) -> None:
        """Clears away what a killed process was writing, and writes down the recipe."""
        for left_over in self.path.rglob(".*.tmp"):
            left_over.unlink()
        with replacing(self.path / "recipe.yaml") as temporary:
            temporary.write_text(yaml.safe_dump(recipe.to_dict(), sort_keys=False))

    def log(self, row: dict) -> None:
        """One line of metrics; ``step`` counts finished steps."""
        if not self.is_main:
            return
        with self.metrics_file.open("a") as file:
            file.write(json.dumps(row) + "\n")
        if self._board is None:
            self._board = SummaryWriter(self.path / "tensorboard", purge_step=row["step"])
        for key, value in row.items():
            if isinstance(value, (int, float)) and key != "step":
                self._board.add_scalar(f"{row['kind']}/{key}", value, row["step"])

    def save_state(self, state: dict) -> None:
        """The training state, whole or not at all."""
        if self.is_main:
            with replacing(self.state_file) as temporary:
                torch.save(state, temporary)

    def load_state(self) -> dict:
        """The training state. Raises SettingsError if there is none."""
        if not self.state_file.is_file():
            raise SettingsError(f"no {self.state_file} to resume; start the run without --resume")
        return torch.load(self.state_file, map_location="cpu", weights_only=True)

    def close(self) -> None:
        """Flushes TensorBoard."""
        if self._board is not None:
            self._board.close()
            self._board = None


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name to write to, which then takes the place of ``path``, on the disk for good."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_metrics(path: Path) -> list[dict]:
    """The rows of a metrics file; a last line that was cut off by a kill is left out."""
    if not path.is_file():
        return []
    lines = path.read_text().split("\n")
    return [json.loads(line) for line in lines[:-1] if line]
