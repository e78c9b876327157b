"""The reference that ours is compared with: stock SAM 2 run over the frames as over a video.

Everything here goes through the ``sam2`` package's own classes and its own ``SAM2Base``; only the
mask decoder is built larger, and the LoRA layers of the released MemorySAM code are added around
``qkv`` (in the blocks that double the width, to the first rows of q and the last rows of v).
"""

from __future__ import annotations

import torch
from sam2.modeling.backbones.hieradet import Hiera
from sam2.modeling.backbones.image_encoder import FpnNeck, ImageEncoder
from sam2.modeling.memory_attention import MemoryAttention, MemoryAttentionLayer
from sam2.modeling.memory_encoder import CXBlock, Fuser, MaskDownSampler, MemoryEncoder
from sam2.modeling.position_encoding import PositionEmbeddingSine
from sam2.modeling.sam.mask_decoder import MaskDecoder
from sam2.modeling.sam.transformer import RoPEAttention, TwoWayTransformer
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor, nn

from memorysam_core.architecture import Architecture

CONFIGURATIONS = {
    "tiny": "t",
    "small": "s",
    "base_plus": "b+",
    "large": "l",
}


def stock_model(architecture: Architecture, image_size: int) -> SAM2Base:
    """Stock SAM 2 of that size with a mask decoder for ``num_classes`` masks."""
    if architecture.size == "nano":
        model = _from_table(architecture, image_size)
    else:
        model = _from_released_configuration(architecture, image_size)
    size = architecture.parts
    model.sam_mask_decoder = MaskDecoder(
        num_multimask_outputs=architecture.num_classes,
        transformer=TwoWayTransformer(
            depth=2, embedding_dim=size.model_dim, num_heads=8, mlp_dim=size.decoder_feedforward
        ),
        transformer_dim=size.model_dim,
        iou_head_depth=3,
        iou_head_hidden_dim=256,
        use_high_res_features=True,
        iou_prediction_use_sigmoid=True,
        pred_obj_scores=True,
        pred_obj_scores_mlp=True,
        use_multimask_token_for_obj_ptr=True,
    )
    return model.eval()


def _from_released_configuration(architecture: Architecture, image_size: int) -> SAM2Base:
    from hydra import compose
    from hydra.utils import instantiate

    folder = {"2.0": "sam2/sam2", "2.1": "sam2.1/sam2.1"}[architecture.version]
    name = f"configs/{folder}_hiera_{CONFIGURATIONS[architecture.size]}.yaml"
    import sam2  # noqa: F401  (points hydra at the package's configurations)

    configuration = compose(config_name=name)
    configuration.model.image_size = image_size
    return instantiate(configuration.model)


def _from_table(architecture: Architecture, image_size: int) -> SAM2Base:
    size, dim = architecture.parts, architecture.parts.model_dim

    def rope(**cross: object) -> RoPEAttention:
        return RoPEAttention(
            embedding_dim=dim, num_heads=1, downsample_rate=1, dropout=0.1,
            feat_sizes=(4, 4), **cross,
        )  # fmt: skip

    layer = MemoryAttentionLayer(
        "relu", rope(rope_k_repeat=True, kv_in_dim=size.memory_dim), dim, size.memory_feedforward,
        0.1, False, True, False, rope(),
    )  # fmt: skip
    sine = PositionEmbeddingSine
    newer = architecture.version == "2.1"
    return SAM2Base(
        image_encoder=ImageEncoder(
            Hiera(
                size.embed_dim, size.num_heads, stages=size.stages, window_spec=size.windows,
                global_att_blocks=size.global_blocks,
                window_pos_embed_bkg_spatial_size=size.background_size,
            ),
            FpnNeck(
                sine(dim), dim, list(size.channels[::-1]), fpn_interp_model="nearest",
                fpn_top_down_levels=[2, 3],
            ),
            scalp=1,
        ),
        memory_attention=MemoryAttention(dim, True, layer, size.memory_layers),
        memory_encoder=MemoryEncoder(
            size.memory_dim,
            MaskDownSampler(dim, kernel_size=3, stride=2, padding=1),
            Fuser(CXBlock(dim), 2),
            sine(size.memory_dim),
            in_dim=dim,
        ),
        image_size=image_size,
        sigmoid_scale_for_mem_enc=20.0,
        sigmoid_bias_for_mem_enc=-10.0,
        directly_add_no_mem_embed=True,
        use_high_res_features_in_sam=True,
        multimask_output_in_sam=True,
        multimask_output_for_tracking=True,
        multimask_min_pt_num=0,
        use_multimask_token_for_obj_ptr=True,
        iou_prediction_use_sigmoid=True,
        use_obj_ptrs_in_encoder=True,
        only_obj_ptrs_in_the_past_for_eval=True,
        pred_obj_scores=True,
        pred_obj_scores_mlp=True,
        fixed_no_obj_ptr=True,
        use_mlp_for_obj_ptr_proj=True,
        no_obj_embed_spatial=newer,
        add_tpos_enc_to_obj_ptrs=newer,
        proj_tpos_enc_in_obj_ptrs=newer,
        use_signed_tpos_enc_to_obj_ptrs=newer,
    )  # fmt: skip


class ReleasedLoRA(nn.Module):
    """The released code's adapter around a fused ``qkv``."""

    def __init__(self, qkv: nn.Linear, rank: int) -> None:
        super().__init__()
        dim = qkv.in_features
        self.qkv = qkv
        self.linear_a_q = nn.Linear(dim, rank, bias=False)
        self.linear_b_q = nn.Linear(rank, dim, bias=False)
        self.linear_a_v = nn.Linear(dim, rank, bias=False)
        self.linear_b_v = nn.Linear(rank, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        dim = x.shape[-1]
        qkv = self.qkv(x)
        qkv[..., :dim] += self.linear_b_q(self.linear_a_q(x))
        qkv[..., -dim:] += self.linear_b_v(self.linear_a_v(x))
        return qkv


def add_released_lora(model: SAM2Base, rank: int) -> None:
    """Put the released code's adapters into all trunk blocks, with random A and B."""
    for block in model.image_encoder.trunk.blocks:
        block.attn.qkv = ReleasedLoRA(block.attn.qkv, rank)


@torch.no_grad()
def run_as_video(model: SAM2Base, frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Frames ``(M, B, 3, S, S)`` one after the other, each later a conditioning frame.

    Returns:
        Logits of each frame ``(M, B, C, S/4, S/4)``, mean stride-4 features, closed gates
        ``(M, B)``.
    """
    outputs = {"cond_frame_outputs": {}, "non_cond_frame_outputs": {}}
    logits, features, closed = [], [], []
    for index, frame in enumerate(frames):
        backbone = model.forward_image(frame)
        features.append(backbone["backbone_fpn"][0])
        _, feats, positions, sizes = model._prepare_backbone_features(backbone)
        current, heads, _, _ = model._track_step(
            index, index == 0, feats, positions, sizes, None, None, outputs, len(frames), False,
            None,
        )  # fmt: skip
        multimasks, _, _, _, high_res, pointer, score = heads
        current["obj_ptr"] = pointer
        model._encode_memory_in_output(feats, sizes, None, True, high_res, score, current)
        outputs["cond_frame_outputs"][index] = current
        logits.append(multimasks)
        closed.append(score[:, 0] <= 0)
    mean_features = torch.stack(features).mean(0)
    return torch.stack(logits), mean_features, torch.stack(closed)
