"""Every parameter of the node, once: name, type, default, unit, meaning and limits.

The fields below are the declaration. The node declares its ROS parameters from them, replay takes
its options from them, and ``config/segment.yaml`` and the table in ``docs/parameters.md`` are
printed from them by :mod:`memorysam_ros.parameter_tables`. Knows nothing of ROS.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

Value = bool | int | float | str | tuple[float, ...]
FROM_TF = (0.0,) * 7
"""A pose that is not given: its quaternion is no rotation."""


@dataclass(frozen=True)
class Limits:
    """What a value must keep to, and what it means."""

    description: str
    unit: str = ""
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    read_only: bool = False
    """Only looked at when the node starts."""


@dataclass(frozen=True)
class Parameter:
    """One row of the table."""

    name: str
    default: Value
    limits: Limits

    @property
    def type_name(self) -> str:
        """As ROS calls it."""
        names = {bool: "bool", int: "integer", float: "double", str: "string"}
        return names.get(type(self.default), "double array")


T = TypeVar("T")


def _parameter(default: T, description: str, **limits: Any) -> T:
    metadata = {"limits": Limits(description, **limits)}
    return field(default=default, metadata=metadata)  # type: ignore[return-value]


_POLICIES = ("optional", "required", "hold", "unused")
_POLICY = (
    "optional: sets go out without it. required: no set without it. hold: its last reading serves "
    "again until max_age. unused: not subscribed"
)
_OFFSET = "added to its stamps before matching, for a constant difference of clocks"
_TOLERANCE = "largest distance in time from the camera's stamp"
_MAX_AGE = "with policy hold, the oldest reading that is used"


@dataclass(frozen=True)
class ImageParameters:
    """The camera, which leads."""

    policy: str = _parameter(
        "optional",
        "optional: while it is silent, depth or LiDAR lead, if calibrated. "
        "required: without it there are no labels",
        choices=("optional", "required"),
    )
    transport: str = _parameter(
        "raw",
        "raw: sensor_msgs/Image on ~/input/image. compressed: CompressedImage on "
        "~/input/image/compressed",
        choices=("raw", "compressed"),
    )
    rectified: bool = _parameter(
        False, "whether the images are rectified: then camera_info's P holds, and no distortion"
    )


@dataclass(frozen=True)
class DepthParameters:
    """The depth camera."""

    policy: str = _parameter("optional", _POLICY, choices=_POLICIES)
    offset: float = _parameter(0.0, _OFFSET, unit="s", minimum=-10.0, maximum=10.0)
    tolerance: float = _parameter(0.05, _TOLERANCE, unit="s", minimum=0.0, maximum=10.0)
    max_age: float = _parameter(0.5, _MAX_AGE, unit="s", minimum=0.0, maximum=60.0)
    transport: str = _parameter(
        "raw",
        "raw: sensor_msgs/Image on ~/input/depth. compressedDepth: CompressedImage on "
        "~/input/depth/compressedDepth",
        choices=("raw", "compressedDepth"),
    )
    camera_from_depth: tuple[float, ...] = _parameter(
        FROM_TF,
        "pose of the depth camera in the colour camera's optical frame: x y z, qx qy qz qw. "
        "All zero: from TF. Not needed where both have one frame_id",
        unit="m",
    )


@dataclass(frozen=True)
class EventParameters:
    """The event camera."""

    policy: str = _parameter("optional", _POLICY, choices=_POLICIES)
    offset: float = _parameter(0.0, _OFFSET, unit="s", minimum=-10.0, maximum=10.0)
    tolerance: float = _parameter(
        0.03,
        "images: largest distance in time from the camera's stamp. packets: how much of the end "
        "of the window may be missing when the deadline passes",
        unit="s",
        minimum=0.0,
        maximum=10.0,
    )
    max_age: float = _parameter(
        0.5, _MAX_AGE + " (images only)", unit="s", minimum=0.0, maximum=60.0
    )
    source: str = _parameter(
        "packets",
        "packets: event_camera_msgs/EventPacket on ~/input/events. image: rendered events, "
        "sensor_msgs/Image on the same topic",
        choices=("packets", "image"),
    )


@dataclass(frozen=True)
class LidarParameters:
    """The LiDAR."""

    policy: str = _parameter("optional", _POLICY, choices=_POLICIES)
    offset: float = _parameter(0.0, _OFFSET, unit="s", minimum=-10.0, maximum=10.0)
    tolerance: float = _parameter(0.06, _TOLERANCE, unit="s", minimum=0.0, maximum=10.0)
    max_age: float = _parameter(0.5, _MAX_AGE, unit="s", minimum=0.0, maximum=60.0)
    camera_from_lidar: tuple[float, ...] = _parameter(
        FROM_TF,
        "pose of the LiDAR in the colour camera's optical frame: x y z, qx qy qz qw. "
        "All zero: from TF",
        unit="m",
    )


@dataclass(frozen=True)
class MatchingParameters:
    """How readings become sets."""

    deadline: float = _parameter(
        0.1,
        "from the arrival of the camera's image to the latest closing of its set; must cover the "
        "latency of the slowest sensor that shall be in it",
        unit="s",
        minimum=0.0,
        maximum=10.0,
    )
    silent_after: float = _parameter(
        1.0,
        "a sensor without news for this long is not waited for",
        unit="s",
        minimum=0.05,
        maximum=60.0,
    )
    jump: float = _parameter(
        0.5,
        "stamps or a clock that step back by more start anew (bag loop, simulation reset)",
        unit="s",
        minimum=0.01,
        maximum=60.0,
    )
    queue_depth: int = _parameter(
        16,
        "readings kept of each sensor while they wait for their set, images included; a long "
        "deadline takes more",
        minimum=1,
        maximum=1000,
    )


@dataclass(frozen=True)
class Parameters:
    """All parameters. Values take effect at the next ``configure``."""

    checkpoint: str = _parameter("", "the model: a .safetensors file, or an exported engine")
    device: str = _parameter("auto", "where the model runs: auto, cpu, cuda or cuda:N")
    precision: str = _parameter(
        "auto", "arithmetic of the model", choices=("auto", "fp32", "bf16", "fp16")
    )
    engine: str = _parameter(
        "auto",
        "eager: as it is (auto is that too). compiled: torch.compile, slow to start. An exported "
        "file is its own engine",
        choices=("auto", "eager", "compiled"),
    )
    prepare: str = _parameter(
        "most",
        "for which numbers of sensors fast code is made at start: most: all sensors, and all but "
        "one. all: any. The others run eagerly until they are made in the background",
        choices=("most", "all"),
    )
    network_height: int = _parameter(
        0,
        "rows that the model sees, a multiple of 32; 0: as trained",
        unit="px",
        minimum=0,
        maximum=8192,
    )
    network_width: int = _parameter(
        0,
        "columns that the model sees, a multiple of 32; 0: as trained",
        unit="px",
        minimum=0,
        maximum=8192,
    )
    autostart: bool = _parameter(
        False, "configure and activate at start, without a lifecycle manager", read_only=True
    )
    output_size: str = _parameter(
        "camera",
        "size of all outputs: the camera's (nearest neighbour), or the network's, with a "
        "~/output/camera_info to match",
        choices=("camera", "network"),
    )
    overlay_opacity: float = _parameter(
        0.5, "share of the label colour in ~/output/overlay", minimum=0.0, maximum=1.0
    )
    calibration_file: str = _parameter(
        "", "a file with intrinsics and extrinsics, for what is neither on a topic nor in TF"
    )
    tf_timeout: float = _parameter(
        0.05, "longest wait for a transform that moves", unit="s", minimum=0.0, maximum=5.0
    )
    diagnostics_period: float = _parameter(
        1.0, "time between two messages on /diagnostics", unit="s", minimum=0.1, maximum=60.0
    )
    image: ImageParameters = ImageParameters()
    depth: DepthParameters = DepthParameters()
    event: EventParameters = EventParameters()
    lidar: LidarParameters = LidarParameters()
    matching: MatchingParameters = MatchingParameters()

    def __post_init__(self) -> None:
        for row in table():
            _check(row, _value_of(self, row.name))
        if bool(self.network_height) != bool(self.network_width):
            raise ValueError(
                f"network_height is {self.network_height} and network_width {self.network_width}; "
                "give both, in multiples of 32, or leave both 0"
            )
        if self.network_height % 32 or self.network_width % 32:
            raise ValueError(
                f"network_height {self.network_height} and network_width {self.network_width} "
                "must be multiples of 32"
            )
        if self.event.policy == "hold" and self.event.source == "packets":
            raise ValueError(
                "event.policy is hold, but event.source is packets, whose window ends at the "
                "camera's stamp: set event.policy to optional or required"
            )

    @property
    def network_size(self) -> tuple[int, int] | None:
        """Height and width, or None for the checkpoint's own."""
        return (self.network_height, self.network_width) if self.network_height else None


