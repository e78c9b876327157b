"""What PyTorch's compiler needs beside PyTorch."""

from __future__ import annotations

import os
import shutil
import sysconfig
from pathlib import Path


def require_compiler() -> None:
    """Raises ValueError, with what to install, where compiled code cannot be made."""
    missing = []
    if not any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "clang++")):
        missing.append("a C++ compiler (g++)")
    if not (Path(sysconfig.get_paths()["include"]) / "Python.h").is_file():
        missing.append("Python's headers (python3-dev)")
    if missing:
        raise ValueError(
            f"to compile, PyTorch needs {' and '.join(missing)}: sudo apt-get install g++ "
            "python3-dev; or use engine eager, or a file exported on a machine like this one"
        )
