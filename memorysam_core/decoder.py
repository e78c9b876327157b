"""One frame's class masks: SAM 2's mask decoder, prompted with nothing."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NO_OBJECT_LOGIT = -1024.0
"""SAM 2's logit for every pixel of a frame whose object gate is closed."""


@dataclass(frozen=True)
class ClassMasks:
    """What the decoder says of one frame."""

    logits: Tensor
    """``(B, C, H/4, W/4)``, not gated."""
    tokens: Tensor
    """Output token of each class, ``(B, C, D)``."""
    iou_token: Tensor
    """Output token that the IoU head reads, ``(B, D)``."""
    object_score: Tensor
    """Logit that the frame shows an object at all, ``(B, 1)``."""


@dataclass(frozen=True)
class Prompt:
    """The prompt that says nothing: two not-a-point tokens, and no mask."""

    tokens: Tensor
    """``(1, T, D)``: object score, IoU, mask tokens 0 to C, then the two empty points."""
    dense: Tensor
    """``(1, D, 1, 1)``, added to every image token."""

    @classmethod
    def empty(cls, prompt_encoder: nn.Module, decoder: nn.Module) -> Prompt:
        """The decoder's own tokens followed by SAM 2's empty point and its padding point."""
        nothing = prompt_encoder.not_a_point_embed.weight
        tokens = torch.cat(
            [
                decoder.obj_score_token.weight,
                decoder.iou_token.weight,
                decoder.mask_tokens.weight,
                nothing,
                nothing,
            ]
        )
        return cls(tokens[None], prompt_encoder.no_mask_embed.weight[:, :, None, None])


def decode(
    decoder: nn.Module, prompt: Prompt, image: Tensor, position: Tensor, s0: Tensor, s1: Tensor
) -> ClassMasks:
    """Class masks of one frame.

    Args:
        image: conditioned stride-16 features ``(B, D, h, w)``.
        position: the decoder's image position encoding ``(1, D, h, w)``.
        s0: stride-4 features ``(B, D/8, 4h, 4w)``.
        s1: stride-8 features ``(B, D/4, 2h, 2w)``.
    """
    batch, dim, height, width = image.shape
    num_classes = decoder.num_multimask_outputs
    tokens = prompt.tokens.expand(batch, -1, -1)
    out, keys = decoder.transformer(image + prompt.dense, position, tokens)
    object_token, iou_token = out[:, 0], out[:, 1]
    class_tokens = out[:, 3 : 3 + num_classes]  # mask token 0 is stock SAM's single mask

    up1, norm, act1, up2, act2 = decoder.output_upscaling
    x = keys.transpose(1, 2).reshape(batch, dim, height, width)
    x = act1(norm(up1(x) + s1))
    x = act2(up2(x) + s0)  # (B, D/8, H/4, W/4)

    kernels = class_kernels(decoder, class_tokens)  # (B, C, D/8)
    logits = (kernels @ x.flatten(2)).unflatten(2, x.shape[2:])
    return ClassMasks(logits, class_tokens, iou_token, decoder.pred_obj_score_head(object_token))


def class_kernels(decoder: nn.Module, class_tokens: Tensor) -> Tensor:
    """The hypernetworks of all classes at once: ``(B, C, D)`` tokens to ``(B, C, D/8)`` kernels.

    One batched product for each of the three layers, instead of one small one per class.
    """
    if hasattr(decoder, "fused_hypernetworks"):
        return decoder.fused_hypernetworks(class_tokens)
    return _run_stacked(stack_hypernetworks(decoder), class_tokens)


def stack_hypernetworks(decoder: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """Per layer, the weights ``(C, in, out)`` and biases ``(C, 1, out)`` of all classes."""
    networks = decoder.output_hypernetworks_mlps[1:]
    stacked = []
    for layer in zip(*(network.layers for network in networks), strict=True):
        weight = torch.stack([linear.weight.t() for linear in layer])
        bias = torch.stack([linear.bias for linear in layer]).unsqueeze(1)
        stacked.append((weight, bias))
    return stacked


class StackedHypernetworks(nn.Module):
    """The stacked weights, kept; they move with the model but are not part of its state."""

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        stacked = stack_hypernetworks(decoder)
        self.depth = len(stacked)
        for i, (weight, bias) in enumerate(stacked):
            self.register_buffer(f"weight{i}", weight.detach(), persistent=False)
            self.register_buffer(f"bias{i}", bias.detach(), persistent=False)

    def forward(self, class_tokens: Tensor) -> Tensor:
        """Class tokens ``(B, C, D)`` to kernels ``(B, C, D/8)``."""
        names = range(self.depth)
        stacked = [(getattr(self, f"weight{i}"), getattr(self, f"bias{i}")) for i in names]
        return _run_stacked(stacked, class_tokens)


def _run_stacked(stacked: list[tuple[Tensor, Tensor]], class_tokens: Tensor) -> Tensor:
    x = class_tokens.transpose(0, 1)  # (C, B, D)
    for i, (weight, bias) in enumerate(stacked):
        x = torch.baddbmm(bias, x, weight)
        if i < len(stacked) - 1:
            x = F.relu(x)
    return x.transpose(0, 1)


def predicted_iou(decoder: nn.Module, masks: ClassMasks) -> Tensor:
    """Predicted IoU of each class mask, ``(B, C)``, 0 to 1."""
    return decoder.iou_prediction_head(masks.iou_token)[:, 1:]
