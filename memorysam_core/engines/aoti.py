"""AOTInductor packages: graphs compiled ahead of time, run without compiling anything.

A file is an uncompressed zip: what it was made for (``memorysam.json``), every weight once
(``weights.safetensors``), and for each graph its compiled code without weights (``encode4.pt2``).
All graphs read the same copy of the weights on the device. Loading runs machine code from the file:
use files that you made.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from memorysam_core.checkpoint import CheckpointError
from memorysam_core.engines.compiler import require_compiler, sound_options
from memorysam_core.engines.graphs import Graph, Modules, Run, Shapes
from memorysam_core.engines.made_for import MadeFor
from memorysam_core.engines.replay import PREPARING, recorded

FORMAT = "memorysam-aoti/1"
MADE_FOR, WEIGHTS, CONSTANTS = "memorysam.json", "weights.safetensors", "constants.json"
OLDEST_TORCH = "2.8"
"""The first that lets several graphs share weights which the caller holds."""


def export(path: Path, modules: Modules, graphs: Iterable[Graph], made_for: MadeFor) -> None:
    """Compiles graphs and writes them. Minutes for each graph of a big model.

    Raises:
        ValueError: for a PyTorch that is too old, or without a C++ compiler.
    """
    if not _shares_weights():
        raise ValueError(
            f"torch {torch.__version__} cannot make packages with shared weights; "
            f"{OLDEST_TORCH} or later can. Until then, use engine compiled"
        )
    require_compiler()
    weights: dict[str, Tensor] = {}
    constants: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(path, "w") as archive:
        for graph in graphs:
            package = Path(folder) / f"{graph}.pt2"
            held = _compile(modules, graph, package)
            constants[str(graph)] = {fqn: _shared(held[fqn], weights) for fqn in held}
            archive.write(package, package.name)
        _write_weights(archive, weights, Path(folder))
        archive.writestr(CONSTANTS, json.dumps(constants))
        archive.writestr(MADE_FOR, made_for.to_json())


def _shares_weights() -> bool:
    try:
        from torch.export.pt2_archive._package import AOTICompiledModel
    except ImportError:
        return False
    return "user_managed" in inspect.signature(AOTICompiledModel.load_constants).parameters


def _compile(modules: Modules, graph: Graph, package: Path) -> dict[str, Tensor]:
    """Writes a graph's code; the constants that it wants to be given, by name."""
    from torch.export.graph_signature import InputKind

    with torch.no_grad():
        program = torch.export.export(modules.of(graph), modules.shapes.inputs(graph))
    # A tensor that is no parameter or buffer would be renamed on the way, and not found again.
    for spec in program.graph_signature.input_specs:
        if spec.kind is InputKind.CONSTANT_TENSOR:
            spec.kind, spec.persistent = InputKind.BUFFER, False
    torch._inductor.aoti_compile_and_package(
        program,
        package_path=str(package),
        inductor_configs={
            "aot_inductor.package_constants_in_so": False,
            **sound_options(modules.shapes),
        },
    )
    known = {**program.state_dict, **program.constants}
    wanted = _Code(package, modules.shapes.device).wanted()
    return {fqn: known[fqn].detach() for fqn in wanted}


class _Code:
    """A graph's compiled code on its device.

    PyTorch's own loader (``torch._inductor.aoti_load_package``) imports the whole compiler, which
    takes longer than all else at the start, and asks for a C++ compiler.
    """

    def __init__(self, package: Path, device: torch.device) -> None:
        on_gpu = device.type == "cuda"
        # CUDA graphs cannot record the locks with which a package lets several threads in.
        single_threaded, index = on_gpu, (device.index or 0) if on_gpu else -1
        self._loader = torch._C._aoti.AOTIModelPackageLoader(
            str(package), "model", single_threaded, 1, index
        )

    def wanted(self) -> list[str]:
        """Names of the weights that it is to be given."""
        return self._loader.get_constant_fqns()

    def give(self, weights: dict[str, Tensor]) -> None:
        """Has it read these weights, all of them, where they are. The caller keeps them alive."""
        inactive, check_all, user_managed = False, True, True
        self._loader.load_constants(weights, inactive, check_all, user_managed)

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        first, second, third = self._loader.boxed_run(list(inputs))
        return first, second, third


