"""The model through ``torch.compile``: made at start, kept on disk for the next one."""

from __future__ import annotations

import logging
import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from memorysam_core.engines.check import refuse_wrong
from memorysam_core.engines.compiler import require_compiler, sound_options
from memorysam_core.engines.graphs import Graph, Modules, Run
from memorysam_core.engines.replay import PREPARING, recorded
from memorysam_core.engines.tracing import Undisturbed

log = logging.getLogger(__name__)

CACHE_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"
_TRACING = "using FX to symbolically trace"
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
        with PREPARING, torch.inference_mode(), _many_graphs():
            # Of the same kind as the tensors to come, or the code is refused and compiled again.
            refuse_wrong(graph, run, module, self.shapes)
            if self._on_gpu:
                given = self.shapes.noise(graph)
                return recorded(run, given, self._pool, graph)  # type: ignore[return-value]
        return OrEager(run, module)

    @property
    def _on_gpu(self) -> bool:
        return self.shapes.device.type == "cuda"


class OrEager:
    """Compiled code, or its module while another thread traces one.

    Some releases of PyTorch, 2.5 to 2.9 among them, take that for a trace of this code, and refuse
    to run it.
    """

    def __init__(self, run: Run, module: Run) -> None:
        self._run = run
        self._module = Undisturbed(module)

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The results of either."""
        try:
            return self._run(*inputs)
        except RuntimeError as error:
            if _TRACING not in str(error):
                raise
            return self._module(*inputs)


def _many_graphs() -> AbstractContextManager[None]:
    """Lets the compiler make them; in newer releases of PyTorch the limit is one thread's own."""
    from torch._dynamo import config  # a second or two, which other engines start without

    renamed = {"recompile_limit": "cache_size_limit"}  # in 2.7
    renamed["accumulated_recompile_limit"] = "accumulated_cache_size_limit"
    names = [new if hasattr(config, new) else old for new, old in renamed.items()]
    return config.patch({name: max(getattr(config, name), MOST_GRAPHS) for name in names})


def _keep_on_disk(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        log.warning("compiled code cannot be kept in %s (%s): every start compiles", folder, error)
    else:
        os.environ[CACHE_VARIABLE] = str(folder)
