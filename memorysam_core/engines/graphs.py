"""The two computations of a set, with tensors in and tensors out, as every engine runs them.

All sensors share one model, so a graph depends on how many frames there are and not on which:
encoding 1 to M frames and running sequences of 1 to M covers every subset of M sensors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from memorysam_core.contract import InputContract
from memorysam_core.model import Features, MemorySAM

Run = Callable[..., tuple[Tensor, Tensor, Tensor]]
"""A graph ready to run, with the arguments and results of the modules below."""


@dataclass(frozen=True, order=True)
class Graph:
    """Which computation, for how many frames."""

    stage: Literal["encode", "sequence"]
    frames: int

    def __str__(self) -> str:
        return f"{self.stage}{self.frames}"

    @classmethod
    def parse(cls, text: str) -> Graph:
        """The inverse of ``str``."""
        stage = text.rstrip("0123456789")
        return cls(stage, int(text[len(stage) :]))  # type: ignore[arg-type]


def graphs_for(lengths: Iterable[int]) -> list[Graph]:
    """What sequences of these lengths need: each of them, encoding as many frames at once, and
    encoding one, of which every other number is made up.
    """
    chosen = sorted(set(lengths))
    encoders = [Graph("encode", frames) for frames in sorted({1, *chosen})]
    return encoders + [Graph("sequence", frames) for frames in chosen]


class EncodeGraph(nn.Module):
    """Frames as drawn to features: normalises, then encodes all as one batch."""

    def __init__(self, model: MemorySAM, contract: InputContract) -> None:
        super().__init__()
        self.model = model
        statistics = torch.tensor([[m.mean, m.std] for m in contract.modalities]) * 255
        mean, std = statistics[..., None, None].unbind(1)  # (modalities, 3, 1, 1)
        # Kept in float32 whatever the model's type: pixels are normalised before they are rounded.
        self.register_buffer("mean", mean.contiguous(), persistent=False)
        self.register_buffer("std", std.contiguous(), persistent=False)

    def forward(self, pixels: Tensor, which: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Args:
            pixels: uint8 ``(K, H, W, 3)`` at the model's size.
            which: each frame's modality by its place in the contract, int64 ``(K,)``.

        Returns:
            Features at strides 4, 8 and 16, ``(K, ...)`` each.
        """
        mean, std = self.mean[which], self.std[which]
        frames = (pixels.permute(0, 3, 1, 2).float() - mean) / std
        return self.model.encode(frames.to(self.model.no_mem_embed.dtype)).levels


class SequenceGraph(nn.Module):
    """Features of a sequence to its logits."""

    def __init__(self, model: MemorySAM) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, stride4: Tensor, stride8: Tensor, stride16: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Args: features of M frames in the order of the sequence, ``(M, ...)`` each.

        Returns:
            Mean logits float32 ``(C, H/4, W/4)``; for each frame whether its object gate is closed,
            bool ``(M,)``; and whether all logits are finite, bool ``()``.
        """
        levels = (stride4, stride8, stride16)
        sequence = [
            Features(*(level[i : i + 1] for level in levels)) for i in range(stride4.shape[0])
        ]
        output = self.model.run_sequence(sequence)
        logits = output.logits[0]
        return logits, output.closed_gates[:, 0], torch.isfinite(logits.sum())


@dataclass(frozen=True)
class Shapes:
    """What decides the shapes of a model's graphs."""

    size: tuple[int, int]
    """Height and width of the frames."""
    dim: int
    """Channels at stride 16; an eighth of them at stride 4, a quarter at stride 8."""
    dtype: torch.dtype
    device: torch.device

    @classmethod
    def of(cls, model: MemorySAM, size: tuple[int, int]) -> Shapes:
        """The shapes of a placed model at a size."""
        like = model.no_mem_embed
        return cls(size, model.architecture.parts.model_dim, like.dtype, like.device)

    def features(self, frames: int) -> Features:
        """Zero features of so many frames."""
        height, width = self.size

        def level(channels: int, stride: int) -> Tensor:
            shape = (frames, channels, height // stride, width // stride)
            return torch.zeros(shape, dtype=self.dtype, device=self.device)

        return Features(level(self.dim // 8, 4), level(self.dim // 4, 8), level(self.dim, 16))

    def inputs(self, graph: Graph) -> tuple[Tensor, ...]:
        """Zeros that a graph can be traced and tried with."""
        if graph.stage == "sequence":
            return self.features(graph.frames).levels
        pixels = torch.zeros(graph.frames, *self.size, 3, dtype=torch.uint8, device=self.device)
        return pixels, torch.zeros(graph.frames, dtype=torch.int64, device=self.device)

    def noise(self, graph: Graph, seed: int = 0) -> tuple[Tensor, ...]:
        """The like of :meth:`inputs`, random and the same for the same seed."""
        generator = torch.Generator().manual_seed(seed)
        if graph.stage == "sequence":
            return tuple(
                level.copy_(torch.randn(level.shape, generator=generator))
                for level in self.inputs(graph)
            )
        pixels, which = self.inputs(graph)
        noise = torch.randint(0, 256, pixels.shape, dtype=torch.uint8, generator=generator)
        return pixels.copy_(noise), which


class Modules:
    """The graphs of one model as modules, which is also how they run eagerly."""

    def __init__(self, model: MemorySAM, contract: InputContract, size: tuple[int, int]) -> None:
        self.shapes = Shapes.of(model, size)
        self._stages: dict[str, nn.Module] = {
            "encode": EncodeGraph(model, contract).to(self.shapes.device).eval(),
            "sequence": SequenceGraph(model).eval(),
        }
        # Tables that tracing made itself would be stand-ins without numbers.
        model.prepare(size)

    def of(self, graph: Graph) -> nn.Module:
        """The module that computes a graph."""
        return self._stages[graph.stage]
