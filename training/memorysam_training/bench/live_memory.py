"""How much memory a training step needs, told from the shapes of its tensors: without a GPU."""

from __future__ import annotations

import weakref
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from memorysam_core.model import MemorySAM


class LiveMemory(TorchDispatchMode):
    """Counts the bytes of all tensors that operations make while it is entered, for as long as
    each of them lives.

    Views count once. What an operation needs within itself is not seen.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """What the operation returns, counted."""
        result = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._count(leaf.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage._cdata in self._known:
            return
        self._known.add(storage._cdata)
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, storage._cdata, storage.nbytes())

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


def step_bytes(model: MemorySAM, modalities: int, batch: int, side: int, *, real: bool) -> int:
    """Most memory at once of forward and backward in bfloat16, weights and gradients included.

    With AdamW comes twice the size of the weights. Unless ``real``, nothing is computed: the model
    is left with weights that have shapes only. The loss is the cross-entropy of every pixel.
    """
    held = sum(t.nbytes for t in (*model.parameters(), *model.buffers()))
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    if not real:
        _keep_shapes_only(model, mode)
    live = LiveMemory()
    with nullcontext() if real else mode, live:
        frames = torch.zeros(modalities, batch, 3, side, side)
        labels = torch.zeros(batch, side, side, dtype=torch.long)
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(frames).logits
        full = F.interpolate(logits.float(), (side, side), mode="bilinear", align_corners=False)
        F.cross_entropy(full, labels).backward()
    return held + live.peak


def _keep_shapes_only(model: MemorySAM, mode: FakeTensorMode) -> None:
    for module in model.modules():
        for name, weight in module.named_parameters(recurse=False):
            shape = torch.nn.Parameter(mode.from_tensor(weight.detach()), weight.requires_grad)
            setattr(module, name, shape)
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, mode.from_tensor(buffer))
