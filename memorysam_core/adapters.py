"""LoRA on the trunk's queries and values, through peft; and which parameters are trained.

SAM 2 computes queries, keys and values in one linear layer. peft adapts whole layers, so the
fused layer is split along its rows, the parts for queries and values are adapted, and for
inference everything is merged and fused back. In the blocks that double the width the released
code adapts only the first half of the query rows and the last half of the value rows; so do we,
which keeps its parameter count and lets its weights convert exactly.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from memorysam_core.model import MemorySAM

Trainable = Literal["paper", "code", "full", "decoder"]
"""What learns. ``paper``: adapters, memory attention, memory encoder and mask decoder; ``code``,
as the authors' released code: adapters and mask decoder; ``full``: everything that takes part;
``decoder``: the mask decoder alone. IoU and object-score heads learn only in ``full``."""

ADAPTED = r".*trunk\.blocks\.\d+\.attn\.qkv\.(query|value)"
"""The layers that get adapters, as peft matches them."""


class SplitQKV(nn.Module):
    """A fused ``qkv`` linear layer cut along its rows, so that its parts can be adapted apart.

    ``query`` is the first ``dim`` rows of the queries and ``value`` the last ``dim`` rows of the
    values, where ``dim`` is the input width; ``middle`` is all between.
    """

    def __init__(self, fused: nn.Linear) -> None:
        super().__init__()
        dim, total = fused.in_features, fused.out_features
        self.query = _rows(fused, 0, dim)
        self.middle = _rows(fused, dim, total - dim)
        self.value = _rows(fused, total - dim, total)

    def forward(self, x: Tensor) -> Tensor:
        """``(..., dim)`` to queries, keys and values, ``(..., 3 * dim_out)``."""
        return torch.cat([self.query(x), self.middle(x), self.value(x)], dim=-1)

    def fused(self) -> nn.Linear:
        """One linear layer that computes the same; the parts must be plain linear layers."""
        parts = [self.query, self.middle, self.value]
        whole = nn.Linear(self.query.in_features, sum(p.out_features for p in parts), device="meta")
        whole.weight = nn.Parameter(torch.cat([p.weight for p in parts]).detach())
        whole.bias = nn.Parameter(torch.cat([p.bias for p in parts]).detach())
        return whole


def add_adapters(model: MemorySAM, rank: int) -> MemorySAM:
    """Attach LoRA of that rank (scale 1, no bias, no dropout) to queries and values, in place.

    A is drawn Kaiming uniform, B is zero: the model computes what it did before.

    Raises:
        ValueError: if the model has adapters already, or the rank is not positive.
    """
    from peft import LoraConfig, inject_adapter_in_model

    if model.architecture.lora_rank:
        raise ValueError(
            f"the model already has adapters of rank {model.architecture.lora_rank}; "
            "merge them first"
        )
    if rank < 1:
        raise ValueError(f"adapter rank is {rank}; give 1 or more")
    for block in model.image_encoder.trunk.blocks:
        block.attn.qkv = SplitQKV(block.attn.qkv)
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=ADAPTED, bias="none")
    inject_adapter_in_model(config, model)
    model.architecture = model.architecture.replace(lora_rank=rank)
    return model


def merge_adapters(model: MemorySAM) -> MemorySAM:
    """Add the adapters into the weights they adapt and fuse ``qkv`` again, in place."""
    if not model.architecture.lora_rank:
        return model
    for block in model.image_encoder.trunk.blocks:
        split = block.attn.qkv
        for name in ("query", "value"):
            adapted = getattr(split, name)
            adapted.merge(safe_merge=True)
            setattr(split, name, adapted.get_base_layer())
        block.attn.qkv = split.fused()
    model.architecture = model.architecture.replace(lora_rank=0)
    return model


def set_trainable(model: MemorySAM, what: Trainable) -> list[nn.Parameter]:
    """Switch gradients on for the parameters of that group and off for all others.

    Returns:
        The trained parameters.

    Raises:
        ValueError: for an unknown group, or one that trains adapters where there are none.
    """
    if what not in get_args(Trainable):
        raise ValueError(f"trainable is {what!r}; accepted are {', '.join(get_args(Trainable))}")
    if what in ("paper", "code") and not model.architecture.lora_rank:
        raise ValueError(f"trainable group {what!r} trains adapters; add them first, or use 'full'")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(_learns(name, what))
    return [p for p in model.parameters() if p.requires_grad]


_LOOSE = ("mask_downsample.", "maskmem_tpos_enc", "no_mem_embed", "no_mem_pos_enc", "no_obj_ptr")
_FROZEN_HEADS = ("sam_mask_decoder.iou_prediction_head.", "sam_mask_decoder.pred_obj_score_head.")


def _learns(name: str, what: Trainable) -> bool:
    if what == "full":
        return not name.startswith("sam_prompt_encoder.mask_downscaling.")
    decoder = name.startswith("sam_mask_decoder.") and not name.startswith(_FROZEN_HEADS)
    if what == "decoder":
        return decoder
    shared = decoder or ".lora_" in name or name.startswith(_LOOSE)
    if what == "code":
        return shared
    return shared or name.startswith(("memory_attention.", "memory_encoder."))


def _rows(fused: nn.Linear, start: int, stop: int) -> nn.Linear:
    part = nn.Linear(fused.in_features, stop - start, device="meta")
    part.weight = nn.Parameter(fused.weight.detach()[start:stop].clone())
    part.bias = nn.Parameter(fused.bias.detach()[start:stop].clone())
    return part
