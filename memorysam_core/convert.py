"""Meta's SAM 2 files and the authors' MemorySAM files to ours.

Both are PyTorch pickles. They are read with ``weights_only=True``, which executes nothing, and
every key must be accounted for.
"""

from __future__ import annotations

import os
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from memorysam_core.architecture import SIZES, Architecture
from memorysam_core.checkpoint import CheckpointError, build_model, load_strictly
from memorysam_core.model import MemorySAM

State = Mapping[str, Tensor]

STOCK_MASKS = 3
"""Masks of stock SAM 2's multi-mask output: such a file knows no classes yet."""
CLASS_PARTS = re.compile(
    r"sam_mask_decoder\.(mask_tokens\.|output_hypernetworks_mlps\.|iou_prediction_head\.layers\.2\.)"
)
"""Parts whose shape depends on the number of classes."""

_PATCH = "image_encoder.trunk.patch_embed.proj.weight"
_MASK_TOKENS = "sam_mask_decoder.mask_tokens.weight"
_RELEASED = re.compile(r"(.*trunk\.blocks\.\d+\.attn\.qkv)\.(qkv|linear_[ab]_[qv])\.(weight|bias)")


def convert(source: str | os.PathLike, num_classes: int) -> MemorySAM:
    """Read a SAM 2 or MemorySAM file into a model without adapters (merged where it had some).

    Args:
        source: Meta's ``sam2*.pt`` (class-dependent parts start fresh), or the authors' ``.pth``.
        num_classes: classes that the model shall have; a MemorySAM file must have as many.

    Raises:
        FileNotFoundError: if there is no such file.
        CheckpointError: if it is damaged, holds anything but tensors, or does not fit.
    """
    from memorysam_core.adapters import merge_adapters

    path = Path(source)
    architecture, state = convert_state(read_torch_file(path), str(path))
    if architecture.lora_rank:
        if architecture.num_classes != num_classes:
            raise CheckpointError(
                f"{path} was trained for {architecture.num_classes} classes, but the label space "
                f"has {num_classes}; give the label space that it was trained with"
            )
        model = build_model(architecture)
        load_strictly(model, state, str(path))
        return merge_adapters(model).eval()
    return _with_fresh_classes(architecture, state, num_classes, str(path))


def read_torch_file(path: Path) -> dict[str, Tensor]:
    """The state dictionary in a PyTorch file, without its wrapping and its prefixes.

    Raises:
        FileNotFoundError: if there is no such file.
        CheckpointError: if it is damaged or holds anything but tensors.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no file at {path}; give a .pt or .pth file to convert")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(_unreadable(path, error)) from error
    except (RuntimeError, EOFError, OSError, zipfile.BadZipFile, KeyError) as error:
        raise CheckpointError(_damaged(path, error)) from error
    for key in ("model_state_dict", "model", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not content:
        raise CheckpointError(f"{path} holds a {type(content).__name__}, not a state dictionary")
    foreign = [str(key) for key, value in content.items() if not isinstance(value, Tensor)]
    if foreign:
        raise CheckpointError(
            f"{path} holds values that are no tensors ({', '.join(foreign[:6])}); "
            "give a file with a state dictionary, alone or under 'model' or 'model_state_dict'"
        )
    return {re.sub(r"^(module\.)?(sam\.)?", "", str(key)): v for key, v in content.items()}


def convert_state(state: State, source: str = "the file") -> tuple[Architecture, dict[str, Tensor]]:
    """Tell the architecture of a SAM 2 or released MemorySAM state and rename it to ours.

    Returns:
        The architecture (with ``lora_rank`` and the object gate on for a MemorySAM state, and
        stock SAM 2's three masks as classes otherwise) and the state under our names.

    Raises:
        CheckpointError: if it is neither.
    """
    for key in (_PATCH, _MASK_TOKENS):
        if key not in state:
            raise CheckpointError(
                f"{source} is no SAM 2 or MemorySAM checkpoint: it has {len(state)} tensors but no "
                f"{key}; give Meta's sam2*.pt or the MemorySAM authors' .pth"
            )
    rank = next((v.shape[0] for k, v in state.items() if k.endswith("linear_a_q.weight")), 0)
    architecture = Architecture(
        size=_size(state, source),
        version="2.1" if "no_obj_embed_spatial" in state else "2.0",
        num_classes=state[_MASK_TOKENS].shape[0] - 1,
        object_gate=rank > 0,
        lora_rank=rank,
    )
    return architecture, _renamed(state)


def _size(state: State, source: str) -> str:
    embed_dim = state[_PATCH].shape[0]
    blocks = {int(m[1]) for k in state if (m := re.search(r"trunk\.blocks\.(\d+)\.", k))}
    depth = max(blocks, default=-1) + 1
    for name, size in SIZES.items():
        if (size.embed_dim, sum(size.stages)) == (embed_dim, depth):
            return name
    known = ", ".join(f"{n} {s.embed_dim}/{sum(s.stages)}" for n, s in SIZES.items())
    raise CheckpointError(
        f"{source} has a trunk of {embed_dim} channels and {depth} blocks, which is no known size "
        f"(channels/blocks: {known})"
    )


def _renamed(state: State) -> dict[str, Tensor]:
    """Released adapters as peft names them, and their fused ``qkv`` cut as ours is."""
    renamed: dict[str, Tensor] = {}
    for key, value in state.items():
        match = _RELEASED.fullmatch(key)
        if match is None:
            renamed[key] = value
            continue
        layer, part, kind = match.groups()
        if part == "qkv":
            dim = _input_width(state, layer)
            renamed[f"{layer}.query.base_layer.{kind}"] = value[:dim]
            renamed[f"{layer}.middle.{kind}"] = value[dim:-dim]
            renamed[f"{layer}.value.base_layer.{kind}"] = value[-dim:]
        else:
            _, matrix, role = part.split("_")
            name = {"q": "query", "v": "value"}[role]
            renamed[f"{layer}.{name}.lora_{matrix.upper()}.default.{kind}"] = value
    return renamed


def _input_width(state: State, layer: str) -> int:
    return state[f"{layer}.qkv.weight"].shape[1]


def _with_fresh_classes(
    architecture: Architecture, state: dict[str, Tensor], num_classes: int, source: str
) -> MemorySAM:
    """SAM 2's weights with class-dependent parts drawn anew."""
    if architecture.num_classes != STOCK_MASKS:
        raise CheckpointError(
            f"{source} has {architecture.num_classes} masks but no adapters: it is neither stock "
            "SAM 2 (3 masks) nor a released MemorySAM (adapters in every trunk block)"
        )
    model = build_model(architecture)
    load_strictly(model, state, source)  # as stock SAM 2, so that nothing goes unnoticed
    fresh = build_model(architecture.replace(num_classes=num_classes))
    kept = {k: v for k, v in model.state_dict().items() if not CLASS_PARTS.match(k)}
    fresh.load_state_dict({**fresh.state_dict(), **kept})
    return fresh.eval()


def _damaged(path: Path, error: Exception) -> str:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return (
        f"{path} ({path.stat().st_size:,} bytes) cannot be read as a PyTorch file: it is cut off "
        f"or damaged ({reason}); download or copy it again"
    )


def _unreadable(path: Path, error: Exception) -> str:
    named = re.search(r"(?:GLOBAL|global|class)\s+([\w.]+)", str(error))
    what = f" ({named[1]})" if named else ""
    return (
        f"{path} holds Python objects other than tensors{what}; loading them could run code, so it "
        "is refused: save the state dictionary alone, with torch.save(model.state_dict(), ...)"
    )
