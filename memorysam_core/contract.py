"""The input contract: all that a checkpoint expects of whoever feeds it.

It travels in the checkpoint's header. Trainer, replay and live node take modalities, their order,
representations, normalisation, input size and label space from here and from nowhere else.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field

from memorysam_core import representations
from memorysam_core.labels import DELIVER, MCUBES, LabelSpace
from memorysam_core.representations import Representation

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
SIZE_MULTIPLE = 32
"""Height and width of a model input are multiples of this."""

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Modality:
    """One kind of frame: its name, how it is drawn and how its pixels are normalised."""

    name: str
    representation: Representation
    mean: Triple = (0.0, 0.0, 0.0)
    """Subtracted from the frame once scaled to 0 to 1."""
    std: Triple = (1.0, 1.0, 1.0)
    """Divides what is left."""

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise ValueError(f"modality name {self.name!r} is not a plain identifier")
        if min(self.std) <= 0:
            raise ValueError(f"std of modality {self.name!r} is {self.std}; give positive numbers")

    def to_dict(self) -> dict:
        """As plain values."""
        return {
            "name": self.name,
            "representation": representations.to_dict(self.representation),
            "mean": list(self.mean),
            "std": list(self.std),
        }

    @classmethod
    def from_dict(cls, values: dict) -> Modality:
        """The inverse of :meth:`to_dict`. Raises ValueError on unknown keys."""
        values = dict(values)
        _refuse_unknown(values, cls, "a modality")
        values["representation"] = representations.from_dict(values["representation"])
        for key in ("mean", "std"):
            if key in values:
                values[key] = tuple(float(v) for v in values[key])
        return cls(**values)


@dataclass(frozen=True)
class InputContract:
    """Modalities in the order of the sequence, input size, and the labels that come out."""

    modalities: tuple[Modality, ...]
    label_space: LabelSpace
    size: tuple[int, int] = (1024, 1024)
    """Height and width, pixels, that the model was trained at; multiples of 32."""
    provenance: dict = field(default_factory=dict)
    """Where the weights come from: data, recipe, seed, time, machine, licence. Free form."""

    def __post_init__(self) -> None:
        if not self.modalities:
            raise ValueError("a contract needs at least one modality, got none")
        if len(set(self.names)) != len(self.names):
            raise ValueError(f"modalities are named twice in {', '.join(self.names)}")
        check_size(*self.size)

    @property
    def names(self) -> tuple[str, ...]:
        """Modality names in the order of the sequence."""
        return tuple(m.name for m in self.modalities)

    def modality(self, name: str) -> Modality:
        """The modality of that name. Raises ValueError, with the known ones, if there is none."""
        for candidate in self.modalities:
            if candidate.name == name:
                return candidate
        raise ValueError(
            f"the checkpoint knows no modality {name!r}; it accepts {', '.join(self.names)}"
        )

    def ordered(self, names: object) -> tuple[str, ...]:
        """The given names in the order of the sequence. Raises ValueError if empty or unknown."""
        given = set(names)  # type: ignore[call-overload]
        for name in given:
            self.modality(name)
        if not given:
            raise ValueError(
                "the sequence is empty; give a frame of at least one of " + ", ".join(self.names)
            )
        return tuple(name for name in self.names if name in given)

    def replace(self, **changes: object) -> InputContract:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]

    def to_json(self) -> str:
        """As one JSON text, for a checkpoint header."""
        return json.dumps(
            {
                "modalities": [m.to_dict() for m in self.modalities],
                "label_space": self.label_space.to_dict(),
                "size": list(self.size),
                "provenance": self.provenance,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> InputContract:
        """The inverse of :meth:`to_json`. Raises ValueError on unknown or wrong values."""
        values = json.loads(text)
        _refuse_unknown(values, cls, "an input contract")
        height, width = values["size"]
        return cls(
            modalities=tuple(Modality.from_dict(m) for m in values["modalities"]),
            label_space=LabelSpace.from_dict(values["label_space"]),
            size=(int(height), int(width)),
            provenance=dict(values.get("provenance", {})),
        )


def check_size(height: int, width: int) -> None:
    """Raises ValueError unless both are positive multiples of 32."""
    if height <= 0 or width <= 0 or height % SIZE_MULTIPLE or width % SIZE_MULTIPLE:
        near = [
            max(SIZE_MULTIPLE, round(v / SIZE_MULTIPLE) * SIZE_MULTIPLE) for v in (height, width)
        ]
        raise ValueError(
            f"input size {height} x {width} (height x width) is not in multiples of "
            f"{SIZE_MULTIPLE}; nearest is {near[0]} x {near[1]}"
        )


def deliver_modalities(depth: str = "hha") -> tuple[Modality, ...]:
    """Image, depth, event, LiDAR as for DELIVER; ``depth`` is ``hha`` or ``log_depth``."""
    return (
        Modality("image", representations.Rgb(), IMAGENET_MEAN, IMAGENET_STD),
        Modality("depth", representations.from_dict({"name": depth})),
        Modality("event", representations.EventPolarity()),
        Modality("lidar", representations.LidarRange()),
    )


def mcubes_modalities() -> tuple[Modality, ...]:
    """Image, angle and degree of linear polarisation, near infrared, as published for MCubeS."""
    return (
        Modality("image", representations.Rgb(), IMAGENET_MEAN, IMAGENET_STD),
        Modality(
            "aolp",
            representations.Rendered("sin, cos, sin of twice the polarisation angle, 128 for 0"),
            mean=(0.5, 0.5, 0.5),  # back to -1 to 1
            std=(0.5, 0.5, 0.5),
        ),
        Modality("dolp", representations.Rendered("degree of linear polarisation, three times")),
        Modality("nir", representations.Rendered("near infrared, three times")),
    )


def default_contract(label_space: LabelSpace = DELIVER) -> InputContract:
    """The contract of the published checkpoints for DELIVER (or MCubeS) at 1024 x 1024."""
    modalities = mcubes_modalities() if label_space == MCUBES else deliver_modalities()
    return InputContract(modalities, label_space)


def _refuse_unknown(values: dict, kind: type, what: str) -> None:
    known = [f.name for f in dataclasses.fields(kind)]
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ValueError(f"{what} has no {', '.join(unknown)}; known are {', '.join(known)}")
