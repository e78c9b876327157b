"""SAM 2's modules, built for a size and a number of classes, under Meta's parameter names.

The modules come from the ``sam2`` package; the numbers from our own table, so that neither
hydra nor a YAML file takes part.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType

import torch
from torch import nn

from memorysam_core.architecture import Architecture, Size
from memorysam_core.trunk import replace_blocks

NUM_MEMORY_POSITIONS = 7
"""Rows of SAM 2's temporal memory encoding; conditioning frames use the last one."""


def _sam2(module: str) -> ModuleType:
    """Import ``sam2.<module>`` without running ``sam2/__init__.py``.

    That file starts hydra for the whole process. A bare stand-in for the package, in place only
    while its modules load, keeps it from running, and a later ``import sam2`` still works.
    """
    if "sam2" in sys.modules:
        return importlib.import_module(f"sam2.{module}")
    spec = importlib.util.find_spec("sam2")
    if spec is None or spec.submodule_search_locations is None:
        raise ImportError(
            "the package sam2 is not installed; install torch first, then: "
            "SAM2_BUILD_CUDA=0 pip install --no-deps --no-build-isolation sam2==1.1.0"
        )
    bare = ModuleType("sam2")
    bare.__path__ = list(spec.submodule_search_locations)
    sys.modules["sam2"] = bare
    try:
        return importlib.import_module(f"sam2.{module}")
    finally:
        del sys.modules["sam2"]


_hieradet = _sam2("modeling.backbones.hieradet")
_image_encoder = _sam2("modeling.backbones.image_encoder")
_memory_attention = _sam2("modeling.memory_attention")
_memory_encoder = _sam2("modeling.memory_encoder")
_position_encoding = _sam2("modeling.position_encoding")
_mask_decoder = _sam2("modeling.sam.mask_decoder")
_prompt_encoder = _sam2("modeling.sam.prompt_encoder")
_transformer = _sam2("modeling.sam.transformer")
_utils = _sam2("modeling.sam2_utils")

MLP = _utils.MLP
get_1d_sine_pe = _utils.get_1d_sine_pe
sine_encoding = _position_encoding.PositionEmbeddingSine


def image_encoder(size: Size) -> nn.Module:
    """Stock Hiera trunk and feature pyramid neck."""
    trunk = _hieradet.Hiera(
        embed_dim=size.embed_dim,
        num_heads=size.num_heads,
        stages=size.stages,
        global_att_blocks=size.global_blocks,
        window_pos_embed_bkg_spatial_size=size.background_size,
        window_spec=size.windows,
    )
    neck = _image_encoder.FpnNeck(
        position_encoding=sine_encoding(size.model_dim, warmup_cache=False),
        d_model=size.model_dim,
        backbone_channel_list=list(reversed(size.channels)),
        fpn_top_down_levels=[2, 3],
        fpn_interp_model="nearest",
    )
    return _image_encoder.ImageEncoder(trunk=trunk, neck=neck, scalp=1)


def memory_attention(size: Size) -> nn.Module:
    """The layers in which a frame attends to itself and to the memories before it."""
    dim = size.model_dim

    def attention(**cross: object) -> nn.Module:
        return _transformer.RoPEAttention(
            embedding_dim=dim, num_heads=1, downsample_rate=1, dropout=0.1,
            feat_sizes=(1, 1), **cross,
        )  # fmt: skip

    layer = _memory_attention.MemoryAttentionLayer(
        activation="relu",
        d_model=dim,
        dim_feedforward=size.memory_feedforward,
        dropout=0.1,
        pos_enc_at_attn=False,
        pos_enc_at_cross_attn_keys=True,
        pos_enc_at_cross_attn_queries=False,
        self_attention=attention(),
        cross_attention=attention(rope_k_repeat=True, kv_in_dim=size.memory_dim),
    )
    return _memory_attention.MemoryAttention(
        d_model=dim, pos_enc_at_input=True, layer=layer, num_layers=size.memory_layers
    )


def memory_encoder(size: Size) -> nn.Module:
    """A frame's stride-16 features and one mask to its memory."""
    dim = size.model_dim
    block = _memory_encoder.CXBlock(dim=dim, kernel_size=7, padding=3, use_dwconv=True)
    return _memory_encoder.MemoryEncoder(
        out_dim=size.memory_dim,
        in_dim=dim,
        position_encoding=sine_encoding(size.memory_dim, warmup_cache=False),
        mask_downsampler=_memory_encoder.MaskDownSampler(
            embed_dim=dim, kernel_size=3, stride=2, padding=1
        ),
        fuser=_memory_encoder.Fuser(block, num_layers=2),
    )


def prompt_encoder(size: Size) -> nn.Module:
    """SAM's prompt encoder; of it, only the embeddings of 'no point' and 'no mask' are used."""
    return _prompt_encoder.PromptEncoder(
        embed_dim=size.model_dim,
        image_embedding_size=(64, 64),  # kept by the module, used by nothing we call
        input_image_size=(1024, 1024),
        mask_in_chans=16,
    )


def mask_decoder(size: Size, num_classes: int) -> nn.Module:
    """SAM's mask decoder with one mask token for each class after the unused first one."""
    dim = size.model_dim
    return _mask_decoder.MaskDecoder(
        num_multimask_outputs=num_classes,
        transformer=_transformer.TwoWayTransformer(
            depth=2, embedding_dim=dim, mlp_dim=size.decoder_feedforward, num_heads=8
        ),
        transformer_dim=dim,
        iou_head_depth=3,
        iou_head_hidden_dim=256,
        use_high_res_features=True,
        iou_prediction_use_sigmoid=True,
        pred_obj_scores=True,
        pred_obj_scores_mlp=True,
        use_multimask_token_for_obj_ptr=True,
    )


def attach(model: nn.Module, architecture: Architecture) -> None:
    """Give ``model`` SAM 2's parts and loose parameters under the names of Meta's checkpoints."""
    size = architecture.parts
    dim, memory_dim = size.model_dim, size.memory_dim
    model.image_encoder = image_encoder(size)
    replace_blocks(model.image_encoder.trunk)
    model.mask_downsample = nn.Conv2d(1, 1, kernel_size=4, stride=4)
    model.memory_attention = memory_attention(size)
    model.memory_encoder = memory_encoder(size)
    model.maskmem_tpos_enc = _small_noise(NUM_MEMORY_POSITIONS, 1, 1, memory_dim)
    model.no_mem_embed = _small_noise(1, 1, dim)
    model.no_mem_pos_enc = _small_noise(1, 1, dim)
    model.no_obj_ptr = _small_noise(1, dim)
    model.sam_prompt_encoder = prompt_encoder(size)
    model.sam_mask_decoder = mask_decoder(size, architecture.num_classes)
    model.obj_ptr_proj = MLP(dim, dim, dim, 3)
    if architecture.version == "2.1":
        model.no_obj_embed_spatial = _small_noise(1, memory_dim)
        model.obj_ptr_tpos_proj = nn.Linear(dim, memory_dim)
    nn.init.trunc_normal_(model.image_encoder.trunk.pos_embed, std=0.02)
    nn.init.trunc_normal_(model.image_encoder.trunk.pos_embed_window, std=0.02)


def _small_noise(*shape: int) -> nn.Parameter:
    return nn.Parameter(nn.init.trunc_normal_(torch.zeros(*shape), std=0.02))
