"""MemorySAM (arXiv 2503.06700): SAM 2's memory run along the sensors of one moment.

The frames of the different sensors form a sequence, in a fixed order. Each frame is encoded on its
own, reads what the frames before it left in memory, is decoded to one mask per class, and leaves
its own memory. The logits of all frames are averaged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from memorysam_core import sam2_parts
from memorysam_core.architecture import Architecture
from memorysam_core.contract import check_size
from memorysam_core.decoder import (
    NO_OBJECT_LOGIT,
    ClassMasks,
    Prompt,
    StackedHypernetworks,
    decode,
    predicted_iou,
)
from memorysam_core.memory import GridTables, Memory, MemoryBank, grid_tables
from memorysam_core.trunk import run_trunk

MASK_SCALE, MASK_OFFSET = 20.0, -10.0
"""A mask enters the memory encoder as ``20 * sigmoid(logit) - 10``."""

CACHE_BYTES = 5 << 20
"""Stride-4 features of a frame from which on a processor is faster frame by frame: 22 to 25 % for
``base_plus`` at 1024 x 1024 on two cores (``memorysam bench --only sizes``)."""


@dataclass(frozen=True)
class Features:
    """What the encoder makes of frames; the leading dimensions are those of the frames."""

    stride4: Tensor
    """``(..., D/8, H/4, W/4)``, the decoder's finest input."""
    stride8: Tensor
    """``(..., D/4, H/8, W/8)``."""
    stride16: Tensor
    """``(..., D, H/16, W/16)``, what memory attention works on."""

    def __getitem__(self, index: int) -> Features:
        return Features(self.stride4[index], self.stride8[index], self.stride16[index])

    @property
    def levels(self) -> tuple[Tensor, Tensor, Tensor]:
        """The finest first."""
        return self.stride4, self.stride8, self.stride16


@dataclass(frozen=True)
class Output:
    """What the model says of a sample."""

    logits: Tensor
    """Mean over frames, float32 ``(B, C, H/4, W/4)``; upsample (bilinear) for full size."""
    features: Tensor
    """Mean over frames of the stride-4 features, ``(B, D/8, H/4, W/4)``: SPMM's input."""
    closed_gates: Tensor
    """Frames whose object score is <= 0, bool ``(M, B)``, whether or not the gate is in use."""
    predicted_iou: Tensor | None
    """Of each frame's class masks, ``(M, B, C)``; only where the memory mask is chosen by it."""


