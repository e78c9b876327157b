"""ONNX files, for onnxruntime on CPU or CUDA and for TensorRT.

``model.onnx`` encodes one frame, ``model.sequence4.onnx`` beside it runs a sequence of four; what
they were made for is in their metadata. Shapes are fixed, as TensorRT likes them best.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from memorysam_core.checkpoint import CheckpointError
from memorysam_core.engines.graphs import Graph, Modules, Run, Shapes
from memorysam_core.engines.made_for import MadeFor
from memorysam_core.engines.streams import for_sets, stream_of

FORMAT = "memorysam-onnx/1"
OPSET = 18
KEY = "memorysam"
INPUTS = {"encode": ["pixels", "which"], "sequence": ["stride4", "stride8", "stride16"]}
OUTPUTS = {
    "encode": ["stride4", "stride8", "stride16"],
    "sequence": ["logits", "closed_gates", "finite"],
}


def file_of(path: Path, graph: Graph) -> Path:
    """The file of a graph, beside or at the path that the user names."""
    if graph == Graph("encode", 1):
        return path
    return path.with_name(f"{path.stem}.{graph}{path.suffix}")


def export(path: Path, modules: Modules, graphs: Iterable[Graph], made_for: MadeFor) -> None:
    """Writes a file for each graph."""
    for graph in graphs:
        _export(modules, graph, file_of(path, graph), made_for)


def _export(modules: Modules, graph: Graph, target: Path, made_for: MadeFor) -> None:
    import onnx

    with torch.no_grad():
        program = torch.onnx.export(
            modules.of(graph),
            modules.shapes.inputs(graph),
            input_names=INPUTS[graph.stage],
            output_names=OUTPUTS[graph.stage],
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    proto = program.model_proto
    onnx.helper.set_model_props(proto, {KEY: made_for.to_json()})
    onnx.save(proto, str(target))


def read_made_for(path: Path) -> MadeFor:
    """What the files at a path were made for.

    Raises FileNotFoundError, CheckpointError for another file, ModuleNotFoundError without
    onnxruntime.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no exported model at {path}; make one with memorysam export")
    return _read(path, _session(path, torch.device("cpu")))


def _read(path: Path, session: Any) -> MadeFor:
    try:
        made_for = MadeFor.from_json(session.get_modelmeta().custom_metadata_map[KEY])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path} is no model that memorysam export wrote ({error}); make it: "
            f"memorysam export CHECKPOINT.safetensors {path.name} --format onnx"
        ) from error
    made_for.refuse_other_format(path, FORMAT)
    return made_for


def _session(path: Path, device: torch.device) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    providers: list[Any] = ["CPUExecutionProvider"]
    if device.type == "cuda":
        if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            raise ValueError(
                f"this onnxruntime ({onnxruntime.__version__}) cannot use CUDA; install "
                "onnxruntime-gpu instead of onnxruntime, or choose device cpu"
            )
        stream = stream_of("sets", device)  # of torch, so that neither waits for the other
        placed = {"device_id": device.index or 0, "user_compute_stream": str(stream.cuda_stream)}
        providers.insert(0, ("CUDAExecutionProvider", placed))
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # onnxruntime has a class of error for each status
        raise CheckpointError(
            f"{path} cannot be loaded by onnxruntime {onnxruntime.__version__} "
            f"({' '.join(str(error).split())}); make it anew with memorysam export"
        ) from error


class OnnxFiles:
    """The graphs in ONNX files, run by onnxruntime."""

    name = "onnx"

    def __init__(self, path: Path, made_for: MadeFor, shapes: Shapes) -> None:
        self.shapes = shapes
        self._path = path
        self._made_for = made_for

    def offers(self, graph: Graph) -> bool:
        """Whether its file was exported."""
        return str(graph) in self._made_for.graphs

    def make(self, graph: Graph) -> Run:
        """Loads a file. Raises CheckpointError for one that is missing or of another export."""
        file = file_of(self._path, graph)
        if not self.offers(graph) or not file.is_file():
            raise CheckpointError(
                f"{self._path} came with {', '.join(self._made_for.graphs)}, and there is no "
                f"{file.name} beside it; make it anew: {self._made_for.command(self._path.name)}"
            )
        session = _session(file, self.shapes.device)
        beside = _read(file, session)
        beside.refuse_other_checkpoint(file, self._made_for.checkpoint_sha256)
        beside.refuse_other(file, None, self._made_for.precision, self._made_for.contract.size)
        return _Bound(session, graph, self.shapes)


class _Bound:
    """A session that reads and writes torch's memory, on the CPU or on the GPU."""

    def __init__(self, session: Any, graph: Graph, shapes: Shapes) -> None:
        self._session = session
        self._names = INPUTS[graph.stage]
        self._device = shapes.device
        self._options = _without_waiting() if shapes.device.type == "cuda" else None
        self._outputs = self._buffers(shapes)

    def _buffers(self, shapes: Shapes) -> dict[str, Tensor]:
        kinds = {
            "tensor(float)": torch.float32,
            "tensor(float16)": torch.float16,
            "tensor(bool)": torch.bool,
        }
        return {
            out.name: torch.empty(tuple(out.shape), dtype=kinds[out.type], device=shapes.device)
            for out in self._session.get_outputs()
        }

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The results, in buffers that the next call overwrites."""
        binding = self._session.io_binding()
        with for_sets(self._device):
            given = [value.contiguous() for value in inputs]
            for name, value in zip(self._names, given, strict=True):
                binding.bind_input(name, *_place(value))
            for name, value in self._outputs.items():
                binding.bind_output(name, *_place(value))
            self._session.run_with_iobinding(binding, self._options)
        first, second, third = self._outputs.values()
        return first, second, third


def _without_waiting() -> Any:
    """Options of a run that ends when all is queued on the stream."""
    import onnxruntime

    options = onnxruntime.RunOptions()
    options.add_run_config_entry("disable_synchronize_execution_providers", "1")
    return options


def _place(tensor: Tensor) -> tuple[str, int, Any, tuple[int, ...], int]:
    kind = {
        torch.float32: np.float32,
        torch.float16: np.float16,
        torch.uint8: np.uint8,
        torch.int64: np.int64,
        torch.bool: np.bool_,
    }[tensor.dtype]
    device = tensor.device
    return device.type, device.index or 0, kind, tuple(tensor.shape), tensor.data_ptr()
