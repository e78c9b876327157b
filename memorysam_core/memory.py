"""The memory of a sequence: what earlier frames left behind, and how a later frame reads it.

Stock SAM 2 concatenates all memories for every frame and projects them to keys and values anew in
each layer. Here each memory is projected once per layer when it is stored; later frames reuse it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from memorysam_core.sam2_parts import get_1d_sine_pe, sine_encoding

ROPE_THETA = 10000.0
CURRENT_POSITION_WEIGHT = 0.1
"""Share of the sine encoding that SAM 2 adds to the features that enter memory attention."""


@dataclass(frozen=True)
class Rotation:
    """Axial rotary position encoding of a token grid; cosines and sines, float32 ``(N, D/2)``."""

    cos: Tensor
    sin: Tensor

    @classmethod
    def of_grid(cls, height: int, width: int, dim: int, device: torch.device) -> Rotation:
        """Tables for ``height * width`` tokens in row-major order and heads of ``dim`` channels.

        The first half of the channel pairs turns with the column, the second half with the row
        (SAM 2's axial RoPE, from the true height and width).
        """
        frequency = ROPE_THETA ** (-torch.arange(0, dim, 4, device=device).float() / dim)  # (D/4,)
        row = torch.arange(height, device=device).float().repeat_interleave(width)  # (N,)
        column = torch.arange(width, device=device).float().repeat(height)  # (N,)
        angle = torch.cat([torch.outer(column, frequency), torch.outer(row, frequency)], dim=-1)
        return cls(angle.cos(), angle.sin())

    def __call__(self, x: Tensor) -> Tensor:
        """Rotate channel pairs of ``x`` ``(B, N, D)``; computed in float32, returned as ``x``."""
        even, odd = x.unflatten(-1, (-1, 2)).unbind(-1)  # (B, N, D/2)
        turned = torch.stack(
            (even * self.cos - odd * self.sin, even * self.sin + odd * self.cos), dim=-1
        )
        return turned.flatten(-2).to(x.dtype)


@dataclass(frozen=True)
class GridTables:
    """Everything that depends on the token grid alone, built once per shape."""

    rotation: Rotation
    current_position: Tensor
    """Sine encoding of the frame that attends, ``(1, N, D)``."""
    memory_position: Tensor
    """Sine encoding of a memory, ``(1, N, D_mem)``."""
    image_position: Tensor
    """Random-frequency encoding for the mask decoder, ``(1, D, h, w)``."""


def grid_tables(
    height: int, width: int, dim: int, memory_dim: int, prompt_encoder: nn.Module, like: Tensor
) -> GridTables:
    """Tables for a grid of ``height x width`` tokens, on the device and of the type of ``like``."""

    def sine(channels: int) -> Tensor:
        encoding = sine_encoding(channels, warmup_cache=False)
        grid = torch.empty(1, 1, height, width, device=like.device)
        return encoding(grid).flatten(2).transpose(1, 2).to(like.dtype)  # (1, N, channels)

    with torch.no_grad():
        random_frequencies = prompt_encoder.pe_layer.positional_encoding_gaussian_matrix  # (2, D/2)
        row = (torch.arange(height, device=like.device).float() + 0.5) / height * 2 - 1
        column = (torch.arange(width, device=like.device).float() + 0.5) / width * 2 - 1
        # No product of matrices: it would be in bf16 while a model trains so, not when it runs.
        across, down = random_frequencies.float()  # (D/2,) each
        angle = 2 * torch.pi * (column[:, None] * across + row[:, None, None] * down)  # (h, w, D/2)
        image_position = torch.cat([angle.sin(), angle.cos()], dim=-1).permute(2, 0, 1)[None]
    return GridTables(
        rotation=Rotation.of_grid(height, width, dim, like.device),
        current_position=sine(dim),
        memory_position=sine(memory_dim),
        image_position=image_position.to(like.dtype),
    )


@dataclass(frozen=True)
class Memory:
    """What one frame leaves behind."""

    map: Tensor
    """Spatial memory, ``(B, N, D_mem)``."""
    pointer: Tensor
    """Object pointer cut into tokens, ``(B, D / D_mem, D_mem)``."""


class MemoryBank:
    """Keys and values of the memories of one sequence, layer by layer.

    All earlier frames are conditioning frames: their maps carry the last temporal encoding and
    their pointers, in SAM 2.0, none. In SAM 2.1 a pointer's encoding depends on its distance from
    the reader, so its keys are made when they are read; they are four tokens.
    """

    def __init__(
        self,
        attention: nn.Module,
        tables: GridTables,
        temporal_encoding: Tensor,
        pointer_projection: nn.Module | None,
        sequence_length: int,
    ) -> None:
        self._attention = attention
        self._tables = tables
        self._map_position = tables.memory_position + temporal_encoding  # (1, N, D_mem)
        self._pointer_projection = pointer_projection
        self._sequence_length = sequence_length
        layers = range(len(attention.layers))
        self._keys: list[list[Tensor]] = [[] for _ in layers]
        self._values: list[list[Tensor]] = [[] for _ in layers]
        self._pointers: list[Tensor] = []

    def add(self, memory: Memory) -> None:
        """Store a frame's memory, projected once for each layer."""
        keyed = memory.map + self._map_position
        tokens = torch.cat([memory.map, memory.pointer], dim=1)  # (B, N + P, D_mem)
        self._pointers.append(memory.pointer)
        for layer, keys, values in zip(
            self._attention.layers, self._keys, self._values, strict=True
        ):
            cross = layer.cross_attn_image
            keys.append(self._tables.rotation(cross.k_proj(keyed)))
            values.append(cross.v_proj(tokens))

    def read(self, features: Tensor) -> Tensor:
        """Stride-16 features ``(B, D, h, w)`` conditioned on all stored memories, same shape."""
        tables, attention = self._tables, self._attention
        pointers = self._pointer_tokens()
        x = features.flatten(2).transpose(1, 2)  # (B, N, D)
        x = x + CURRENT_POSITION_WEIGHT * tables.current_position
        for i, layer in enumerate(attention.layers):
            x = x + layer.dropout1(self._attend_to_self(layer, layer.norm1(x)))
            x = x + layer.dropout2(self._attend_to_memory(i, layer, layer.norm2(x), pointers))
            hidden = layer.dropout(layer.activation(layer.linear1(layer.norm3(x))))
            x = x + layer.dropout3(layer.linear2(hidden))
        return attention.norm(x).transpose(1, 2).reshape(features.shape)

    def _attend_to_self(self, layer: nn.Module, x: Tensor) -> Tensor:
        own, rotate = layer.self_attn, self._tables.rotation
        return _attention(own, rotate(own.q_proj(x)), rotate(own.k_proj(x)), own.v_proj(x))

    def _attend_to_memory(
        self, index: int, layer: nn.Module, x: Tensor, pointers: Tensor
    ) -> Tensor:
        cross = layer.cross_attn_image
        # Softmax does not mind the order of keys: each frame's map and pointer stay together in
        # the values, so the pointers' keys are put behind their maps.
        pointer_keys = cross.k_proj(pointers).chunk(len(self._pointers), dim=1)
        keys = [part for pair in zip(self._keys[index], pointer_keys, strict=True) for part in pair]
        query = self._tables.rotation(cross.q_proj(x))
        return _attention(
            cross, query, torch.cat(keys, dim=1), torch.cat(self._values[index], dim=1)
        )

    def _pointer_tokens(self) -> Tensor:
        """All pointers with the encoding of their distance from the reader, ``(B, P, D_mem)``."""
        pointers = torch.cat(self._pointers, dim=1)
        if self._pointer_projection is None:
            return pointers
        count = len(self._pointers)
        distance = torch.arange(count, 0, -1, device=pointers.device) / (self._sequence_length - 1)
        encoding = get_1d_sine_pe(distance, dim=self._pointer_projection.in_features)
        position = self._pointer_projection(encoding.to(pointers.dtype))  # (count, D_mem)
        return pointers + position.repeat_interleave(pointers.shape[1] // count, dim=0)


def _attention(module: nn.Module, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """One-headed attention of ``(B, N, D)`` tensors through ``module``'s output projection."""
    dropout = module.dropout_p if module.training else 0.0
    out = F.scaled_dot_product_attention(
        query.unsqueeze(1), key.unsqueeze(1), value.unsqueeze(1), dropout_p=dropout
    )
    return module.out_proj(out.squeeze(1))