class MemorySAM(nn.Module):
    """The model of one :class:`Architecture`, under Meta's parameter names."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        sam2_parts.attach(self, architecture)
        self._tables: dict[tuple, GridTables] = {}
        self._positions: dict[tuple, Tensor] = {}
        self.register_load_state_dict_post_hook(lambda module, _: module._forget_tables())

    def forward(self, frames: Tensor) -> Output:
        """Segment one sample per batch entry.

        Args:
            frames: normalised frames ``(M, B, 3, H, W)`` in the order of the sequence; H and W are
                multiples of 32. Sensors that are missing are simply not in the sequence.

        Raises:
            ValueError: for an empty sequence or another shape.
        """
        if frames.ndim != 5 or frames.shape[2] != 3:
            raise ValueError(
                f"frames have the shape {tuple(frames.shape)}; give (M, B, 3, H, W): "
                "sequence, batch, colour channels, height, width"
            )
        if frames.shape[0] == 0:
            raise ValueError("the sequence is empty; give at least one frame")
        features = self.encode(frames)
        return self.run_sequence([features[i] for i in range(frames.shape[0])])

    def encode(self, frames: Tensor) -> Features:
        """Frames ``(..., 3, H, W)`` to features, all of them as one batch: none sees another."""
        lead, each = frames.shape[:-3], frames.flatten(0, -4)
        check_size(*frames.shape[-2:])
        if self._fills_caches(frames):
            parts = [self._encode(part).levels for part in each.split(1)]
            levels = [torch.cat(level) for level in zip(*parts, strict=True)]
        else:
            levels = list(self._encode(each).levels)
        return Features(*(level.unflatten(0, lead) for level in levels))

    def _encode(self, frames: Tensor) -> Features:
        """Frames ``(N, 3, H, W)`` to features ``(N, ...)``."""
        position = self._trunk_position(*frames.shape[-2:])
        x4, x8, x16, x32 = run_trunk(self.image_encoder.trunk, frames, position)

        lateral32, lateral16, lateral8, lateral4 = self.image_encoder.neck.convs
        decoder = self.sam_mask_decoder
        coarse = F.interpolate(lateral32(x32), scale_factor=2.0, mode="nearest")
        if hasattr(self, "fused_stride4"):
            stride4, stride8 = self.fused_stride4(x4), self.fused_stride8(x8)
        else:
            stride4 = decoder.conv_s0(lateral4(x4))
            stride8 = decoder.conv_s1(lateral8(x8))
        return Features(stride4, stride8, lateral16(x16) + coarse)

    def _fills_caches(self, frames: Tensor) -> bool:
        """Whether one frame is enough for a processor's caches, so that a batch is slower."""
        if frames.device.type != "cpu" or torch.compiler.is_compiling():
            return False
        tokens = frames.shape[-2] // 4 * (frames.shape[-1] // 4)
        channels = self.architecture.parts.embed_dim
        return tokens * channels * frames.element_size() >= CACHE_BYTES

    def run_sequence(self, sequence: Sequence[Features]) -> Output:
        """Remember and decode the encoded frames ``(B, ...)`` of a sequence, in its order."""
        bank = self._empty_bank(sequence)
        prompt = Prompt.empty(self.sam_prompt_encoder, self.sam_mask_decoder)
        logits, scores, ious = [], [], []
        for i, frame in enumerate(sequence):
            # condition on the memories of the frames before
            if i == 0 or not self.architecture.memory:
                image = frame.stride16 + self.no_mem_embed.reshape(1, -1, 1, 1)
            else:
                image = bank.read(frame.stride16)

            # decode one mask per class
            masks = self._decode(prompt, image, frame)
            logits.append(self._gated(masks).float())
            scores.append(masks.object_score[:, 0])

            # leave a memory for the frames after
            iou = self._predicted_iou(masks)
            ious.append(iou)
            if i < len(sequence) - 1 and self.architecture.memory:
                bank.add(self._remember(frame, masks, iou))

        return Output(
            logits=sum(logits[1:], logits[0]) / len(logits),
            features=sum((f.stride4 for f in sequence[1:]), sequence[0].stride4) / len(sequence),
            closed_gates=torch.stack(scores) <= 0,
            predicted_iou=torch.stack([i for i in ious if i is not None]) if any(
                i is not None for i in ious
            ) else None,
        )  # fmt: skip

    def prepare(self, size: tuple[int, int]) -> None:
        """Makes the tables for frames of a height and width, which else the first frame makes."""
        height, width = size
        check_size(height, width)
        self._trunk_position(height, width)
        self._grid_tables(self.no_mem_embed.new_empty(1, 1, height // 16, width // 16))

    def fuse(self) -> MemorySAM:
        """Fold what is constant at inference; the model computes the same, faster. Returns itself.

        Pairs of 1 x 1 convolutions without anything between become one, and the class
        hypernetworks are stacked. Training afterwards is not possible.
        """
        self.eval().requires_grad_(False)
        decoder, convs = self.sam_mask_decoder, self.image_encoder.neck.convs
        self.fused_stride4 = _compose(convs[3].conv, decoder.conv_s0)
        self.fused_stride8 = _compose(convs[2].conv, decoder.conv_s1)
        decoder.fused_hypernetworks = StackedHypernetworks(decoder)
        return self

    def _empty_bank(self, sequence: Sequence[Features]) -> MemoryBank:
        return MemoryBank(
            attention=self.memory_attention,
            tables=self._grid_tables(sequence[0].stride16),
            temporal_encoding=self.maskmem_tpos_enc[-1],
            pointer_projection=getattr(self, "obj_ptr_tpos_proj", None),
            sequence_length=len(sequence),
        )

    def _decode(self, prompt: Prompt, image: Tensor, frame: Features) -> ClassMasks:
        position = self._grid_tables(image).image_position
        return decode(self.sam_mask_decoder, prompt, image, position, frame.stride4, frame.stride8)

    def _is_present(self, masks: ClassMasks) -> Tensor | None:
        """Bool ``(B, 1)``: the frame's gate is open; None where the gate is not in use."""
        return masks.object_score > 0 if self.architecture.object_gate else None

    def _gated(self, masks: ClassMasks) -> Tensor:
        present = self._is_present(masks)
        if present is None:
            return masks.logits
        return torch.where(present[..., None, None], masks.logits, NO_OBJECT_LOGIT)

    def _predicted_iou(self, masks: ClassMasks) -> Tensor | None:
        if self.architecture.memory_mask != "best_iou":
            return None
        return predicted_iou(self.sam_mask_decoder, masks)

    def _remember(self, frame: Features, masks: ClassMasks, iou: Tensor | None) -> Memory:
        """The memory of a frame: its unconditioned features and one mask, and a pointer."""
        mask, token = self._mask_to_remember(masks, iou)  # (B, 1, H/4, W/4), (B, D)
        mask = F.interpolate(mask.float(), scale_factor=4.0, mode="bilinear", align_corners=False)
        mask = (torch.sigmoid(mask) * MASK_SCALE + MASK_OFFSET).to(frame.stride16.dtype)
        encoded = self._encode_memory(frame.stride16, mask)  # (B, D_mem, h, w)
        pointer = self.obj_ptr_proj(token)

        present = self._is_present(masks)
        if present is not None:
            absent = ~present
            pointer = torch.where(absent, self.no_obj_ptr, pointer)
            if hasattr(self, "no_obj_embed_spatial"):
                absence = absent * self.no_obj_embed_spatial  # (B, D_mem)
                encoded = encoded + absence[..., None, None].to(encoded.dtype)
        return Memory(
            map=encoded.flatten(2).transpose(1, 2),
            pointer=pointer.unflatten(1, (-1, encoded.shape[1])),
        )

    def _encode_memory(self, features: Tensor, mask: Tensor) -> Tensor:
        encoder = self.memory_encoder
        x = encoder.pix_feat_proj(features) + encoder.mask_downsampler(mask)
        return encoder.out_proj(encoder.fuser(x))

    def _mask_to_remember(self, masks: ClassMasks, iou: Tensor | None) -> tuple[Tensor, Tensor]:
        """One mask logit map ``(B, 1, H/4, W/4)`` and the token ``(B, D)`` that goes with it."""
        logits, choice = masks.logits, self.architecture.memory_mask
        if choice == "constant":
            return torch.zeros_like(logits[:, :1]), masks.tokens.mean(dim=1)
        if choice == "confidence":
            probability = logits.float().softmax(dim=1)
            confidence = torch.logit(probability.amax(dim=1, keepdim=True), eps=1e-4)
            share = probability.mean(dim=(2, 3)).to(masks.tokens.dtype)  # (B, C)
            return confidence, (share.unsqueeze(1) @ masks.tokens).squeeze(1)
        if choice == "best_iou":
            assert iou is not None
            best = iou.argmax(dim=1)
        else:
            pixels = F.one_hot(logits.argmax(dim=1).flatten(1), logits.shape[1]).sum(dim=1)
            best = pixels.argmax(dim=1)
        batch = torch.arange(len(best), device=best.device)
        return self._gated(masks)[batch, best].unsqueeze(1), masks.tokens[batch, best]

    def _trunk_position(self, height: int, width: int) -> Tensor:
        """The trunk's position embedding, ``(1, H/4, W/4, C)``; kept where it does not learn."""
        trunk = self.image_encoder.trunk
        if trunk.pos_embed.requires_grad:
            return trunk._get_pos_embed((height // 4, width // 4))
        key = (height, width, trunk.pos_embed.device, trunk.pos_embed.dtype)
        if key not in self._positions:
            with torch.inference_mode(False), torch.no_grad():  # kept for training too
                position = trunk._get_pos_embed((height // 4, width // 4))
                self._positions[key] = position.contiguous()  # as the features that it is added to
        return self._positions[key]

    def _forget_tables(self) -> None:
        self._tables.clear()
        self._positions.clear()

    def _grid_tables(self, like: Tensor) -> GridTables:
        height, width = like.shape[-2:]
        key = (height, width, like.device, like.dtype)
        if key not in self._tables:
            size = self.architecture.parts
            with torch.inference_mode(False):  # kept for training too
                self._tables[key] = grid_tables(
                    height, width, size.model_dim, size.memory_dim, self.sam_prompt_encoder, like
                )
        return self._tables[key]


def _compose(first: nn.Conv2d, second: nn.Conv2d) -> nn.Conv2d:
    """One 1 x 1 convolution that equals ``second(first(x))``."""
    a, b = first.weight[:, :, 0, 0].double(), second.weight[:, :, 0, 0].double()
    composed = nn.Conv2d(
        first.in_channels, second.out_channels, 1, device=a.device, dtype=first.weight.dtype
    )
    with torch.no_grad():
        composed.weight.copy_((b @ a)[:, :, None, None])
        assert first.bias is not None and second.bias is not None
        composed.bias.copy_(b @ first.bias.double() + second.bias.double())  # type: ignore[union-attr]
    return composed.requires_grad_(False)
