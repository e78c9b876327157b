"""Modules that other packages contribute by where they lie: sub-commands and benchmarks."""

from __future__ import annotations

import importlib.util
from pathlib import Path


def modules(package: str) -> dict[str, Path]:
    """The public modules of a package by their full names, found without importing them.

    Empty where the package, or one around it, is not installed.
    """
    try:
        spec = importlib.util.find_spec(package)
    except ModuleNotFoundError:
        return {}
    folders = spec.submodule_search_locations if spec else None
    files = (path for folder in folders or () for path in sorted(Path(folder).glob("*.py")))
    return {f"{package}.{path.stem}": path for path in files if not path.stem.startswith("_")}
