"""The model through ``torch.compile``: made at start, kept on disk for the next one."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import torch

from memorysam_core.engines.check import refuse_wrong
from memorysam_core.engines.compiler import require_compiler, sound_options
from memorysam_core.engines.graphs import Graph, Modules, Run
from memorysam_core.engines.replay import Replay

log = logging.getLogger(__name__)

CACHE_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"
MOST_GRAPHS = 256
"""More graphs than one process makes: torch.compile gives up on a function after eight shapes."""


def cache_folder() -> Path:
    """Where compiled code is kept: ``$TORCHINDUCTOR_CACHE_DIR``, or in the user's cache folder.

    PyTorch's own default is below ``/tmp``, which a restart of the robot empties.
    """
    given = os.environ.get(CACHE_VARIABLE)
    if given:
        return Path(given)
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "memorysam" / f"torch-{torch.__version__}"


class Compiled:
    """Graphs of fixed shapes, each compiled when it is asked for; CUDA graphs on a GPU."""

    name = "compiled"

    def __init__(self, modules: Modules) -> None:
        require_compiler()
        self.shapes = modules.shapes
        self._modules = modules
        self._pool = torch.cuda.graph_pool_handle() if self._on_gpu else None
        _keep_on_disk(cache_folder())

    def offers(self, graph: Graph) -> bool:
        """Always."""
        return True

    def make(self, graph: Graph) -> Run:
        """Compiles, or finds on disk what an earlier process compiled, and tries it.

        Raises ValueError where the code computes something else than the model.
        """
        # On a CPU all kernels of a graph go into one file, which compiles three times as fast.
        options: dict[str, Any] = {} if self._on_gpu else {"cpp_wrapper": True}
        options |= sound_options(self.shapes)
        module = self._modules.of(graph)
        run = torch.compile(module, fullgraph=True, dynamic=False, options=options)
        with torch.inference_mode():
            # Of the same kind as the tensors to come, or the code is refused and compiled again.
            given = self.shapes.noise(graph)
            refuse_wrong(graph, run(*given), module(*given))
        return Replay(run, self._pool) if self._on_gpu else run  # type: ignore[return-value]

    @property
    def _on_gpu(self) -> bool:
        return self.shapes.device.type == "cuda"


def _keep_on_disk(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        log.warning("compiled code cannot be kept in %s (%s): every start compiles", folder, error)
    else:
        os.environ[CACHE_VARIABLE] = str(folder)
    limits = torch._dynamo.config
    for name in ("recompile_limit", "accumulated_recompile_limit"):
        setattr(limits, name, max(getattr(limits, name), MOST_GRAPHS))