def _shared(tensor: Tensor, weights: dict[str, Tensor]) -> dict[str, Any]:
    """Puts a tensor among the weights unless its like is there; how to find it again."""
    whole = tensor.cpu().contiguous()
    content = whole.flatten().view(torch.uint8).numpy().tobytes()
    told = f"{tensor.dtype}{tuple(tensor.shape)}".encode()
    name = hashlib.sha256(told + content).hexdigest()[:32]
    weights.setdefault(name, whole)
    return {"name": name, "stride": list(tensor.stride())}


def _write_weights(archive: zipfile.ZipFile, weights: Mapping[str, Tensor], folder: Path) -> None:
    from safetensors.torch import save_file

    save_file({name: tensor.clone() for name, tensor in weights.items()}, folder / WEIGHTS)
    archive.write(folder / WEIGHTS, WEIGHTS)


def read_made_for(path: Path) -> MadeFor:
    """What a package was made for. Raises FileNotFoundError, CheckpointError for another file."""
    if not path.is_file():
        raise FileNotFoundError(f"no exported model at {path}; make one with memorysam export")
    try:
        with zipfile.ZipFile(path) as archive:
            made_for = MadeFor.from_json(archive.read(MADE_FOR).decode())
    except (zipfile.BadZipFile, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path} is no model that memorysam export wrote, or is damaged ({error}); "
            f"make it: memorysam export CHECKPOINT.safetensors {path.name}"
        ) from error
    made_for.refuse_other_format(path, FORMAT)
    return made_for


class Packaged:
    """The graphs of a package, loaded when asked for; CUDA graphs on a GPU."""

    name = "aoti"

    def __init__(self, path: Path, made_for: MadeFor, shapes: Shapes) -> None:
        from safetensors.torch import load

        self.shapes = shapes
        self._path = path
        self._graphs = made_for.graphs
        with zipfile.ZipFile(path) as archive:
            self._constants = json.loads(archive.read(CONSTANTS))
            weights = load(archive.read(WEIGHTS))
        self._weights = {name: value.to(shapes.device) for name, value in weights.items()}
        self._strided: dict[tuple, Tensor] = {}
        self._on_gpu = shapes.device.type == "cuda"
        self._pool = torch.cuda.graph_pool_handle() if self._on_gpu else None

    def offers(self, graph: Graph) -> bool:
        """Whether it is in the package."""
        return str(graph) in self._graphs

    def make(self, graph: Graph) -> Run:
        """Loads one. Raises CheckpointError for a graph that is not in the package."""
        if not self.offers(graph):
            raise CheckpointError(
                f"{self._path} holds {', '.join(self._graphs)}, not {graph}; export it with "
                f"--lengths {graph.frames}"
            )
        with tempfile.TemporaryDirectory() as folder:
            with zipfile.ZipFile(self._path) as archive:
                package = archive.extract(f"{graph}.pt2", folder)
            run = _Code(Path(package), self.shapes.device)
        constants = {
            fqn: self._constant(where["name"], tuple(where["stride"]))
            for fqn, where in self._constants[str(graph)].items()
        }
        run.give(constants)
        if not self._on_gpu:
            return run
        with PREPARING, torch.inference_mode():
            return recorded(run, self.shapes.noise(graph), self._pool, graph)  # type: ignore[return-value]

    def _constant(self, name: str, stride: tuple[int, ...]) -> Tensor:
        """A weight as the compiled code expects it in memory; the same one for all graphs."""
        weight = self._weights[name]
        if weight.stride() == stride:
            return weight
        if (name, stride) not in self._strided:
            strided = torch.empty_strided(
                weight.shape, stride, dtype=weight.dtype, device=weight.device
            )
            self._strided[name, stride] = strided.copy_(weight)
        return self._strided[name, stride]
