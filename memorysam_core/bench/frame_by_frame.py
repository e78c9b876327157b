"""The schedule of the released code, as the yardstick: one frame after the other, nothing reused.

Built from the same weights through the ``sam2`` modules' own ``forward``: each frame is encoded
alone, every memory is projected anew for every later frame in every layer, all class masks of
every frame are upsampled to full size, and the last frame leaves a memory that nobody reads.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from memorysam_core.decoder import NO_OBJECT_LOGIT
from memorysam_core.model import MASK_OFFSET, MASK_SCALE, MemorySAM
from memorysam_core.sam2_parts import get_1d_sine_pe, image_encoder


class FrameByFrame:
    """The schedule over the weights of a model, whose memory mask must be ``best_iou``."""

    def __init__(self, model: MemorySAM) -> None:
        self._model = model
        self._image_encoder = image_encoder(model.architecture.parts).eval()
        self._image_encoder.load_state_dict(model.image_encoder.state_dict(), assign=True)

    def __call__(self, frames: Tensor) -> Tensor:
        """Full-size mean logits ``(B, C, H, W)`` of frames ``(M, B, 3, H, W)``.

        Token grids must be square, as stock RoPE assumes.
        """
        model = self._model
        maps: list[tuple[Tensor, Tensor]] = []
        pointers: list[Tensor] = []
        logits = []
        for frame in frames:
            s0, s1, features, position = self._encode(frame)
            image = _condition(model, features, position, maps, pointers, len(frames))
            masks, ious, tokens, score = _decode(model, image, s0, s1)
            present = score > 0 if model.architecture.object_gate else torch.ones_like(score).bool()
            masks = torch.where(present[..., None, None], masks, NO_OBJECT_LOGIT).float()
            full = F.interpolate(masks, size=frame.shape[-2:], mode="bilinear", align_corners=False)
            logits.append(full)

            batch = torch.arange(len(frame), device=frame.device)
            best = ious.argmax(dim=1)
            maps.append(_remember(model, features, full[batch, best].unsqueeze(1), present))
            pointer = model.obj_ptr_proj(tokens[batch, best])
            pointers.append(torch.where(present, pointer, model.no_obj_ptr))
        return torch.stack(logits).mean(dim=0)

    def _encode(self, frame: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        encoded = self._image_encoder(frame)
        level0, level1, level2 = encoded["backbone_fpn"]
        decoder, position = self._model.sam_mask_decoder, encoded["vision_pos_enc"][-1]
        return decoder.conv_s0(level0), decoder.conv_s1(level1), level2, position


def _condition(
    model: MemorySAM,
    features: Tensor,
    position: Tensor,
    maps: list[tuple[Tensor, Tensor]],
    pointers: list[Tensor],
    length: int,
) -> Tensor:
    if not maps:
        return features + model.no_mem_embed.reshape(1, -1, 1, 1)
    memory_dim = maps[0][0].shape[1]
    tokens = [m.flatten(2).permute(2, 0, 1) for m, _ in maps]  # (N, B, D_mem) each
    encodings = [p.flatten(2).permute(2, 0, 1) + model.maskmem_tpos_enc[-1] for _, p in maps]
    split = features.shape[1] // memory_dim
    for i, pointer in enumerate(pointers):
        cut = pointer.reshape(-1, split, memory_dim).transpose(0, 1)  # (4, B, D_mem)
        tokens.append(cut)
        encodings.append(_pointer_encoding(model, len(pointers) - i, length, cut))
    out = model.memory_attention(
        curr=features.flatten(2).permute(2, 0, 1),
        curr_pos=position.flatten(2).permute(2, 0, 1),
        memory=torch.cat(tokens),
        memory_pos=torch.cat(encodings),
        num_obj_ptr_tokens=split * len(pointers),
    )
    return out.permute(1, 2, 0).reshape(features.shape)


def _pointer_encoding(model: MemorySAM, distance: int, length: int, like: Tensor) -> Tensor:
    if model.architecture.version == "2.0":
        return torch.zeros_like(like)
    projection = model.obj_ptr_tpos_proj
    place = torch.tensor([distance / (length - 1)], device=like.device)
    sine = get_1d_sine_pe(place, dim=projection.in_features)
    return projection(sine.to(like.dtype)).expand(like.shape)


def _decode(model: MemorySAM, image: Tensor, s0: Tensor, s1: Tensor) -> tuple[Tensor, ...]:
    batch, _, height, width = image.shape
    prompt = model.sam_prompt_encoder
    prompt.image_embedding_size = (height, width)
    points = torch.zeros(batch, 1, 2, device=image.device)
    labels = -torch.ones(batch, 1, dtype=torch.int32, device=image.device)
    sparse, dense = prompt(points=(points, labels), boxes=None, masks=None)
    return model.sam_mask_decoder(
        image_embeddings=image,
        image_pe=prompt.get_dense_pe().to(image.dtype),
        sparse_prompt_embeddings=sparse.to(image.dtype),
        dense_prompt_embeddings=dense,
        multimask_output=True,
        repeat_image=False,
        high_res_features=[s0, s1],
    )


def _remember(
    model: MemorySAM, features: Tensor, mask: Tensor, present: Tensor
) -> tuple[Tensor, Tensor]:
    scaled = (torch.sigmoid(mask) * MASK_SCALE + MASK_OFFSET).to(features.dtype)
    encoded = model.memory_encoder(features, scaled, skip_mask_sigmoid=True)
    memory = encoded["vision_features"]
    if model.architecture.version == "2.1":
        memory = memory + (~present * model.no_obj_embed_spatial)[..., None, None]
    return memory, encoded["vision_pos_enc"][0]
