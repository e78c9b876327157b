"""Everything that a training run depends on, as one typed, checked and printable value.

Defaults are those of our recipe; ``config/train_*.yaml`` hold the published ones and ours.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from memorysam_core.contract import check_size
from memorysam_training import settings
from memorysam_training.settings import SettingsError


@dataclass(frozen=True)
class Data:
    """Which samples, and how they are read."""

    kind: Literal["deliver", "mcubes", "bags"] = "deliver"
    """DELIVER or anything in its layout (simulated drives), MCubeS, or labelled rosbags."""
    root: str = ""
    """The data set's folder; of ``bags``: a folder with train, val and test folders of bags."""
    modalities: tuple[str, ...] = ()
    """Names in the order of the sequence; empty: all that the data set has."""
    depth: Literal["hha", "log_depth"] = "log_depth"
    """How the modality ``depth`` is drawn; of DELIVER, which of its two folders it is."""
    representations: dict[str, dict] = field(default_factory=dict)
    """By modality, a representation's name and parameters where they are not the defaults, such as
    ``lidar: {metres_per_level: 0.5}``: how bags are drawn, or how pictures have been."""
    normalisation: dict[str, dict] = field(default_factory=dict)
    """By modality, the ``mean`` that is subtracted and the ``std`` that divides, one number or one
    per channel, 0 to 1, where the published ones (the image's, and none) are not wanted."""
    label_space: str = ""
    """A built-in label space or a YAML file; empty: the data set's own."""
    conditions: tuple[str, ...] = ()
    """Only these weathers (DELIVER); empty: all."""
    size: tuple[int, int] = (1024, 1024)
    """Height and width that the model is trained at, multiples of 32."""
    cache: str = ""
    """Folder for a decoded copy that is memory-mapped (samples of one size); empty: none."""
    on_bad_sample: Literal["fail", "skip"] = "fail"
    """Stop at an unreadable sample, or take the next one and count it."""

    def __post_init__(self) -> None:
        check_size(*self.size)
        if self.kind == "mcubes" and self.conditions:
            raise SettingsError("data.conditions is set, but data.kind mcubes knows no conditions")
        if len(set(self.modalities)) != len(self.modalities):
            raise SettingsError(f"data.modalities names one twice: {', '.join(self.modalities)}")
        self._check_representations()

    def _check_representations(self) -> None:
        wanted = {"representations": "name and parameters", "normalisation": "mean and std"}
        for setting, what in wanted.items():
            for name, values in getattr(self, setting).items():
                if not isinstance(values, dict):
                    raise SettingsError(
                        f"data.{setting}.{name} is {values!r}; give a mapping of {what}"
                    )
        if self.representations and self.kind == "mcubes":
            raise SettingsError(
                "data.representations is set, but data.kind mcubes has frames that come drawn"
            )
        drawn = self.representations.get("depth", {}).get("name", self.depth)
        if drawn != self.depth:
            raise SettingsError(
                f"data.representations.depth is {drawn}, but data.depth is {self.depth}; give one"
            )


@dataclass(frozen=True)
class Model:
    """What is trained, and from where it starts."""

    size: Literal["nano", "tiny", "small", "base_plus", "large"] = "base_plus"
    version: Literal["2.0", "2.1"] = "2.0"
    weights: str = ""
    """A checkpoint of ours, or converted from Meta's, to start from; empty: random weights."""
    trainable: Literal["paper", "code", "full", "decoder"] = "paper"
    """``paper``: LoRA, memory and decoder; ``code``: without memory; ``full``: everything."""
    rank: int = 4
    """Rank of LoRA on q and v of the encoder; 0 for none."""
    object_gate: bool = False
    """Overwrite the logits of frames whose object score is not positive, as stock SAM 2 does."""
    memory_mask: Literal["best_iou", "most_frequent", "confidence", "constant"] = "confidence"
    """Which mask the memory of a frame is made of."""
    memory: bool = True
    """Off: frames are segmented independently and averaged."""
    memory_dropout: float = 0.1
    """Dropout inside the memory attention while training; SAM 2 was trained with 0.1."""

    def __post_init__(self) -> None:
        if not 0 <= self.memory_dropout < 1:
            raise SettingsError(f"model.memory_dropout is {self.memory_dropout}; give 0 to below 1")
        if self.trainable != "full" and not self.weights:
            raise SettingsError(
                f"model.trainable is {self.trainable}, which keeps most of the encoder as it is, "
                "but model.weights is empty, so it would stay random; give weights, or "
                "trainable: full"
            )
        if self.trainable == "full" and self.rank:
            raise SettingsError(
                f"model.trainable is full, but model.rank is {self.rank}: LoRA adapts frozen "
                "weights; set rank: 0"
            )
        if self.trainable in ("paper", "code") and self.rank < 1:
            raise SettingsError(
                f"model.trainable is {self.trainable}, which trains LoRA, but model.rank is "
                f"{self.rank}; give 1 or more"
            )


