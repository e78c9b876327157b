"""A folder that appears under its name only when all that belongs into it is there."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A hidden folder beside ``path``, which is given that name at the end.

    Where the block is left by an exception, Ctrl-C among them, nothing remains. Raises
    FileExistsError where the name is taken.
    """
    _refuse_existing(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as hidden:
        folder = Path(hidden) / path.name
        folder.mkdir()
        yield folder
        _refuse_existing(path)
        shutil.move(folder, path)


def _refuse_existing(path: Path) -> None:
    if path.exists():
        raise FileExistsError(f"{path} exists already; remove it or choose another name")
