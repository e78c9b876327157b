"""From samples as they were read to a normalised batch, with or without augmentation.

Geometry is shared by all modalities. By default only colour and rendered frames are interpolated:
in a LiDAR frame the mean of two ranges is a point in the air, and of two event colours a third
one, so those, depth and labels keep the nearest pixel.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from memorysam_core.contract import SIZE_MULTIPLE, Modality
from memorysam_core.labels import IGNORE
from memorysam_training.corruption import corrupt, nothing
from memorysam_training.data.samples import Sample
from memorysam_training.plan import Draw
from memorysam_training.recipe import Augment

BLUR = (0.2390, 0.5220, 0.2390)
"""A Gaussian of 3 pixels, sigma 0.8 (what a 3 x 3 kernel gets by default in torchvision)."""
GREY = (0.299, 0.587, 0.114)


class Resampler:
    """Changes the size of frames, each modality in its own way."""

    def __init__(self, resampling: str, antialias: bool) -> None:
        self.resampling, self.antialias = resampling, antialias

    def frame(self, frame: Tensor, size: tuple[int, int], modality: Modality) -> Tensor:
        """A frame ``(3, H, W)`` in ``size`` (height, width)."""
        if tuple(frame.shape[1:]) == size:
            return frame
        smooth = modality.representation.reading in ("image", "rendered")
        if self.resampling == "by_modality" and not smooth:
            return F.interpolate(frame[None], size, mode="nearest-exact")[0]
        return F.interpolate(frame[None], size, mode="bilinear", antialias=self.antialias)[0]

    def labels(self, labels: Tensor, size: tuple[int, int]) -> Tensor:
        """Class ids ``(H, W)`` in ``size``, nearest."""
        if tuple(labels.shape) == size:
            return labels
        return F.interpolate(labels[None, None], size, mode="nearest-exact")[0, 0]


class TrainingBatch:
    """Samples to the tensors of a training step."""

    def __init__(
        self,
        augment: Augment,
        corruption: float,
        modalities: Sequence[Modality],
        size: tuple[int, int],
    ) -> None:
        self.augment = augment
        self.corruption = corruption
        self.modalities = {m.name: m for m in modalities}
        self.size = size
        self.resampler = Resampler(augment.resampling, augment.antialias)

    def __call__(
        self, samples: Sequence[Sample], draws: Sequence[Draw], device: torch.device | str = "cpu"
    ) -> tuple[Tensor, Tensor]:
        """Normalised frames float32 ``(M, B, 3, H, W)`` and labels int64 ``(B, H, W)``."""
        frames, labels = [], []
        for sample, draw in zip(samples, draws, strict=True):
            one, ids = self._sample(sample, random.Random(draw.seed ^ 1), device)
            frames.append(one)
            labels.append(ids)
        return torch.stack(frames, dim=1), torch.stack(labels).long()

    def _sample(
        self, sample: Sample, chance: random.Random, device: torch.device | str
    ) -> tuple[Tensor, Tensor]:
        labels = sample.labels_at_frames().to(device)
        window, inner = self._crop(labels.shape[0], labels.shape[1], chance)
        flipped = chance.random() < self.augment.flip
        frames = []
        for name, whole in sample.frames.items():
            modality = self.modalities[name]
            frame = _scaled(whole.to(device)[(slice(None), *window)])
            if modality.representation.reading == "image":
                frame = self._photometric(frame, chance)
            frame = self.resampler.frame(frame, inner, modality)
            if flipped:
                frame = flip(frame, modality)
            if chance.random() < self.corruption:
                frame = corrupt(frame, modality, chance)
            frames.append(normalised(_padded(frame, self.size, nothing(modality)), modality))
        labels = self.resampler.labels(labels[window], inner)
        labels = labels.flip(-1) if flipped else labels
        return torch.stack(frames), _padded(labels, self.size, IGNORE)

    def _crop(
        self, height: int, width: int, chance: random.Random
    ) -> tuple[tuple[slice, slice], tuple[int, int]]:
        """A window of the sample, and the size it is brought to (at most the training size)."""
        to_height, to_width = self.size
        zoom = chance.uniform(*self.augment.scale) * max(to_height / height, to_width / width)
        crop_height = min(height, max(1, round(to_height / zoom)))
        crop_width = min(width, max(1, round(to_width / zoom)))
        top = chance.randint(0, height - crop_height)
        left = chance.randint(0, width - crop_width)
        inner = min(to_height, round(crop_height * zoom)), min(to_width, round(crop_width * zoom))
        return (slice(top, top + crop_height), slice(left, left + crop_width)), inner

    def _photometric(self, image: Tensor, chance: random.Random) -> Tensor:
        """Brightness, contrast, saturation and blur of an image, 0 to 1."""
        if chance.random() < self.augment.jitter:
            low, high = self.augment.jitter_range
            image = (image * chance.uniform(low, high)).clamp(0, 1)
            grey = _grey(image)
            image = _blend(image, grey.mean(), chance.uniform(low, high))
            image = _blend(image, _grey(image), chance.uniform(low, high))
        if chance.random() < self.augment.blur and min(image.shape[1:]) > 1:
            image = _blurred(image)
        return image


class ValidationBatch:
    """Samples to tensors without chance: short side to that of ``size``, up to multiples of 32.

    Frames and labels are brought to one size, and scores are those at this size; but labels that
    are finer than the frames stay as they are, and scores are those at theirs.
    """

    def __init__(
        self,
        modalities: Sequence[Modality],
        size: tuple[int, int],
        resampling: str = "by_modality",
        antialias: bool = True,
    ) -> None:
        self.modalities = {m.name: m for m in modalities}
        self.size = size
        self.resampler = Resampler(resampling, antialias)

    def __call__(
        self, samples: Sequence[Sample], device: torch.device | str = "cpu"
    ) -> tuple[Tensor, Tensor]:
        """Normalised frames float32 ``(M, B, 3, H, W)`` and labels int64 ``(B, h, w)``."""
        size = validation_size(*samples[0].size, short=min(self.size))
        frames, labels = [], []
        for sample in samples:
            one = [
                normalised(
                    self.resampler.frame(_scaled(f.to(device)), size, self.modalities[name]),
                    self.modalities[name],
                )
                for name, f in sample.frames.items()
            ]
            frames.append(torch.stack(one))
            own = tuple(sample.labels.shape)
            scored = size if own == sample.size else own
            labels.append(self.resampler.labels(sample.labels.to(device), scored))
        return torch.stack(frames, dim=1), torch.stack(labels).long()


def validation_size(height: int, width: int, short: int) -> tuple[int, int]:
    """The size a sample is validated at: short side to ``short``, both up to multiples of 32."""
    factor = short / min(height, width)

    def up(length: int) -> int:
        return -(-int(length * factor + 0.5) // SIZE_MULTIPLE) * SIZE_MULTIPLE

    return up(height), up(width)


def normalised(frame: Tensor, modality: Modality) -> Tensor:
    """A frame scaled to 0 to 1, ``(..., 3, H, W)``, as the contract says."""
    mean = frame.new_tensor(modality.mean)[:, None, None]
    std = frame.new_tensor(modality.std)[:, None, None]
    return (frame - mean) / std


def flip(frame: Tensor, modality: Modality) -> Tensor:
    """Mirrors a frame ``(..., 3, H, W)``, 0 to 1, left to right.

    The polarisation angle changes its sign with the image: so does its sine, not its cosine.
    """
    mirrored = frame.flip(-1)
    if modality.name == "aolp":
        sine, cosine, again = mirrored.unbind(-3)
        mirrored = torch.stack([1 - sine, cosine, 1 - again], dim=-3)
    return mirrored


def _scaled(frame: Tensor) -> Tensor:
    return frame.float() / 255 if frame.dtype == torch.uint8 else frame


def _padded(image: Tensor, size: tuple[int, int], value: float) -> Tensor:
    bottom, right = size[0] - image.shape[-2], size[1] - image.shape[-1]
    return F.pad(image, (0, right, 0, bottom), value=value) if bottom or right else image


def _grey(image: Tensor) -> Tensor:
    return (image * image.new_tensor(GREY)[:, None, None]).sum(0, keepdim=True)


def _blend(image: Tensor, other: Tensor, share: float) -> Tensor:
    return (other + (image - other) * share).clamp(0, 1)


def _blurred(image: Tensor) -> Tensor:
    taps = image.new_tensor(BLUR)
    padded = F.pad(image[None], (1, 1, 1, 1), mode="reflect")
    across = F.conv2d(padded, taps.view(1, 1, 1, 3).expand(3, 1, 1, 3), groups=3)
    return F.conv2d(across, taps.view(1, 1, 3, 1).expand(3, 1, 3, 1), groups=3)[0]
