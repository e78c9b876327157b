"""Frames in, labels and confidence out: the model as an application calls it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from memorysam_core.adapters import merge_adapters
from memorysam_core.checkpoint import Checkpoint, load_checkpoint
from memorysam_core.contract import InputContract, check_size
from memorysam_core.frames import resize
from memorysam_core.frames.arrays import tensor_of
from memorysam_core.model import MemorySAM
from memorysam_core.reduce import labels_and_confidence
from memorysam_core.representations import Rgb

Precision = Literal["auto", "fp32", "bf16", "fp16"]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

FrameLike = np.ndarray | Tensor


@dataclass(frozen=True)
class Segmentation:
    """What the model says of one set of frames."""

    labels: np.ndarray
    """Class ids ``(H, W)``: uint8, or uint16 past 255 classes."""
    confidence: np.ndarray
    """Probability of that class, uint8 ``(H, W)``, 255 for 1."""
    modalities: tuple[str, ...]
    """The frames that took part, in the order of the sequence."""
    closed_gates: tuple[bool, ...]
    """For each of them, whether its object score was <= 0."""


class Segmenter:
    """A checkpoint ready to run on one device, in one precision and at one input size.

    Any subset of the checkpoint's modalities may be given, another one each time: frames that are
    missing are simply not in the sequence. Not to be called by two threads at once.
    """

    def __init__(
        self,
        checkpoint: str | os.PathLike | Checkpoint,
        device: str | torch.device = "auto",
        precision: Precision = "auto",
        size: tuple[int, int] | None = None,
    ) -> None:
        """Load, merge, fuse and place the model.

        Args:
            checkpoint: a file, or one that is loaded already.
            device: ``auto`` is CUDA where there is one, else the CPU.
            precision: ``auto`` is bf16 where the device computes it fast, else fp32.
            size: height and width that the model runs at, multiples of 32; the checkpoint's own
                where None.

        Raises:
            FileNotFoundError, CheckpointError: as :func:`load_checkpoint`.
            ValueError: for an unknown device, precision or size.
        """
        if not isinstance(checkpoint, Checkpoint):
            checkpoint = load_checkpoint(checkpoint)
        self.path: Path | None = checkpoint.path
        self.contract: InputContract = checkpoint.contract
        self.device = choose_device(device)
        self.precision = choose_precision(precision, self.device)
        self.size = size or self.contract.size
        check_size(*self.size)
        self._dtype = DTYPES[self.precision]
        self._model = merge_adapters(checkpoint.build()).fuse().to(self.device, self._dtype)
        self._statistics = {
            m.name: self._mean_and_std(m.mean, m.std) for m in self.contract.modalities
        }

    @property
    def model(self) -> MemorySAM:
        """The fused model, for whoever wants its logits."""
        return self._model

    def segment(
        self, frames: Mapping[str, FrameLike], size: tuple[int, int] | None = None
    ) -> Segmentation:
        """Label one set of frames.

        Args:
            frames: by modality name, uint8 ``(H, W, 3)`` in the checkpoint's representation, of
                any subset of its modalities; all of one size, which need not be the model's.
            size: height and width of the labels; the frames' own where None.

        Raises:
            ValueError: for no frame, an unknown modality, another shape or type, or differing
                sizes; or if the model's output is not finite.
        """
        names = self.contract.ordered(frames)
        own_size = check_frames(frames, names)
        logits, closed = self.logits(frames)
        labels, confidence = labels_and_confidence(logits, size or own_size)
        host = torch.stack([labels.to(torch.int32), confidence.to(torch.int32)]).cpu().numpy()
        wide = logits.shape[0] > 255
        return Segmentation(
            labels=host[0].astype(np.uint16 if wide else np.uint8),
            confidence=host[1].astype(np.uint8),
            modalities=names,
            closed_gates=tuple(bool(c) for c in closed.tolist()),
        )

    @torch.inference_mode()
    def logits(self, frames: Mapping[str, FrameLike]) -> tuple[Tensor, Tensor]:
        """Logits float32 ``(C, H/4, W/4)`` at the model's size, and closed gates ``(M,)``.

        Arguments and errors as for :meth:`segment`.
        """
        names = self.contract.ordered(frames)
        check_frames(frames, names)
        sequence = torch.stack([self._prepare(name, frames[name]) for name in names])
        output = self._model(sequence.unsqueeze(1))
        logits = output.logits[0]
        if not torch.isfinite(logits.sum()):
            raise ValueError(
                f"the model's output is not finite in {self.precision} for {', '.join(names)}; "
                "try precision fp32, and check the frames that it was given"
            )
        return logits, output.closed_gates[:, 0]

    def warm_up(self, subsets: Iterable[Iterable[str]] | None = None) -> None:
        """Run once on black frames for each subset of modalities (all of them where None)."""
        black = np.zeros((*self.size, 3), np.uint8)
        for subset in subsets or [self.contract.names]:
            self.segment(dict.fromkeys(subset, black))

    def _prepare(self, name: str, frame: FrameLike) -> Tensor:
        """One frame, uint8 ``(H, W, 3)``, to the model's size and normalisation ``(3, h, w)``."""
        pixels = tensor_of(frame, self.device, torch.uint8)
        if pixels.shape[:2] != self.size:
            smooth = isinstance(self.contract.modality(name).representation, Rgb)
            pixels = (resize.smooth if smooth else resize.nearest)(pixels, self.size)
        mean, std = self._statistics[name]
        return ((pixels.permute(2, 0, 1).float() - mean) / std).to(self._dtype)

    def _mean_and_std(self, mean: tuple, std: tuple) -> tuple[Tensor, Tensor]:
        """On the scale of 0 to 255, ``(3, 1, 1)`` each, on the device."""
        scaled = torch.tensor([mean, std], device=self.device)[..., None, None] * 255
        return scaled[0], scaled[1]


