"""Our checkpoint: one safetensors file whose header carries architecture and input contract.

Nothing in it is executed on loading. Foreign files are converted once, by
:mod:`memorysam_core.convert`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from memorysam_core.architecture import Architecture
from memorysam_core.contract import InputContract
from memorysam_core.model import MemorySAM

FORMAT = "memorysam/1"
SHIPPED = Path(__file__).parent / "weights" / "nano_sim.safetensors"
"""``nano``, trained on simulated drives (``docs/results.md``)."""
LISTED = 6
"""Keys named in an error; the rest are counted."""


class CheckpointError(ValueError):
    """A checkpoint cannot be used; the message says what was found and what to do."""


@dataclass(frozen=True)
class Header:
    """What can be known of a checkpoint without reading its weights."""

    architecture: Architecture
    contract: InputContract

    def __post_init__(self) -> None:
        if self.architecture.num_classes != len(self.contract.label_space):
            raise CheckpointError(
                f"the model has {self.architecture.num_classes} classes but its label space "
                f"{self.contract.label_space.name!r} has {len(self.contract.label_space)}; "
                "give a label space of the model's size"
            )

    def to_metadata(self) -> dict[str, str]:
        """As safetensors stores it: text by key."""
        return {
            "format": FORMAT,
            "architecture": json.dumps(self.architecture.to_dict()),
            "contract": self.contract.to_json(),
        }


@dataclass(frozen=True)
class Checkpoint:
    """Header and weights of one file."""

    header: Header
    state: Mapping[str, Tensor] = field(repr=False)
    path: Path | None = None

    @property
    def architecture(self) -> Architecture:
        """Everything but the weights that decides what the model computes."""
        return self.header.architecture

    @property
    def contract(self) -> InputContract:
        """What the model expects of whoever feeds it."""
        return self.header.contract

    def build(self) -> MemorySAM:
        """The model with these weights in float32, on the CPU, in evaluation mode.

        Raises:
            CheckpointError: if keys are missing, unexpected or misshapen, or a weight is not
                finite.
        """
        model = build_model(self.architecture)
        load_strictly(model, self.state, str(self.path or "the checkpoint"))
        return model.eval()


def build_model(architecture: Architecture) -> MemorySAM:
    """A model with fresh weights, with adapters where the architecture says so."""
    model = MemorySAM(architecture.replace(lora_rank=0))
    if architecture.lora_rank:
        from memorysam_core.adapters import add_adapters  # peft is only needed here

        add_adapters(model, architecture.lora_rank)
    return model


def load_strictly(model: MemorySAM, state: Mapping[str, Tensor], source: str) -> None:
    """Load ``state`` into ``model``, every key accounted for. Raises CheckpointError otherwise."""
    expected = model.state_dict()
    missing = [key for key in expected if key not in state]
    unexpected = [key for key in state if key not in expected]
    misshapen = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(expected[key].shape)}"
        for key in expected
        if key in state and state[key].shape != expected[key].shape
    ]
    if missing or unexpected or misshapen:
        found = [("missing", missing), ("unexpected", unexpected), ("misshapen", misshapen)]
        details = "; ".join(f"{len(keys)} {what}: {_some(keys)}" for what, keys in found if keys)
        raise CheckpointError(
            f"{source} does not fit a {model.architecture.size} model with "
            f"{model.architecture.num_classes} classes: {details}"
        )
    spoilt = [k for k, v in state.items() if v.is_floating_point() and not v.isfinite().all()]
    if spoilt:
        raise CheckpointError(
            f"{source} holds NaN or infinity in {len(spoilt)} tensors: {_some(spoilt)}; "
            "its training diverged or the file is damaged, use another checkpoint"
        )
    model.load_state_dict(dict(state))


def save_checkpoint(
    path: str | os.PathLike,
    model: MemorySAM,
    contract: InputContract,
    dtype: torch.dtype | None = None,
) -> Path:
    """Write a model, whole or not at all: under a temporary name first, then renamed.

    Args:
        path: where to; must end in ``.safetensors``.
        dtype: floating type of the stored weights; None keeps the model's.

    Raises:
        CheckpointError: if the contract's label space does not fit the model.
        ValueError: for another file ending.
    """
    from safetensors.torch import save_file

    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"{path} does not end in .safetensors, the only format that is written")
    header = Header(model.architecture, contract)
    state = {
        key: value.detach().to("cpu", dtype if value.is_floating_point() else None).contiguous()
        for key, value in model.state_dict().items()
        if not key.startswith("fused_")
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.touch()
        mode = temporary.stat().st_mode
        save_file(state, temporary, metadata=header.to_metadata())
        temporary.chmod(mode)  # safetensors would let nobody but the owner read it
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def read_header(path: str | os.PathLike) -> Header:
    """The header alone, without reading the weights. Raises as :func:`load_checkpoint`."""
    return _read(Path(path), with_weights=False).header


def load_checkpoint(path: str | os.PathLike) -> Checkpoint:
    """Read one of our checkpoints.

    Raises:
        FileNotFoundError: if there is no such file.
        CheckpointError: if it is not ours, damaged, or of a newer format.
    """
    return _read(Path(path), with_weights=True)


def _read(path: Path, with_weights: bool) -> Checkpoint:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}; give the path of a .safetensors file")
    if path.suffix in {".pt", ".pth", ".bin", ".ckpt"}:
        raise CheckpointError(
            f"{path} is a PyTorch file, not one of our checkpoints; convert it once: "
            f"memorysam convert {path} {path.with_suffix('.safetensors').name}"
        )
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {k: file.get_tensor(k) for k in file.keys()} if with_weights else {}  # noqa: SIM118
    except SafetensorError as error:
        raise CheckpointError(
            f"{path} ({path.stat().st_size:,} bytes) is no whole safetensors file ({error}); "
            "download or copy it again"
        ) from error
    return Checkpoint(_header(path, metadata), state, path)


def _header(path: Path, metadata: Mapping[str, str]) -> Header:
    written = metadata.get("format")
    if written != FORMAT:
        raise CheckpointError(
            f"{path} is a safetensors file of format {written!r}, not {FORMAT!r}; "
            "convert or train a checkpoint with this release"
        )
    try:
        return Header(
            Architecture.from_dict(json.loads(metadata["architecture"])),
            InputContract.from_json(metadata["contract"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"the header of {path} cannot be used: {error}") from error


def digest(path: str | os.PathLike) -> str:
    """SHA-256 of a file, hexadecimal: which weights these are, beyond their name."""
    sha = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            sha.update(block)
    return sha.hexdigest()


def _some(keys: list[str]) -> str:
    more = f" and {len(keys) - LISTED} more" if len(keys) > LISTED else ""
    return ", ".join(keys[:LISTED]) + more
