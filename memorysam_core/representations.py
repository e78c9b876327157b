"""Representations: how a sensor's reading is drawn as the three-channel frame that a model eats.

A checkpoint understands frames of the representation it was trained on and no other, so each
representation is a small frozen dataclass that travels, with its parameters, in the checkpoint's
input contract. What a data set's authors left open is a parameter here, with the default that
fits the published statistics best: whoever knows better changes one value.

The drawing itself is done by :mod:`memorysam_core.frames`.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

Reading = Literal["image", "depth", "points", "events", "rendered"]
"""The kinds of sensor reading that frames are drawn from."""


_LEVELS = 256
"""Of grey in one channel."""


class _Checked:
    """Refuses parameters that no frame could be drawn with."""

    def __post_init__(self) -> None:
        _check(self)


@dataclass(frozen=True)
class Rgb(_Checked):
    """A colour image as the camera gives it, R, G, B."""

    name: ClassVar[str] = "rgb"
    reading: ClassVar[Reading] = "image"


@dataclass(frozen=True)
class LogDepth(_Checked):
    """DELIVER's depth: ``floor(255 * clamp(1 + ln(z / far_m) / log_range, floor, 1))``, grey."""

    name: ClassVar[str] = "log_depth"
    reading: ClassVar[Reading] = "depth"

    far_m: float = 1000.0
    """Depth along the optical axis that is drawn as 255."""
    log_range: float = 5.70378
    """Natural logarithm of ``far_m`` over the depth that would be drawn as 0."""
    floor: float = 0.005
    """The least fraction of full scale; nearer depths are drawn as this."""
    invalid_level: int = 0
    """Grey of pixels without a depth; 0 cannot be reached by a valid one (the floor is 1)."""


@dataclass(frozen=True)
class Hha(_Checked):
    """Log depth (R), height above ground (G) and angle to gravity (B), as DELIVER's ``hha``."""

    name: ClassVar[str] = "hha"
    reading: ClassVar[Reading] = "depth"

    far_m: float = 1000.0
    log_range: float = 5.70378
    floor: float = 0.005
    invalid_level: int = 0
    levels_per_metre: float = 10.0
    """Grey levels of G for a metre of height above the ground."""
    angle_offset: float = 38.0
    """Added to the angle in degrees between surface normal and gravity, in B."""
    camera_height_m: float = 1.6
    """Height of the camera above the ground, where the ground cannot be seen."""


@dataclass(frozen=True)
class LidarRange(_Checked):
    """Nearest LiDAR return of each pixel, grey, one level per ``metres_per_level``; 0 is none."""

    name: ClassVar[str] = "lidar_range"
    reading: ClassVar[Reading] = "points"

    metres_per_level: float = 1.0
    max_range_m: float = 100.0
    """Returns beyond are dropped."""
    distance: Literal["euclidean", "z"] = "euclidean"
    """Distance from the camera, or depth along its optical axis (which, DELIVER does not say)."""
    remove_occluded: bool = True
    """Drop returns that the camera could only see through a nearer surface."""
    densify_px: int = 0
    """Radius over which a return also fills empty neighbours; 0 leaves single pixels."""

    def __post_init__(self) -> None:
        super().__post_init__()
        end_m = _LEVELS * self.metres_per_level
        if self.max_range_m > end_m:
            raise ValueError(
                f"with metres_per_level {self.metres_per_level:g} the grey levels end at "
                f"{end_m:g} m, and max_range_m is {self.max_range_m:g}: farther returns would all "
                f"look alike; give max_range_m up to {end_m:g}, or a larger metres_per_level"
            )


@dataclass(frozen=True)
class EventPolarity(_Checked):
    """DELIVER's events: black, and pure red or blue by the polarity of the last event."""

    name: ClassVar[str] = "event_polarity"
    reading: ClassVar[Reading] = "events"

    window_s: float = 0.05
    """Length of the window that ends at the camera's stamp."""
    positive: Literal["red", "blue"] = "red"
    """Colour of brightness increase (which, DELIVER does not say)."""