def table() -> tuple[Parameter, ...]:
    """All parameters by their dotted names, in order."""
    return _TABLE


def from_values(values: Mapping[str, Any]) -> Parameters:
    """Parameters with the given ones (dotted names) changed from their defaults.

    Whole numbers are accepted for doubles. Raises ValueError, in one line, for an unknown name, a
    wrong type, a value out of range or not among the choices, or a contradiction.
    """
    unknown = unknown_names(values)
    if unknown:
        raise ValueError(explain_unknown(unknown[0]))
    groups: dict[str, dict[str, Any]] = {"": {}}
    for row in table():
        if row.name in values:
            group, _, name = row.name.rpartition(".")
            groups.setdefault(group, {})[name] = _coerced(row, values[row.name])
    top = groups.pop("")
    for group, fields in groups.items():
        top[group] = dataclasses.replace(getattr(Parameters, group), **fields)
    return Parameters(**top)


def check(name: str, value: Any) -> None:
    """Raises ValueError, in one line, where a parameter does not accept a value by itself."""
    for row in table():
        if row.name == name:
            _check(row, _coerced(row, value))


def unknown_names(values: Mapping[str, Any]) -> list[str]:
    """The names among ``values`` that are no parameter."""
    known = {row.name for row in table()}
    return [name for name in values if name not in known]


