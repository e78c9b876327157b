"""From a checkpoint to a file that runs without it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from memorysam_core.checkpoint import Checkpoint, Header, digest
from memorysam_core.contract import InputContract
from memorysam_core.engines import aoti, onnx_files
from memorysam_core.engines.check import AGREEMENT, refuse_wrong, same_labels, stays_finite
from memorysam_core.engines.eager import Eager
from memorysam_core.engines.engine import Engine
from memorysam_core.engines.graphs import Graph, Modules, Run, graphs_for
from memorysam_core.engines.load import build_modules
from memorysam_core.engines.made_for import Machine, MadeFor
from memorysam_core.engines.placement import choose_device, choose_precision
from memorysam_core.model import Features

Form = Literal["aoti", "onnx"]
SUFFIXES: dict[str, str] = {"aoti": ".pt2", "onnx": ".onnx"}


@dataclass(frozen=True)
class Exported:
    """What was written."""

    files: tuple[Path, ...]
    made_for: MadeFor
    agreement: float
    """Share of the labels that equal the checkpoint's, on frames of noise."""


def export(
    checkpoint: Checkpoint,
    out: Path,
    form: Form | None = None,
    size: tuple[int, int] | None = None,
    modalities: Sequence[str] | None = None,
    lengths: Sequence[int] | None = None,
    device: str = "auto",
    precision: str = "auto",
    least_agreement: float | None = None,
) -> Exported:
    """Compile a checkpoint's graphs, write them, and try what was written.

    Args:
        form: by the ending of ``out`` where None.
        size: height and width; the checkpoint's own where None.
        modalities: all of the checkpoint's where None.
        lengths: numbers of frames in a sequence; 1 to all where None.

        least_agreement: the share of equal labels below which nothing is written, but for those
            that rounding decides; that of :data:`AGREEMENT` where None.

    Raises:
        ValueError: for arguments that do not go together, for weights that overflow in fp16, or if
            what was made computes something else than the checkpoint; nothing is left of it then,
            and files of an earlier export are as they were.
    """
    form = _form(out, form)
    placed = torch.device("cpu") if form == "onnx" else choose_device(device)
    precision = _precision(form, precision, placed)
    contract = _contract(checkpoint.contract, size, modalities)
    graphs = _graphs(form, lengths, len(contract.modalities))
    checkpoint = Checkpoint(
        Header(checkpoint.architecture, contract), checkpoint.state, checkpoint.path
    )
    model, modules = build_modules(checkpoint, placed, precision, contract.size)
    if precision == "fp16" and not stays_finite(modules, len(contract.modalities)):
        others = "fp32" if form == "onnx" else "bf16 or fp32"
        raise ValueError(f"these weights overflow in fp16; give precision {others}")
    source = checkpoint.path
    made_for = MadeFor(
        format=aoti.FORMAT if form == "aoti" else onnx_files.FORMAT,
        architecture=model.architecture,
        contract=contract,
        precision=precision,
        machine=Machine.here(placed) if form == "aoti" else None,
        checkpoint=source.name if source else "CHECKPOINT.safetensors",
        checkpoint_sha256=digest(source) if source else "",
        graphs=tuple(str(graph) for graph in graphs),
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    # What is there already stays until what takes its place was tried.
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as folder:
        untried = Path(folder) / out.name
        made: Engine
        if form == "aoti":
            names = [out.name]
            aoti.export(untried, modules, graphs, made_for)
            made = Engine(aoti.Packaged(untried, made_for, modules.shapes))
        else:
            names = [onnx_files.file_of(out, graph).name for graph in graphs]
            onnx_files.export(untried, modules, graphs, made_for)
            made = Engine(onnx_files.OnnxFiles(untried, made_for, modules.shapes))
        for graph in graphs:
            refuse_wrong(graph, _run_of(made, graph), modules.of(graph), modules.shapes)
        agreement = _agreement(made, modules, max(graphs).frames, least_agreement)
        for name in reversed(names):  # the one that the user names last: it stands for all
            os.replace(untried.with_name(name), out.with_name(name))
    return Exported(tuple(out.with_name(name) for name in names), made_for, agreement)


def _form(out: Path, form: Form | None) -> Form:
    found: Form
    for found in ("aoti", "onnx"):
        if out.suffix == SUFFIXES[found] and form in (None, found):
            return found
    expected = SUFFIXES[form] if form else " or ".join(SUFFIXES.values())
    raise ValueError(f"the file to write is {out}; give one that ends in {expected}")


def _precision(form: Form, precision: str, device: torch.device) -> str:
    if form == "aoti":
        return choose_precision(precision, device)
    if precision == "bf16":
        raise ValueError(
            "precision is bf16, which onnxruntime does not compute on a CPU; give fp32, or fp16 "
            "for a GPU"
        )
    return "fp32" if precision == "auto" else choose_precision(precision, device)


def _contract(
    contract: InputContract, size: tuple[int, int] | None, modalities: Sequence[str] | None
) -> InputContract:
    names = contract.ordered(modalities) if modalities is not None else contract.names
    return contract.replace(
        size=size or contract.size, modalities=tuple(contract.modality(name) for name in names)
    )


def _graphs(form: Form, lengths: Sequence[int] | None, most: int) -> list[Graph]:
    chosen = sorted(set(lengths)) if lengths is not None else list(range(1, most + 1))
    if not chosen or chosen[0] < 1 or chosen[-1] > most:
        raise ValueError(
            f"lengths are {', '.join(map(str, chosen)) or 'none'}; give numbers from 1 to {most}, "
            "as many as sensors can take part"
        )
    graphs = graphs_for(chosen)
    if form == "onnx":  # one frame at a time: a file for each batch would repeat the weights
        graphs = [
            graph for graph in graphs if graph == Graph("encode", 1) or graph.stage == "sequence"
        ]
    return graphs


def _run_of(made: Engine, graph: Graph) -> Run:
    if graph.stage == "encode":
        return lambda pixels, which: made.encode(pixels, which).levels
    return lambda *levels: made.run_sequence(Features(*levels))


def _agreement(made: Engine, modules: Modules, frames: int, least: float | None) -> float:
    """Equal labels, as a share, of what was made and the model itself, of a set of noise.

    Raises ValueError where too many of them are others.
    """
    pixels, which = modules.shapes.noise(Graph("encode", frames))
    which.copy_(torch.arange(frames))
    engines, dtype = (made, Engine(Eager(modules))), modules.shapes.dtype
    with torch.inference_mode():
        ours, models = (e.run_sequence(e.encode(pixels, which))[0] for e in engines)
        share = same_labels(ours, models, dtype)
        least = AGREEMENT[dtype] if least is None else least
        if share < least:
            raise ValueError(
                f"what was made gives the checkpoint's labels, or as good ones, on {share:.3%} of "
                f"the pixels of noise, and at least {least:.2%} are wanted; use precision fp32, or "
                "another release of PyTorch"
            )
        return (ours.argmax(dim=0) == models.argmax(dim=0)).double().mean().item()
