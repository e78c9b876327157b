"""Readings: what a sensor said, as plain arrays, before anything is drawn of it.

Nothing here knows ROS, files or the model. Arrays may be NumPy or torch, of any byte order and
layout. Transforms are 4 x 4 and read right to left: ``camera_from_lidar`` takes LiDAR points into
the optical frame of the colour camera. Metres; nanoseconds.
"""

from __future__ import annotations

from dataclasses import dataclass

from memorysam_core.frames.arrays import Array
from memorysam_core.frames.camera import Camera


@dataclass(frozen=True)
class ImageReading:
    """A colour image."""

    pixels: Array
    """uint8 ``(H, W, 3)``, R, G, B."""

    def __post_init__(self) -> None:
        _check_pixels(self.pixels, "an image reading")


@dataclass(frozen=True)
class DepthReading:
    """A depth image: distance along the optical axis of the camera that took it."""

    metres: Array
    """float ``(H, W)``; NaN, infinities, zero and negative values are no measurement."""
    camera: Camera | None = None
    """The camera that took it; None where it is already registered to the colour camera."""
    camera_from_depth: Array | None = None
    """Where that camera is, 4 x 4; None where it is the colour camera's own place."""

    def __post_init__(self) -> None:
        if getattr(self.metres, "ndim", 0) != 2:
            raise ValueError(
                f"a depth reading has the shape {_shape(self.metres)}; give (height, width)"
            )
        if self.camera is not None:
            height, width = self.metres.shape
            if (self.camera.height, self.camera.width) != (height, width):
                raise ValueError(
                    f"a depth reading of {height} x {width} pixels (height x width) comes with a "
                    f"camera of {self.camera.height} x {self.camera.width}; resize the camera"
                )
        if self.camera_from_depth is not None:
            if self.camera is None:
                raise ValueError("a depth reading has camera_from_depth but no camera; give both")
            _check_transform(self.camera_from_depth, "camera_from_depth")


@dataclass(frozen=True)
class PointsReading:
    """A LiDAR scan."""

    xyz: Array
    """``(N, 3)``, ``(H, W, 3)`` if organised, or a structured array with fields x, y and z;
    rows with NaN are no return. May be empty."""
    camera_from_lidar: Array
    """4 x 4, into the optical frame of the colour camera."""

    def __post_init__(self) -> None:
        names = getattr(getattr(self.xyz, "dtype", None), "names", None)
        if names is not None:
            if not {"x", "y", "z"} <= set(names):
                raise ValueError(
                    f"points have the fields {', '.join(names)}; x, y and z are needed"
                )
        elif getattr(self.xyz, "ndim", 0) < 2 or self.xyz.shape[-1] != 3:
            raise ValueError(f"points have the shape {_shape(self.xyz)}; give (N, 3) or (H, W, 3)")
        _check_transform(self.camera_from_lidar, "camera_from_lidar")


@dataclass(frozen=True)
class EventsReading:
    """Events of an event camera; in any order of time."""

    t_ns: Array
    """int64 ``(N,)``, on the clock of the camera's stamps."""
    x: Array
    """Column, ``(N,)``."""
    y: Array
    """Row, ``(N,)``."""
    p: Array
    """Polarity, ``(N,)``: above 0 is an increase of brightness."""
    width: int
    height: int
    camera: Camera | None = None
    """The event camera, where it does not look through the colour camera's lens."""
    camera_from_event: Array | None = None
    """4 x 4; only its rotation is used, which is exact for what is far away."""

    def __post_init__(self) -> None:
        lengths = {len(values) for values in (self.t_ns, self.x, self.y, self.p)}
        if len(lengths) != 1:
            raise ValueError(
                f"t_ns, x, y and p have the lengths {sorted(lengths)}; give one length"
            )
        if self.width <= 0 or self.height <= 0:
            raise ValueError(
                f"an event camera of {self.width} x {self.height}; give its resolution"
            )
        if self.camera_from_event is not None:
            _check_transform(self.camera_from_event, "camera_from_event")


@dataclass(frozen=True)
class RenderedReading:
    """A frame that comes ready drawn, in the representation the model was trained on."""

    pixels: Array
    """uint8 ``(H, W, 3)``."""

    def __post_init__(self) -> None:
        _check_pixels(self.pixels, "a rendered reading")


Reading = ImageReading | DepthReading | PointsReading | EventsReading | RenderedReading


def _shape(array: Array) -> tuple[int, ...]:
    return tuple(getattr(array, "shape", ()))


def _check_pixels(pixels: Array, what: str) -> None:
    shape, dtype = _shape(pixels), str(getattr(pixels, "dtype", type(pixels).__name__))
    if len(shape) != 3 or shape[2] != 3 or not dtype.endswith("uint8"):
        raise ValueError(f"{what} has the shape {shape} and type {dtype}; give uint8 (H, W, 3)")


def _check_transform(transform: Array, what: str) -> None:
    if _shape(transform) != (4, 4):
        raise ValueError(f"{what} has the shape {_shape(transform)}; give a 4 x 4 transform")