@dataclass(frozen=True)
class Loss:
    """OHEM cross-entropy, the prototypes, and the IoU that the model predicts of its masks."""

    ohem_confidence: float = 0.7
    """Pixels whose true class is less probable than this are hard."""
    ohem_least_share: float = 0.0625
    """At least this share of the labelled pixels counts."""
    balance: float = 0.0
    """A pixel counts by the share of its class in the training labels to the power of minus this:
    0, all pixels alike; 1, all classes alike. The mean over classes asks for something between."""
    prototypes: Literal["off", "paper", "reference"] = "off"
    """The Semantic Prototype Memory Module: none, as in the paper, or as in the released code."""
    prototype_weight: float = 1.0
    prototype_momentum: float = 0.8
    prototype_distance: Literal["squared", "cosine"] = "squared"
    iou_weight: float = 0.0
    """Of the squared error of the predicted IoU, which ``memory_mask: best_iou`` goes by."""

    def __post_init__(self) -> None:
        if not 0 < self.ohem_confidence < 1 or not 0 <= self.ohem_least_share <= 1:
            raise SettingsError(
                f"loss.ohem_confidence is {self.ohem_confidence} and loss.ohem_least_share "
                f"{self.ohem_least_share}; give fractions of 1"
            )
        if not 0 <= self.balance <= 1:
            raise SettingsError(f"loss.balance is {self.balance:g}; give 0 to 1")
        if self.prototypes == "reference" and self.prototype_distance != "squared":
            raise SettingsError(
                "loss.prototypes reference has the squared distance only; "
                "loss.prototype_distance is " + self.prototype_distance
            )