def explain_unknown(name: str) -> str:
    """One line that names the nearest known parameters, and all of them."""
    known = [row.name for row in table()]
    near = difflib.get_close_matches(name, known, n=1)
    guess = f"did you mean {near[0]}? " if near else ""
    return f"there is no parameter {name!r}; {guess}Known are {', '.join(known)}"


def _rows(kind: type, prefix: str = "") -> Iterator[Parameter]:
    for entry in dataclasses.fields(kind):
        if dataclasses.is_dataclass(entry.default):
            yield from _rows(type(entry.default), f"{prefix}{entry.name}.")
        else:
            yield Parameter(prefix + entry.name, entry.default, entry.metadata["limits"])


def _value_of(parameters: Any, name: str) -> Any:
    for part in name.split("."):
        parameters = getattr(parameters, part)
    return parameters


def _coerced(row: Parameter, value: Any) -> Any:
    if isinstance(row.default, tuple) and not isinstance(value, str):
        return tuple(float(v) for v in value)
    if isinstance(row.default, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value


def _check(row: Parameter, value: Any) -> None:
    limits = row.limits
    if type(value) is not type(row.default):
        raise ValueError(
            f"parameter {row.name} is {value!r}; give a {row.type_name} such as {row.default!r}"
        )
    if limits.choices and value not in limits.choices:
        raise ValueError(
            f"parameter {row.name} is {value!r}; accepted are {', '.join(limits.choices)}"
        )
    if isinstance(value, tuple):
        if len(value) != len(row.default):  # type: ignore[arg-type]
            raise ValueError(
                f"parameter {row.name} has {len(value)} numbers; give 7: x y z qx qy qz qw"
            )
    elif isinstance(value, (int, float)):
        low = float("-inf") if limits.minimum is None else limits.minimum
        high = float("inf") if limits.maximum is None else limits.maximum
        if not low <= value <= high:
            unit = f" {limits.unit}" if limits.unit else ""
            raise ValueError(
                f"parameter {row.name} is {value}{unit}; accepted are {low:g} to {high:g}{unit}"
            )


_TABLE = tuple(_rows(Parameters))