def check_frames(frames: Mapping[str, FrameLike], names: Iterable[str]) -> tuple[int, int]:
    """Height and width that all named frames share. Raises ValueError for anything but uint8
    ``(H, W, 3)`` of one size.
    """
    sizes: dict[str, tuple[int, int]] = {}
    for name in names:
        frame = frames[name]
        if str(frame.dtype).removeprefix("torch.") != "uint8" or tuple(frame.shape[2:]) != (3,):
            raise ValueError(
                f"the {name} frame is {frame.dtype} {tuple(frame.shape)}; give uint8 (H, W, 3), "
                f"drawn as the checkpoint expects{_nan_hint(frame)}"
            )
        sizes[name] = (int(frame.shape[0]), int(frame.shape[1]))
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{name} {h} x {w}" for name, (h, w) in sizes.items())
        raise ValueError(f"frames differ in size (height x width): {listed}; give all at one size")
    return next(iter(sizes.values()))


def choose_device(device: str | torch.device) -> torch.device:
    """``auto`` to CUDA where there is one, else the CPU. Raises ValueError for an unusable one."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device is {device!r}; accepted are auto, cpu, cuda, cuda:N") from error
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"device is {device!r}, but this torch ({torch.__version__}) sees no CUDA device; "
            "use cpu, or install a CUDA build of torch and a driver"
        )
    return chosen


def choose_precision(precision: str, device: torch.device) -> str:
    """``auto`` to bf16 where the device computes it fast, else fp32."""
    if precision not in get_args(Precision):
        raise ValueError(
            f"precision is {precision!r}; accepted are {', '.join(get_args(Precision))}"
        )
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "bf16" if torch.cpu._is_amx_tile_supported() else "fp32"


def _nan_hint(frame: FrameLike) -> str:
    values = torch.as_tensor(frame)
    if values.is_floating_point() and values.isnan().any():
        return "; it also holds NaN, so draw it with memorysam_core.frames.draw"
    return ""
