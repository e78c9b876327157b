"""The model of a recipe: built, started from weights, made trainable."""

from __future__ import annotations

from functools import partial

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from memorysam_core.adapters import add_adapters, merge_adapters, set_trainable
from memorysam_core.architecture import Architecture
from memorysam_core.checkpoint import build_model, load_checkpoint
from memorysam_core.model import MemorySAM
from memorysam_training.recipe import Model
from memorysam_training.settings import SettingsError


def make_model(settings: Model, num_classes: int) -> MemorySAM:
    """A model ready to train. Raises SettingsError where weights and settings contradict."""
    architecture = Architecture(
        size=settings.size,
        version=settings.version,
        num_classes=num_classes,
        object_gate=settings.object_gate,
        memory_mask=settings.memory_mask,
        memory=settings.memory,
    )
    model = build_model(architecture)
    if settings.weights:
        _load(model, settings.weights)
    if settings.rank:
        add_adapters(model, settings.rank)
    set_trainable(model, settings.trainable)
    _set_dropout(model.memory_attention, settings.memory_dropout)
    return model.to(memory_format=torch.channels_last)


def _load(model: MemorySAM, path: str) -> None:
    """Weights of a checkpoint; of another number of classes, all but what depends on it."""
    given = load_checkpoint(path)
    ours = model.architecture
    if (given.architecture.size, given.architecture.version) != (ours.size, ours.version):
        raise SettingsError(
            f"{path} is a {given.architecture.size} model of version {given.architecture.version}, "
            f"but model.size is {ours.size} and model.version {ours.version}"
        )
    source = merge_adapters(given.build()).state_dict()
    target = model.state_dict()
    fitting = {k: v for k, v in source.items() if k in target and v.shape == target[k].shape}
    lacking = [k for k in target if k not in fitting and not k.startswith("sam_mask_decoder.")]
    if lacking:
        raise SettingsError(f"{path} lacks {len(lacking)} tensors, such as {lacking[0]}")
    model.load_state_dict(target | fitting)


def _set_dropout(attention: nn.Module, share: float) -> None:
    for module in attention.modules():
        if isinstance(module, nn.Dropout):
            module.p = share
        elif hasattr(module, "dropout_p"):
            module.dropout_p = share


def recompute_activations(model: MemorySAM) -> None:
    """Keep only the inputs of the encoder's blocks, and compute the rest again on the way back."""
    for block in model.image_encoder.trunk.blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)


def merged_copy(model: MemorySAM) -> MemorySAM:
    """A copy with the adapters folded in, for a checkpoint that needs no peft."""
    copy = build_model(model.architecture)
    copy.load_state_dict(model.state_dict())
    return merge_adapters(copy)
