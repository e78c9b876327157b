"""What an exported file was made for, and the refusal to run it elsewhere."""

from __future__ import annotations

import dataclasses
import json
import shlex
from dataclasses import dataclass
from pathlib import Path

import torch

from memorysam_core.architecture import Architecture
from memorysam_core.checkpoint import CheckpointError
from memorysam_core.contract import InputContract
from memorysam_core.engines import processor
from memorysam_core.engines.graphs import Graph


@dataclass(frozen=True)
class Machine:
    """What compiled code depends on."""

    device: str
    """``cpu`` or ``cuda``."""
    name: str
    """Of the GPU; of a CPU, also the widest vectors that PyTorch uses there, and a digest of all
    its instructions: code is compiled for every one of them.
    """
    capability: str
    """CUDA compute capability such as ``8.7``; empty for a CPU."""
    pytorch: str
    """PyTorch's version with its build, such as ``2.13.0+cpu``."""

    @classmethod
    def here(cls, device: torch.device) -> Machine:
        """What there is on this machine."""
        if device.type == "cuda":
            major, minor = torch.cuda.get_device_capability(device)
            name, capability = torch.cuda.get_device_name(device), f"{major}.{minor}"
            return cls("cuda", name, capability, torch.__version__)
        vectors = torch.backends.cpu.get_cpu_capability()
        name = f"{processor.name()}, {vectors}, instructions {processor.instructions_digest()}"
        return cls(device.type, name, "", torch.__version__)

    def __str__(self) -> str:
        capability = f" (compute capability {self.capability})" if self.capability else ""
        return f"{self.device} {self.name}{capability} with torch {self.pytorch}"


@dataclass(frozen=True)
class MadeFor:
    """Everything that an exported file was made for; it travels in the file."""

    format: str
    architecture: Architecture
    contract: InputContract
    """Of the modalities that were exported, at the size that was exported."""
    precision: str
    machine: Machine | None
    """None for a file that runs anywhere."""
    checkpoint: str
    """Name of the checkpoint's file."""
    checkpoint_sha256: str
    graphs: tuple[str, ...]

    def command(self, out: str) -> str:
        """The command that makes it anew, on the machine where it is to run."""
        height, width = self.contract.size
        words = ["memorysam", "export", self.checkpoint, out, "--size", f"{width}x{height}"]
        words += ["--modalities", ",".join(self.contract.names), "--precision", self.precision]
        graphs = [Graph.parse(graph) for graph in self.graphs]
        lengths = [str(graph.frames) for graph in graphs if graph.stage == "sequence"]
        words += ["--lengths", ",".join(lengths)]
        if self.machine is None:
            words += ["--format", "onnx"]
        else:
            words += ["--device", self.machine.device]
        return shlex.join(words)

    def refuse_other_format(self, path: Path, readable: str) -> None:
        """Raises CheckpointError for a file of another release's format."""
        if self.format != readable:
            raise CheckpointError(
                f"{path} has the format {self.format!r}, this release reads {readable!r}; "
                f"make it anew: {self.command(path.name)}"
            )

    def refuse_other(
        self,
        path: Path,
        machine: Machine | None = None,
        precision: str = "auto",
        size: tuple[int, int] | None = None,
    ) -> None:
        """Raises CheckpointError where it is to run as something else than what it was made for."""
        wrong = []
        if machine is not None and self.machine is not None and machine != self.machine:
            wrong.append((str(self.machine), str(machine)))
        if precision not in ("auto", self.precision):
            wrong.append((f"precision {self.precision}", f"precision {precision}"))
        if size not in (None, self.contract.size):
            assert size is not None
            wrong.append((f"input size {_told(self.contract.size)}", f"input size {_told(size)}"))
        if wrong:
            made, asked = (", ".join(side) for side in zip(*wrong, strict=True))
            raise CheckpointError(
                f"{path} was made for {made}, and is asked to run as {asked}; make it anew there "
                f"(change what should differ): {self.command(path.name)}"
            )

    def refuse_other_checkpoint(self, path: Path, sha256: str) -> None:
        """Raises CheckpointError unless it was made from the checkpoint with that digest."""
        if sha256 != self.checkpoint_sha256:
            raise CheckpointError(
                f"{path} was made from {self.checkpoint} with sha256 "
                f"{self.checkpoint_sha256[:16]}, and the checkpoint given has {sha256[:16]}; "
                f"make it anew: {self.command(path.name)}"
            )

    def to_json(self) -> str:
        """As one JSON text."""
        values = dataclasses.asdict(self)
        values["contract"] = json.loads(self.contract.to_json())
        return json.dumps(values, indent=1)

    @classmethod
    def from_json(cls, text: str) -> MadeFor:
        """The inverse of :meth:`to_json`. Raises ValueError, KeyError or TypeError if it cannot."""
        values = json.loads(text)
        values["architecture"] = Architecture.from_dict(values["architecture"])
        values["contract"] = InputContract.from_json(json.dumps(values["contract"]))
        values["machine"] = Machine(**values["machine"]) if values["machine"] else None
        values["graphs"] = tuple(values["graphs"])
        return cls(**values)


def _told(size: tuple[int, int]) -> str:
    return f"{size[1]} x {size[0]}"
