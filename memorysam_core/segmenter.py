"""Frames in, labels and confidence out: the model as an application calls it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from memorysam_core.checkpoint import Checkpoint
from memorysam_core.contract import InputContract
from memorysam_core.engines import Prepared, load_engine
from memorysam_core.engines.host_memory import keep_freed_memory
from memorysam_core.engines.placement import (
    DTYPES,
    Precision,
    choose_device,
    choose_precision,
)
from memorysam_core.engines.reducers import Reducers
from memorysam_core.engines.slots import FeatureSlots
from memorysam_core.engines.streams import for_sets
from memorysam_core.engines.threads import use_available_threads
from memorysam_core.engines.transfers import Fetcher, FrameLike, Intake
from memorysam_core.frames import drop_kept, resize
from memorysam_core.model import Features, MemorySAM
from memorysam_core.representations import Rgb

__all__ = [
    "DTYPES",
    "FrameLike",
    "Precision",
    "Segmentation",
    "Segmenter",
    "check_frames",
    "choose_device",
    "choose_precision",
]


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
    missing are simply not in the sequence. A frame that has not changed since the last set is not
    encoded again: its features serve once more. Not to be called by two threads at once.

    On the CPU, the process is set up for it: torch's number of threads, and what becomes of freed
    memory (:mod:`memorysam_core.engines.host_memory`).
    """

    def __init__(
        self,
        checkpoint: str | os.PathLike | Checkpoint,
        device: str | torch.device = "auto",
        precision: Precision = "auto",
        size: tuple[int, int] | None = None,
        engine: str = "auto",
    ) -> None:
        """Load, merge, fuse and place the model.

        Args:
            checkpoint: a file, or one that is loaded already; or what ``memorysam export`` made of
                one (``.pt2``, ``.onnx``), which fixes device, precision and size.
            device: ``auto`` is CUDA where there is one, else the CPU.
            precision: ``auto`` is bf16 where the device computes it fast; else, on a GPU, fp16
                where the weights do not overflow in it; else fp32.
            size: height and width that the model runs at, multiples of 32; the checkpoint's own
                where None.
            engine: for a checkpoint, ``eager`` (``auto`` is that too) or ``compiled``, which makes
                itself fast code while it already runs, or before, in :meth:`warm_up`.

        Raises:
            FileNotFoundError, CheckpointError: as :func:`load_checkpoint`; also for an exported
                file that was made for something else.
            ValueError: for an unknown device, precision, size or engine.
        """
        on_cpu = choose_device(device).type == "cpu"
        if on_cpu:
            use_available_threads()
        loaded = load_engine(checkpoint, engine, device, precision, size)
        if on_cpu:  # now that all that loading took is given back
            keep_freed_memory()
        self.path: Path | None = loaded.path
        self.contract: InputContract = loaded.contract
        self.device = loaded.device
        self.precision = loaded.precision
        self.size = loaded.size
        self.engine = loaded.engine
        self._model = loaded.model
        self._intake = Intake(self.device)
        self._fetcher = Fetcher(self.device)
        self._slots = FeatureSlots(self.engine.source.shapes, len(self.contract.modalities))
        self._which: dict[tuple[str, ...], Tensor] = {}
        self._batches: dict[int, Tensor] = {}
        self.reduce = Reducers(
            (len(self.contract.label_space.classes), self.size[0] // 4, self.size[1] // 4),
            self.device,
            records=self.device.type == "cuda" and self.engine.source.name != "eager",
        )
        """From logits on the device to labels and confidence at a size."""

    @property
    def model(self) -> MemorySAM:
        """The fused model, for whoever wants its logits. Raises ValueError for an exported file."""
        if self._model is None:
            raise ValueError(f"{self.path} holds compiled code only; load the checkpoint instead")
        return self._model

    @property
    def prepared(self) -> tuple[Prepared, ...]:
        """Which graphs are ready, and the time and memory that each of them cost."""
        return (*self.engine.prepared, *self.reduce.prepared)

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
        with torch.inference_mode(), for_sets(self.device):
            logits, closed, finite = self._run(names, frames)
            labels, confidence = self.reduce(logits, size or own_size)
            results = self._fetcher.fetch(labels, confidence, closed, finite)
        self._refuse_infinite(results[3], names)
        wide = logits.shape[0] > 255
        return Segmentation(
            labels=results[0].astype(np.uint16) if wide else results[0],
            confidence=results[1],
            modalities=names,
            closed_gates=tuple(bool(c) for c in results[2]),
        )

    def logits(self, frames: Mapping[str, FrameLike]) -> tuple[Tensor, Tensor]:
        """Logits float32 ``(C, H/4, W/4)`` at the model's size, and closed gates ``(M,)``.

        Arguments and errors as for :meth:`segment`.
        """
        names = self.contract.ordered(frames)
        check_frames(frames, names)
        with torch.inference_mode(), for_sets(self.device):
            logits, closed, finite = (result.clone() for result in self._run(names, frames))
            (is_finite,) = self._fetcher.fetch(finite)
        self._refuse_infinite(is_finite, names)
        return logits, closed

    def warm_up(
        self,
        subsets: Iterable[Iterable[str]] | None = None,
        lengths: Iterable[int] | None = None,
        others: bool = True,
        label_sizes: Iterable[tuple[int, int]] = (),
    ) -> None:
        """Get ready: prepare graphs, and run once on black frames for each subset of modalities.

        Args:
            subsets: modality names of each; where None, all of them, and one of each length.
            lengths: numbers of sensors for which graphs are prepared now; where None, all sensors
                and all but one.
            others: whether graphs for the other lengths are prepared in the background. Until they
                are, those run eagerly.
            label_sizes: heights and widths at which labels will be wanted, such as the camera's,
                besides the model's own. Others are got ready in the background when first wanted.
        """
        most = len(self.contract.names)
        wanted = {max(1, most - 1), most} if lengths is None else set(lengths)
        wrong = sorted(length for length in wanted if not 1 <= length <= most)
        if wrong:
            raise ValueError(
                f"{wrong[0]} sensors cannot be prepared for; this model has {most}: "
                + ", ".join(self.contract.names)
            )
        self.engine.prepare(wanted)
        black = np.zeros((*self.size, 3), np.uint8)
        if subsets is None:
            runnable = [length for length in sorted(wanted) if self.engine.can_run(length)]
            subsets = [self.contract.names[:length] for length in runnable]
        sizes = [self.size, *label_sizes]
        for size in sizes:
            self.reduce.prepare(size)
        for subset in subsets:
            self.forget()
            for size in sizes:
                self.segment(dict.fromkeys(subset, black), size)
        self.forget()
        if others:
            self.engine.prepare_in_background(set(range(1, most + 1)) - wanted)

    def forget(self) -> None:
        """Encode every frame of the next set, changed or not."""
        self._intake.forget()

    def close(self) -> None:
        """Stop preparing graphs in the background, and free what frames and sets left behind: the
        tables of all frames that this process draws, too. A graph in work is made to its end; once
        nothing refers to this segmenter, the model's memory is free then.
        """
        self.engine.close()
        self.reduce.forget()
        self._fetcher.forget()
        self._intake.forget()
        self._slots.forget()
        self._batches.clear()
        drop_kept()

    def _run(
        self, names: tuple[str, ...], frames: Mapping[str, FrameLike]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, closed gates and whether all is finite; the next call may overwrite them."""
        try:
            news = tuple(name for name in names if self._intake.is_news(name, frames[name]))
            if news:
                which = self._places(news)
                self._slots.store(which, self._encode(news, frames))
            return self.engine.run_sequence(self._slots.gather(self._places(names)))
        except BaseException:
            self.forget()  # a frame may have been taken whose features are not there
            raise

    def _encode(self, names: tuple[str, ...], frames: Mapping[str, FrameLike]) -> Features:
        batch = self._batches.get(len(names))
        if batch is None:
            shape = (len(names), *self.size, 3)
            batch = torch.empty(shape, dtype=torch.uint8, device=self.device)
            self._batches[len(names)] = batch
        for row, name in zip(batch, names, strict=True):
            row.copy_(self._at_size(name, self._intake.take(name, frames[name])))
        return self.engine.encode(batch, self._places(names))

    def _at_size(self, name: str, pixels: Tensor) -> Tensor:
        if tuple(pixels.shape[:2]) == tuple(self.size):
            return pixels
        smooth = isinstance(self.contract.modality(name).representation, Rgb)
        return (resize.smooth if smooth else resize.nearest)(pixels, self.size)

    def _places(self, names: tuple[str, ...]) -> Tensor:
        """The places of modalities in the contract, int64 on the device."""
        if names not in self._which:
            places = [self.contract.names.index(name) for name in names]
            self._which[names] = torch.tensor(places, device=self.device)
        return self._which[names]

    def _refuse_infinite(self, finite: np.ndarray, names: tuple[str, ...]) -> None:
        if not finite:
            raise ValueError(
                f"the model's output is not finite in {self.precision} for {', '.join(names)}; "
                "try precision fp32, and check the frames that it was given"
            )


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


def _nan_hint(frame: FrameLike) -> str:
    values = torch.as_tensor(frame)
    if values.is_floating_point() and values.isnan().any():
        return "; it also holds NaN, so draw it with memorysam_core.frames.draw"
    return ""