@dataclass(frozen=True)
class Augment:
    """Changes to the training samples, the same for all modalities where they are geometric."""

    jitter: float = 0.2
    """Share of colour images whose brightness, contrast and saturation change."""
    jitter_range: tuple[float, float] = (0.5, 1.5)
    blur: float = 0.2
    """Share of colour images that are blurred, 3 x 3."""
    flip: float = 0.5
    """Share of samples mirrored left to right."""
    scale: tuple[float, float] = (0.5, 2.0)
    """Range of the zoom before a crop of the training size; 1 fills it."""
    resampling: Literal["by_modality", "bilinear"] = "by_modality"
    """Nearest for depth, events and LiDAR, or, as published, bilinear for every modality."""
    antialias: bool = True
    """Low-pass bilinear resampling when shrinking (torchvision changed its default in 0.17)."""
    early_size: tuple[int, int] = (0, 0)
    """A smaller height and width for the first part of the run: more steps in the same time."""
    early_share: float = 0.0
    """Share of the steps that are taken at ``early_size``."""

    def __post_init__(self) -> None:
        if bool(self.early_share) != any(self.early_size) or not 0 <= self.early_share <= 1:
            raise SettingsError(
                f"augment.early_size is {list(self.early_size)} and augment.early_share "
                f"{self.early_share:g}; give both, a size and a share of the steps, or neither"
            )
        if self.early_share:
            check_size(*self.early_size)
        for name in ("scale", "jitter_range"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise SettingsError(f"augment.{name} is [{low}, {high}]; give 0 < low <= high")


@dataclass(frozen=True)
class Robustness:
    """Training for sensors that fail."""

    dropout: float = 0.2
    """Share of the steps that see a proper, non-empty subset of the modalities."""
    dropout_weights: dict[str, float] = field(default_factory=dict)
    """By modality, how likely it is to be left out in those steps, against 1 of the others: more
    for what the model must not go by alone."""
    corruption: float = 0.0
    """Share of the frames that are noisy, shifted or partly black."""

    def __post_init__(self) -> None:
        for name in ("dropout", "corruption"):
            if not 0 <= getattr(self, name) <= 1:
                raise SettingsError(f"robustness.{name} is {getattr(self, name)}; give 0 to 1")
        for name, weight in self.dropout_weights.items():
            if not isinstance(weight, int | float) or not 0 < weight < math.inf:
                raise SettingsError(
                    f"robustness.dropout_weights.{name} is {weight!r}; give a number above 0 (1 is "
                    "the others' weight)"
                )


@dataclass(frozen=True)
class Optimiser:
    """AdamW, or Muon and AdamW, and their schedule."""

    learning_rate: float = 6e-4
    """Of AdamW, for the whole ``batch``."""
    muon_rate: float = 0.0
    """Learning rate of Muon, which then moves the linear maps (0.02 is usual); 0: AdamW for all."""
    muon_decay: float = 0.01
    """Weight decay of Muon: in the long run it keeps what a matrix amplifies to about 1 /
    ``muon_decay``, times sqrt(rows / columns) if it has more rows than columns. Where no norm
    follows, as on the way into memory and out of it, a long run needs that bound."""
    weight_decay: float = 0.01
    """Of what AdamW moves, but for one-dimensional parameters."""
    batch: int = 16
    """Samples of one step, over all processes and accumulated gradients."""
    batch_per_process: int = 4
    """Samples of one forward pass; processes and accumulation make up the rest of ``batch``."""
    epochs: int = 200
    warmup_epochs: float = 10.0
    warmup_start: float = 0.1
    power: float = 0.9
    clip: float = 0.0
    """Largest norm of the gradient; 0 for no limit."""
    average: float = 0.0
    """Momentum of an average of the weights that is validated and saved; 0 for none."""

    def __post_init__(self) -> None:
        if self.warmup_epochs > self.epochs:
            raise SettingsError(
                f"optimiser.warmup_epochs is {self.warmup_epochs:g}, more than optimiser.epochs, "
                f"{self.epochs}"
            )
        if self.batch % self.batch_per_process:
            raise SettingsError(
                f"optimiser.batch is {self.batch}, not a multiple of optimiser.batch_per_process, "
                f"{self.batch_per_process}"
            )
        for name in ("muon_rate", "muon_decay", "weight_decay"):
            if getattr(self, name) < 0:
                raise SettingsError(f"optimiser.{name} is {getattr(self, name):g}; give 0 or more")
        if not 0 <= self.average < 1:
            raise SettingsError(f"optimiser.average is {self.average}; give 0 to below 1")


@dataclass(frozen=True)
class Run:
    """How the run is carried out; what is learnt depends on seed, precision and schedule alone."""

    folder: str = ""
    """Where everything of the run goes; empty: ``runs/<name>``."""
    seed: int = 0
    precision: Literal["auto", "fp32", "bf16"] = "fp32"
    """``auto``: bf16 where the device computes it fast; many a processor takes 50 times as long."""
    schedule: Literal["whole", "published"] = "whole"
    """``whole``: the learning rate falls until the last step; ``published``: it counts samples //
    batch steps in an epoch, as the released code does, so that the last ones may learn nothing."""
    stored: Literal["fp32", "fp16"] = "fp32"
    """Type of the weights in ``last`` and ``best``; fp16 halves the files."""
    workers: int = 2
    """Processes that read samples; 0 reads in the training process (best with a cache)."""
    gradient_checkpointing: bool = False
    """Recompute the activations of the encoder, which has most of them: less memory, more time."""
    validate_every: int = 1
    """Epochs between validations; the last epoch is always validated."""
    save_every: int = 200
    """Steps between checkpoints, beside those after each validation."""
    log_every: int = 10
    """Steps between lines of metrics."""
    pictures: int = 4
    """Sample predictions drawn at each new best validation."""

    def __post_init__(self) -> None:
        for name in ("validate_every", "save_every", "log_every"):
            if getattr(self, name) < 1:
                raise SettingsError(f"run.{name} is {getattr(self, name)}; give 1 or more")


@dataclass(frozen=True)
class Recipe:
    """A whole training run."""

    name: str = "run"
    data: Data = field(default_factory=Data)
    model: Model = field(default_factory=lambda: Model(trainable="full", rank=0))
    loss: Loss = field(default_factory=Loss)
    augment: Augment = field(default_factory=Augment)
    robustness: Robustness = field(default_factory=Robustness)
    optimiser: Optimiser = field(default_factory=Optimiser)
    run: Run = field(default_factory=Run)

    def __post_init__(self) -> None:
        if self.run.validate_every > self.optimiser.epochs:
            raise SettingsError(
                f"run.validate_every is {self.run.validate_every}, more than optimiser.epochs, "
                f"{self.optimiser.epochs}"
            )
        if self.loss.iou_weight and self.model.memory_mask != "best_iou":
            raise SettingsError(
                f"loss.iou_weight is {self.loss.iou_weight:g}, but with model.memory_mask "
                f"{self.model.memory_mask} no IoU is predicted; set one of them otherwise"
            )

    @property
    def folder(self) -> Path:
        """Where everything of the run goes."""
        return Path(self.run.folder or f"runs/{self.name}")

    @classmethod
    def load(cls, file: str | Path | None, overrides: Sequence[str] = ()) -> Recipe:
        """From a YAML file and ``key=value`` texts. Raises SettingsError for what does not fit."""
        return settings.load(cls, file, overrides)

    def replace(self, **changes: object) -> Recipe:
        """A copy with some sections changed."""
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]

    def to_dict(self) -> dict:
        """As plain values, as they stand in the YAML file."""
        return settings.to_dict(self)
