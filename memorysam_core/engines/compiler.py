"""What PyTorch's compiler needs: tools, and settings with which its code is right."""

from __future__ import annotations

import os
import shutil
import sysconfig
from pathlib import Path
from typing import Any

import torch

from memorysam_core.engines.graphs import Shapes


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


def sound_options(shapes: Shapes) -> dict[str, Any]:
    """Settings without which PyTorch 2.13 makes wrong code.

    On AVX-512 processors its 16-bit kernels write nothing at all where a result is not contiguous:
    ``store(..., 64)`` of a vector of 32 (``_load_or_store_non_contiguous`` in
    ``torch/_inductor/codegen/cpp.py``). Vectors of 256 bits are free of that; matrix products do
    not depend on them.
    """
    wide = "AVX512" in torch.backends.cpu.get_cpu_capability()
    if shapes.device.type == "cpu" and shapes.dtype.itemsize == 2 and wide:
        return {"cpp.simdlen": 256}
    return {}
