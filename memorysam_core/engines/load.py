"""From the file and the words of a user to an engine."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch

from memorysam_core.adapters import merge_adapters
from memorysam_core.checkpoint import Checkpoint, digest, load_checkpoint
from memorysam_core.contract import InputContract, check_size
from memorysam_core.engines import aoti, onnx_files
from memorysam_core.engines.check import stays_finite
from memorysam_core.engines.compiled import Compiled
from memorysam_core.engines.eager import Eager
from memorysam_core.engines.engine import Engine
from memorysam_core.engines.graphs import Modules, Shapes
from memorysam_core.engines.made_for import Machine, MadeFor
from memorysam_core.engines.placement import (
    DTYPES,
    Precision,
    choose_device,
    choose_precision,
)
from memorysam_core.model import MemorySAM

log = logging.getLogger(__name__)

EngineName = Literal["auto", "eager", "compiled"]
EXPORTED = (".pt2", ".onnx")
"""Endings of exported files, which are their own engine."""


@dataclass(frozen=True)
class Loaded:
    """An engine and what it stands for."""

    engine: Engine
    contract: InputContract
    size: tuple[int, int]
    precision: str
    device: torch.device
    path: Path | None
    model: MemorySAM | None
    """None where only compiled code is there."""


def load_engine(
    source: str | os.PathLike | Checkpoint,
    engine: str = "auto",
    device: str | torch.device = "auto",
    precision: Precision = "auto",
    size: tuple[int, int] | None = None,
) -> Loaded:
    """The engine for a checkpoint or an exported file.

    Raises:
        FileNotFoundError: if there is no such file.
        CheckpointError: for a file that cannot be used, here or at all.
        ValueError: for an unknown engine, device, precision or size.
    """
    if engine not in get_args(EngineName):
        raise ValueError(
            f"engine is {engine!r}; accepted are {', '.join(get_args(EngineName))}, or the file of "
            "an exported engine (.pt2, .onnx) in place of the checkpoint"
        )
    path = None if isinstance(source, Checkpoint) else Path(source)
    if path is not None and path.suffix in EXPORTED:
        if engine != "auto":
            raise ValueError(
                f"{path} is an exported engine, so engine {engine!r} cannot be chosen with it; "
                "leave engine at auto, or give the .safetensors checkpoint"
            )
        return _load_exported(path, choose_device(device), precision, size)
    checkpoint = source if isinstance(source, Checkpoint) else load_checkpoint(source)
    return _load_checkpoint(checkpoint, engine, choose_device(device), precision, size)


def build_modules(
    checkpoint: Checkpoint, device: torch.device, precision: str, size: tuple[int, int]
) -> tuple[MemorySAM, Modules]:
    """The model merged, fused and placed, and its graphs. ``precision`` is not ``auto``."""
    check_size(*size)
    model = merge_adapters(checkpoint.build()).fuse().to(device, DTYPES[precision])
    return model, Modules(model, checkpoint.contract, size)


def _load_checkpoint(
    checkpoint: Checkpoint,
    engine: str,
    device: torch.device,
    precision: str,
    size: tuple[int, int] | None,
) -> Loaded:
    contract, chosen = checkpoint.contract, choose_precision(precision, device)
    size = size or contract.size
    model, modules = build_modules(checkpoint, device, chosen, size)
    if (
        precision == "auto"
        and chosen == "fp16"
        and not stays_finite(modules, len(contract.modalities))
    ):
        log.warning(
            "these weights overflow in fp16, and %s computes no bf16: precision auto is fp32, "
            "which takes longer",
            device,
        )
        chosen = "fp32"
        model, modules = build_modules(checkpoint, device, chosen, size)
    eager = Eager(modules)
    made = Engine(Compiled(modules), eager.make) if engine == "compiled" else Engine(eager)
    return Loaded(made, contract, size, chosen, device, checkpoint.path, model)


def _load_exported(
    path: Path, device: torch.device, precision: str, size: Sequence[int] | None
) -> Loaded:
    kind = aoti if path.suffix == ".pt2" else onnx_files
    made_for = kind.read_made_for(path)
    wanted_size = (int(size[0]), int(size[1])) if size else None
    made_for.refuse_other(path, Machine.here(device), precision, wanted_size)
    _refuse_stale(path, made_for)
    shapes = Shapes(
        made_for.contract.size,
        made_for.architecture.parts.model_dim,
        DTYPES[made_for.precision],
        device,
    )
    source = (
        aoti.Packaged(path, made_for, shapes)
        if kind is aoti
        else onnx_files.OnnxFiles(path, made_for, shapes)
    )
    contract = made_for.contract
    return Loaded(Engine(source), contract, contract.size, made_for.precision, device, path, None)


def _refuse_stale(path: Path, made_for: MadeFor) -> None:
    """Refuses a file whose checkpoint lies beside it and is not the one it was made from."""
    beside = path.parent / Path(made_for.checkpoint).name
    if beside.is_file():
        made_for.refuse_other_checkpoint(path, digest(beside))
