"""Model sizes and the settings that, together with the weights, make one MemorySAM.

The numbers of ``tiny`` to ``large`` are those of SAM 2's released configurations; ``nano`` is
ours: the same parts, made small enough to train and run on a processor.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal, get_args

Version = Literal["2.0", "2.1"]
MemoryMask = Literal["best_iou", "most_frequent", "confidence", "constant"]


@dataclass(frozen=True)
class Size:
    """Widths and depths of SAM 2's parts."""

    embed_dim: int
    """Channels of the trunk's first stage; each later stage doubles them."""
    num_heads: int
    """Attention heads of the trunk's first stage; each later stage doubles them."""
    stages: tuple[int, int, int, int]
    """Trunk blocks of each stage."""
    global_blocks: tuple[int, ...]
    """Trunk blocks that attend to the whole image instead of windows."""
    background_size: tuple[int, int] = (7, 7)
    """Grid of the trunk's coarse position embedding."""
    windows: tuple[int, int, int, int] = (8, 4, 14, 7)
    """Attention window of each stage, tokens."""
    model_dim: int = 256
    """Channels of neck, memory attention and mask decoder."""
    memory_dim: int = 64
    """Channels of a memory."""
    memory_layers: int = 4
    memory_feedforward: int = 2048
    decoder_feedforward: int = 2048

    @property
    def channels(self) -> tuple[int, int, int, int]:
        """Trunk channels at strides 4, 8, 16 and 32."""
        d = self.embed_dim
        return (d, 2 * d, 4 * d, 8 * d)


SIZES: dict[str, Size] = {
    "nano": Size(
        embed_dim=32,
        num_heads=1,
        stages=(1, 2, 8, 2),
        global_blocks=(4, 6, 8, 10),
        windows=(8, 4, 8, 4),
        model_dim=128,
        memory_dim=32,
        memory_layers=2,
        memory_feedforward=512,
        decoder_feedforward=512,
    ),
    "tiny": Size(96, 1, (1, 2, 7, 2), (5, 7, 9)),
    "small": Size(96, 1, (1, 2, 11, 2), (7, 10, 13)),
    "base_plus": Size(112, 2, (2, 3, 16, 3), (12, 16, 20), background_size=(14, 14)),
    "large": Size(144, 2, (2, 6, 36, 4), (23, 33, 43), windows=(8, 4, 16, 8)),
}


@dataclass(frozen=True)
class Architecture:
    """Everything but the weights that decides what a MemorySAM computes."""

    size: str = "base_plus"
    """``nano``, ``tiny``, ``small``, ``base_plus`` or ``large``."""
    version: Version = "2.0"
    """SAM 2 release whose object pointers and no-object embedding are used."""
    num_classes: int = 25
    object_gate: bool = False
    """Overwrite a frame's logits by -1024 where its object score is <= 0, as stock SAM 2 does.
    Published weights need it on; training with it on can stall (all gates close)."""
    memory_mask: MemoryMask = "best_iou"
    """Which mask of a frame goes into its memory: that of the class with the highest predicted
    IoU (published), that of the class with the most pixels, the map of the frame's confidence,
    or the same constant everywhere."""
    memory: bool = True
    """Off: frames are segmented one by one and averaged; for comparison only."""
    lora_rank: int = 0
    """Rank of the adapters in the trunk; 0 where there are none or they are merged."""

    def __post_init__(self) -> None:
        _refuse("size", self.size, SIZES)
        _refuse("version", self.version, get_args(Version))
        _refuse("memory_mask", self.memory_mask, get_args(MemoryMask))
        if self.num_classes < 1:
            raise ValueError(f"num_classes is {self.num_classes}; a model needs at least one class")
        if self.lora_rank < 0:
            raise ValueError(f"lora_rank is {self.lora_rank}; give 0 (no adapters) or more")

    @property
    def parts(self) -> Size:
        """Widths and depths of this size."""
        return SIZES[self.size]

    def replace(self, **changes: object) -> Architecture:
        """A copy with some settings changed."""
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]

    def to_dict(self) -> dict:
        """As plain values, for a checkpoint header."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> Architecture:
        """The inverse of :meth:`to_dict`. Raises ValueError on unknown keys."""
        known = [field.name for field in dataclasses.fields(cls)]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ValueError(
                f"an architecture has no {', '.join(unknown)}; known are {', '.join(known)}"
            )
        return cls(**values)


def _refuse(what: str, value: object, accepted: object) -> None:
    if value not in accepted:  # type: ignore[operator]
        names = ", ".join(str(a) for a in accepted)  # type: ignore[attr-defined]
        raise ValueError(f"{what} is {value!r}; accepted are {names}")