@dataclass(frozen=True)
class EventTimeSurface(_Checked):
    """Recency of the last event of each polarity: R increase, B decrease, 255 just now."""

    name: ClassVar[str] = "event_time_surface"
    reading: ClassVar[Reading] = "events"

    window_s: float = 0.1
    decay_s: float = 0.03
    """Time in which the level falls to 1/e."""


@dataclass(frozen=True)
class Rendered(_Checked):
    """Three channels that come ready drawn, such as MCubeS's polarisation images."""

    name: ClassVar[str] = "rendered"
    reading: ClassVar[Reading] = "rendered"

    note: str = ""
    """What the channels are, in words."""


Representation = Rgb | LogDepth | Hha | LidarRange | EventPolarity | EventTimeSurface | Rendered

VERSION = 1
"""Raised whenever the same parameters would draw different pixels."""

BY_NAME: dict[str, type] = {kind.name: kind for kind in get_args(Representation)}


def to_dict(representation: Representation) -> dict:
    """As plain values: ``name``, ``version`` and the parameters."""
    return {
        "name": representation.name,
        "version": VERSION,
        **dataclasses.asdict(representation),
    }


def from_dict(values: dict) -> Representation:
    """The inverse of :func:`to_dict`; absent parameters take their defaults.

    Raises ValueError for an unknown name, version, parameter or choice.
    """
    parameters = dict(values)
    name = parameters.pop("name", None)
    if name not in BY_NAME:
        raise ValueError(f"no representation {name!r}; known are {', '.join(sorted(BY_NAME))}")
    version = parameters.pop("version", VERSION)
    if version != VERSION:
        raise ValueError(
            f"representation {name!r} has version {version}; this release draws version {VERSION}: "
            "use the release that wrote the checkpoint, or train it anew"
        )
    kind = BY_NAME[name]
    known = {field.name: field for field in dataclasses.fields(kind)}
    unknown = sorted(set(parameters) - set(known))
    if unknown:
        raise ValueError(
            f"representation {name!r} has no parameter {', '.join(unknown)}; "
            f"known are {', '.join(known) or 'none'}"
        )
    return kind(**parameters)


_CHOICES = {
    ("lidar_range", "distance"): ("euclidean", "z"),
    ("event_polarity", "positive"): ("red", "blue"),
}
_RANGES: dict[str, tuple[float, float, str]] = {
    "invalid_level": (0, 255, "a level from 0 to 255"),
    "densify_px": (0, 1000, "a number from 0"),
    "floor": (0, 1, "a fraction from 0 to 1"),
    "angle_offset": (-255, 255, "a level from -255 to 255"),
}
"""Least and greatest value of parameters; all others must be above 0."""
_LEAST = 1e-9


def _check(representation: Any) -> None:
    for field in dataclasses.fields(representation):
        value, default = getattr(representation, field.name), field.default
        wanted = _wanted(representation.name, field.name, value, default)
        if wanted is not None:
            raise ValueError(
                f"parameter {field.name} of representation {representation.name!r} is {value!r}; "
                + wanted
            )


def _wanted(name: str, parameter: str, value: Any, default: Any) -> str | None:
    """What should have been given instead of a value, None if it is fine."""
    kinds = (int, float) if isinstance(default, float) else (type(default),)
    if not isinstance(value, kinds) or isinstance(value, bool) is not isinstance(default, bool):
        whole = isinstance(default, int) and not isinstance(default, bool)
        kind = "whole number" if whole else type(default).__name__
        return f"give a {kind} such as {default!r}"
    choices = _CHOICES.get((name, parameter))
    if choices is not None and value not in choices:
        return f"accepted are {', '.join(choices)}"
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        least, greatest, words = _RANGES.get(parameter, (_LEAST, math.inf, "a number above 0"))
        if not least <= value <= greatest:
            return f"give {words}"
    return None
