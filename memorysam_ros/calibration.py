"""Where the sensors stand (extrinsics) and what the cameras see (intrinsics).

Extrinsics come from the user (parameters or a file) where given, else from TF: a live tf2 buffer,
or the static transforms of a bag. Matrices are ``target_from_source``, float64 ``(4, 4)``, metres;
frames are optical ones (REP-103, REP-105).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from memorysam_core.frames.camera import Camera
from memorysam_ros.conversions.errors import ConversionError
from memorysam_ros.conversions.headers import SECOND_NS
from memorysam_ros.conversions.transforms import (
    StampedTransform,
    matrix_from_quaternion,
    stamped_transform,
)

SENSORS = ("depth", "event", "lidar")
"""The sensors that may stand elsewhere than the camera."""
CAMERAS = ("image", "depth", "event")
"""The sensors that are cameras."""


class CalibrationError(ValueError):
    """A camera or a transform that is not known; says which are, and what to do."""


class Transforms(Protocol):
    """Whatever knows how frames stand to each other."""

    def lookup(self, target: str, source: str, stamp_ns: int) -> np.ndarray:
        """``target_from_source`` at a time. Raises CalibrationError where it is not known."""
        ...


@dataclass(frozen=True)
class Calibration:
    """What the user gives; it has precedence over what the robot publishes."""

    intrinsics: Mapping[str, Camera] = field(default_factory=dict)
    """Cameras by sensor name, for images as they are published."""
    extrinsics: Mapping[str, np.ndarray] = field(default_factory=dict)
    """``camera_from_sensor`` by sensor name."""

    def __post_init__(self) -> None:
        _refuse_unknown(self.intrinsics, CAMERAS, "intrinsics")
        _refuse_unknown(self.extrinsics, SENSORS, "extrinsics")

    @classmethod
    def from_file(cls, path: str | Path) -> Calibration:
        """Reads a YAML file with ``intrinsics`` and ``extrinsics``, either of them optional.

        An intrinsic is what ROS's camera_calibration writes (``image_width``, ``camera_matrix``
        ...); an extrinsic is ``camera_from_sensor`` as :func:`parse_transform` takes it.
        Raises CalibrationError, naming the file and the key.
        """
        import yaml

        try:
            values = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
            if not isinstance(values, dict):
                raise CalibrationError("holds no mapping; give intrinsics and extrinsics")
            _refuse_unknown(values, ("intrinsics", "extrinsics"), "calibration")
            given = {key: values.get(key) or {} for key in ("intrinsics", "extrinsics")}
            for key, sensors in given.items():
                if not isinstance(sensors, dict):
                    raise CalibrationError(f"{key} is {sensors!r}; give them by sensor")
            return cls(
                {name: _camera_from_yaml(v) for name, v in given["intrinsics"].items()},
                {name: parse_transform(v) for name, v in given["extrinsics"].items()},
            )
        except (OSError, yaml.YAMLError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise CalibrationError(f"calibration file {path}: {error}") from error


class Extrinsics:
    """Finds ``camera_from_sensor``: as given by the user, else from TF."""

    def __init__(self, given: Mapping[str, np.ndarray], transforms: Transforms | None) -> None:
        self._given = given
        self._transforms = transforms

    def camera_from(
        self, sensor: str, camera_frame: str, sensor_frame: str, stamp_ns: int
    ) -> np.ndarray:
        """Where ``sensor`` stood, float64 ``(4, 4)``. Raises CalibrationError if unknown."""
        if sensor in self._given:
            return self._given[sensor]
        if self._transforms is None:
            raise CalibrationError(
                f"no extrinsics of the {sensor} (frame {sensor_frame!r}) to the camera (frame "
                f"{camera_frame!r}): none are given and there is no TF; give camera_from_{sensor} "
                "as x y z qx qy qz qw, or install tf2_ros and publish the transform"
            )
        return self._transforms.lookup(camera_frame, sensor_frame, stamp_ns)


class StaticTransforms:
    """The tree of frames of ``/tf_static`` messages, without tf2."""

    def __init__(self, edges: Iterable[StampedTransform] = ()) -> None:
        self._parents: dict[str, StampedTransform] = {}
        self._found: dict[tuple[str, str], np.ndarray] = {}
        self.add(edges)

    def add(self, edges: Iterable[StampedTransform]) -> None:
        """Adds edges; a later one replaces an earlier one of the same child, as in tf2."""
        for edge in edges:
            self._parents[edge.child] = edge
        self._found.clear()

    @property
    def frames(self) -> tuple[str, ...]:
        """Names of all known frames, sorted."""
        return tuple(sorted({*self._parents, *(e.parent for e in self._parents.values())}))

    def lookup(self, target: str, source: str, stamp_ns: int = 0) -> np.ndarray:
        """``target_from_source``; static, so at any time. Raises CalibrationError."""
        if (target, source) not in self._found:
            self._found[target, source] = self._compose(target, source)
        return self._found[target, source]

    def _compose(self, target: str, source: str) -> np.ndarray:
        unknown = [repr(name) for name in (target, source) if name not in self.frames]
        if unknown and target != source:
            raise CalibrationError(
                f"no transform from frame {source!r} to {target!r}: {' and '.join(unknown)} "
                f"{'is' if len(unknown) == 1 else 'are'} not in tf_static, which knows "
                f"{', '.join(self.frames) or 'no frame'}; correct the frame_id, record the missing "
                "transform, or give the extrinsics in a file"
            )
        above_target, above_source = self._ancestors(target), self._ancestors(source)
        common = next((name for name in above_source if name in above_target), None)
        if common is None:
            raise CalibrationError(
                f"no transform from frame {source!r} to {target!r}: {source!r} hangs below "
                f"{list(above_source)[-1]!r} and {target!r} below {list(above_target)[-1]!r}, "
                "which nothing connects; record the missing transform, or give the extrinsics in a "
                "file"
            )
        return inverse(above_target[common]) @ above_source[common]

    def _ancestors(self, frame: str) -> dict[str, np.ndarray]:
        """``ancestor_from_frame`` of the frame itself and of all frames above it, going up."""
        found = {frame: np.eye(4)}
        while (edge := self._parents.get(frame)) is not None and edge.parent not in found:
            found[edge.parent] = edge.parent_from_child @ found[frame]
            frame = edge.parent
        return found


class TfTransforms:
    """A live tf2 buffer. Call :meth:`lookup` outside the executor's thread, which fills it.

    Nothing is kept here: tf2 keeps static transforms itself, and replaces those told anew.
    """

    def __init__(self, buffer: Any, timeout_s: float = 0.05) -> None:
        from rclpy.duration import Duration
        from rclpy.time import Time

        self._buffer = buffer
        self._wait = Duration(nanoseconds=round(timeout_s * SECOND_NS))
        self._at_once = Duration()
        self._timeout_s = timeout_s
        self._time = Time
        self._unknown: set[tuple[str, str]] = set()
        self._stuck_at: dict[tuple[str, str], int] = {}

    def lookup(self, target: str, source: str, stamp_ns: int) -> np.ndarray:
        """``target_from_source`` at a time, waiting no longer than the timeout.

        A transform that does not change is asked for at no particular time, so that it can neither
        be too old nor in the future. What has been waited for in vain is not waited for again
        before something new is known of it. Raises CalibrationError naming frames and times.
        """
        latest = self._latest(target, source)
        if latest.stamp_ns == 0:  # tf2 gives no stamp to a chain of static transforms
            return latest.parent_from_child
        stuck = self._stuck_at.pop((target, source), None) == latest.stamp_ns
        wait = self._at_once if stuck else self._wait
        try:
            stamp = self._time(nanoseconds=stamp_ns)
            found = self._buffer.lookup_transform(target, source, stamp, wait)
        except Exception as error:  # tf2's exceptions share no base class of their own
            self._stuck_at[target, source] = latest.stamp_ns
            apart_s = (stamp_ns - latest.stamp_ns) / SECOND_NS
            raise CalibrationError(
                f"no transform from frame {source!r} to {target!r} at {stamp_ns / SECOND_NS:.3f} "
                f"s: the latest is {abs(apart_s):.3f} s {'older' if apart_s > 0 else 'newer'} "
                f"({error}); check that both clocks are the same, or raise the TF timeout "
                f"({self._timeout_s:g} s)"
            ) from error
        return stamped_transform(found).parent_from_child

    def clear(self) -> None:
        """Time starts anew: forgets how frames moved, which tf2 would take for news of old."""
        self._buffer.clear()
        self._stuck_at.clear()

    def _latest(self, target: str, source: str) -> StampedTransform:
        wait = self._at_once if (target, source) in self._unknown else self._wait
        try:
            found = self._buffer.lookup_transform(target, source, self._time(), wait)
        except Exception as error:
            self._unknown.add((target, source))
            known = ", ".join(sorted(self._known_frames())) or "no frame"
            raise CalibrationError(
                f"no transform from frame {source!r} to {target!r} ({error}); TF knows {known}: "
                "correct the frame_id, publish the transform, or give the extrinsics as a parameter"
            ) from error
        self._unknown.discard((target, source))
        return stamped_transform(found)

    def _known_frames(self) -> list[str]:
        import yaml

        frames = yaml.safe_load(self._buffer.all_frames_as_yaml())
        if not isinstance(frames, dict):  # "[]" while there are none
            return []
        return list({*frames, *(str(f.get("parent")) for f in frames.values())})


def parse_transform(values: Sequence[float] | str) -> np.ndarray:
    """Seven numbers ``x y z qx qy qz qw``, or the 16 of a 4 x 4 matrix, row by row (nested or not).

    Text may separate them by blanks or commas. Raises CalibrationError unless it is a rigid
    transform: a rotation whose rows are of length 1 (within 1e-3) and that mirrors nothing.
    """
    try:
        raw = values.replace(",", " ").split() if isinstance(values, str) else values
        numbers = np.array(raw, np.float64).reshape(-1)
    except (ValueError, TypeError):
        numbers = np.empty(0)
    if numbers.size == 7:
        try:
            return matrix_from_quaternion(tuple(numbers[:3]), tuple(numbers[3:]))
        except ConversionError as error:
            raise CalibrationError(str(error)) from None
    if numbers.size != 16:
        raise CalibrationError(
            f"transform {values!r} is neither 7 numbers (x y z qx qy qz qw, metres) nor the 16 of "
            "a 4 x 4 matrix, row by row"
        )
    matrix = numbers.reshape(4, 4)
    rotation = matrix[:3, :3]
    rigid = np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-3) and np.linalg.det(rotation) > 0
    if not rigid or not np.allclose(matrix[3], [0, 0, 0, 1]) or not np.isfinite(matrix).all():
        raise CalibrationError(
            f"matrix {matrix.tolist()} is no rigid transform; its upper left 3 x 3 must be a "
            "rotation and its last row 0 0 0 1 (give it row by row)"
        )
    return matrix


def inverse(transform: np.ndarray) -> np.ndarray:
    """``source_from_target`` of a rigid ``target_from_source``, ``(4, 4)``."""
    result = np.eye(4)
    result[:3, :3] = transform[:3, :3].T
    result[:3, 3] = -transform[:3, :3].T @ transform[:3, 3]
    return result


_YAML_KEYS = (
    "image_width",
    "image_height",
    "camera_name",
    "camera_matrix",
    "distortion_model",
    "distortion_coefficients",
    "rectification_matrix",
    "projection_matrix",
)


def _camera_from_yaml(values: Any) -> Camera:
    """A camera as camera_calibration writes it, for images without rectification."""
    if not isinstance(values, dict) or not {"image_width", "image_height", "camera_matrix"} <= {
        *values
    }:
        raise CalibrationError(
            "an intrinsic needs image_width, image_height and camera_matrix, as ROS's "
            f"camera_calibration writes them, got {values!r}"
        )
    _refuse_unknown(values, _YAML_KEYS, "intrinsic")

    def numbers(key: str) -> list[float]:
        given = values.get(key, [])
        return list(given["data"] if isinstance(given, Mapping) else given)

    return Camera.from_info(
        k=numbers("camera_matrix"),
        d=numbers("distortion_coefficients"),
        p=numbers("projection_matrix"),
        distortion_model=str(values.get("distortion_model", "plumb_bob")),
        width=int(values["image_width"]),
        height=int(values["image_height"]),
        rectified=False,
    )


def _refuse_unknown(values: Mapping[str, Any], known: Sequence[str], what: str) -> None:
    unknown = sorted(str(name) for name in values if name not in known)
    if unknown:
        raise CalibrationError(f"{what} has no {', '.join(unknown)}; known are {', '.join(known)}")
