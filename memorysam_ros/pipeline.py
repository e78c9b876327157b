"""Messages in, labels out: what the live node and the replay of a bag have in common.

Messages are matched in time (:meth:`Pipeline.add`), the readings of a set are drawn as the model's
frames, and the model labels them (:meth:`Pipeline.process`). Knows message fields only through
:mod:`memorysam_ros.conversions`, and no rclpy.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import torch

from memorysam_core.contract import InputContract, Modality
from memorysam_core.frames.camera import Camera
from memorysam_core.frames.draw import Frame, draw
from memorysam_core.frames.readings import PointsReading, Reading
from memorysam_core.segmenter import Segmentation
from memorysam_ros import conversions
from memorysam_ros.calibration import Calibration, CalibrationError, Transforms
from memorysam_ros.cameras import Cameras
from memorysam_ros.feeds import SENSORS, calibration_of, fed_by, matching_rules
from memorysam_ros.matching import MatchedSet, Matcher
from memorysam_ros.parameters import Parameters
from memorysam_ros.readings import Readings
from memorysam_ros.result import Result
from memorysam_ros.shedding import Shedding

FEW_POINTS = 0.005
"""Share of a scan, or of the pixels if those are fewer, below which its pose is doubted."""


class SegmenterLike(Protocol):
    """What is needed of :class:`memorysam_core.segmenter.Segmenter` and of exported engines."""

    contract: InputContract
    size: tuple[int, int]
    device: Any

    def segment(
        self, frames: Mapping[str, Any], size: tuple[int, int] | None = None
    ) -> Segmentation:
        """Labels of one set of frames, at ``size`` (height, width)."""
        ...

    def close(self) -> None:
        """Ends what it does in the background."""
        ...


class UnusableSet(Exception):
    """A set of which nothing, or not what is required, can be shown to the model."""


class Pipeline:
    """One model and the sensors that feed it.

    ``add`` and ``tick`` are for one thread, ``process`` for one other.
    """

    def __init__(
        self,
        segmenter: SegmenterLike,
        parameters: Parameters,
        transforms: Transforms | None = None,
        calibration: Calibration | None = None,
    ) -> None:
        """Raises CalibrationError for a calibration file or pose that cannot be used."""
        self.segmenter = segmenter
        self.parameters = parameters
        self.modalities = fed_by(segmenter.contract, parameters)
        """For each modality that is fed, its sensor."""
        self.matcher = Matcher(matching_rules(segmenter.contract, parameters))
        calibration = calibration or calibration_of(parameters)
        self.cameras = Cameras(calibration.intrinsics, parameters.image.rectified)
        self.readings = Readings(self.cameras, calibration, transforms)
        self._events = conversions.EventStream()
        self._shedding = Shedding()
        self._camera_size: tuple[int, int] | None = None
        self._read: dict[str, tuple[Any, Reading]] = {}
        self._drawn: dict[str, tuple[Any, Frame]] = {}
        if self.cameras.known("image"):
            self._allow_leading()

    @property
    def sensors(self) -> tuple[str, ...]:
        """The sensors that are listened to."""
        return tuple(name for name in SENSORS if name in self.modalities.values())

    @property
    def unfed(self) -> list[str]:
        """Modalities of the checkpoint that no sensor feeds."""
        return [n for n in self.segmenter.contract.names if n not in self.modalities]

    @property
    def lost_packets(self) -> int:
        """Event packets that were lost on the way, by their sequence numbers."""
        return self._events.lost_packets

    def add_camera_info(self, sensor: str, message: Any) -> None:
        """A CameraInfo of ``image`` or ``depth`` arrived."""
        first = not self.cameras.known(sensor)
        self.cameras.add_info(sensor, message)
        if first and sensor == "image":
            self._allow_leading()

    def add(self, sensor: str, message: Any, now_ns: int) -> list[MatchedSet]:
        """A sensor's message arrived; the sets that this closes.

        A stamp of zero is taken to be the time of arrival. Raises ConversionError for an event
        packet that cannot be decoded; all other messages are looked at when their set is.
        """
        stamp_ns = conversions.stamp_ns(message)
        if stamp_ns == 0:
            self.matcher.counts[f"{sensor}: zero stamp"] += 1
            stamp_ns = now_ns
        if sensor != "event" or self.parameters.event.source == "image":
            return self.matcher.add(sensor, stamp_ns, message, now_ns)
        events = self._events.decode(message)
        last_ns = int(np.max(events.t_ns)) if len(events.t_ns) else stamp_ns
        return self.matcher.add(sensor, stamp_ns, events, now_ns, end_ns=max(stamp_ns, last_ns))

    def close(self) -> None:
        """Ends what the model does in the background."""
        self.segmenter.close()

    def tick(self, now_ns: int) -> list[MatchedSet]:
        """Time passed; the sets whose deadline this ends."""
        return self.matcher.tick(now_ns)

    def process(self, matched: MatchedSet) -> Result:
        """Labels of a set.

        A sensor whose message cannot be used is left out and its trouble told in the result.
        Raises UnusableSet where nothing is left or a required sensor is among them, and whatever
        the model raises.
        """
        begin_ns = time.perf_counter_ns()
        troubles: dict[str, str] = {}
        readings = self._convert(matched, troubles)
        converted_ns = time.perf_counter_ns()
        size = self._view_size(readings, troubles)
        frames = self._draw(matched, readings, size, troubles)
        self._refuse_unusable(frames, troubles)
        drawn_ns = time.perf_counter_ns()
        segmentation = self._segment(frames, size, troubles)
        done_ns = time.perf_counter_ns()
        return Result(
            matched=matched,
            segmentation=segmentation,
            label_space=self.segmenter.contract.label_space,
            readings=readings,
            frames={self.modalities[name]: frame.pixels for name, frame in frames.items()},
            camera=self._camera(size),
            camera_frame=self.readings.camera_frame,
            troubles=troubles,
            doubts=self._doubts(readings, frames),
            times_ns={
                "convert": converted_ns - begin_ns,
                "draw": drawn_ns - converted_ns,
                "model": done_ns - drawn_ns,
            },
        )

    def _convert(self, matched: MatchedSet, troubles: dict[str, str]) -> dict[str, Reading]:
        """Readings by sensor; the image first, since it says where the camera is."""
        readings: dict[str, Reading] = {}
        for sensor in SENSORS:
            pieces = matched.readings.get(sensor)
            if pieces is None:
                continue
            payloads = [piece.payload for piece in pieces]
            try:
                readings[sensor] = self._reading(sensor, payloads)
            except Exception as error:  # a broken message must cost no more than its sensor
                troubles[sensor] = _told(error)
                if isinstance(error, CalibrationError):
                    self.matcher.allow_lead(sensor, False)
        return readings

    def _reading(self, sensor: str, payloads: list[Any]) -> Reading:
        if sensor == "event" and self.parameters.event.source == "packets":
            return self.readings.events(payloads)
        (message,) = payloads
        known = self._read.get(sensor)
        if known is not None and known[0] is message:
            return known[1]
        make: dict[str, Callable[[Any], Reading]] = {
            "image": self.readings.image,
            "depth": self.readings.depth,
            "event": self.readings.rendered,
            "lidar": self.readings.points,
        }
        reading = make[sensor](message)
        self._read[sensor] = message, reading
        return reading

    def _view_size(
        self, readings: dict[str, Reading], troubles: dict[str, str]
    ) -> tuple[int, int] | None:
        """Height and width of the colour camera's images, by the best source there is."""
        image = readings.get("image")
        if image is not None:
            height, width = image.pixels.shape[:2]  # type: ignore[union-attr]
            self._camera_size = int(height), int(width)
        elif self._camera_size is None and self.cameras.known("image"):
            try:
                camera = self.cameras.camera("image")
                self._camera_size = camera.height, camera.width
            except ValueError as error:
                troubles.setdefault("image", _told(error))
        return self._camera_size

    def _camera(self, size: tuple[int, int] | None) -> Camera | None:
        try:
            return self.cameras.camera("image", size)
        except ValueError:  # told by those who need it
            return None

    def _draw(
        self,
        matched: MatchedSet,
        readings: dict[str, Reading],
        size: tuple[int, int] | None,
        troubles: dict[str, str],
    ) -> dict[str, Frame]:
        frames: dict[str, Frame] = {}
        for name, sensor in self.modalities.items():
            if sensor not in readings:
                continue
            modality = self.segmenter.contract.modality(name)
            try:
                frames[name] = self._frame(
                    modality, sensor, readings[sensor], size, matched.stamp_ns
                )
            except Exception as error:  # as above
                troubles[sensor] = _told(error)
        return frames

    def _frame(
        self,
        modality: Modality,
        sensor: str,
        reading: Reading,
        size: tuple[int, int] | None,
        stamp_ns: int,
    ) -> Frame:
        placed = sensor == "lidar" or getattr(reading, "camera", None) is not None
        # Without intrinsics, heights above the ground would silently be wrong.
        placed = placed or modality.representation.name == "hha"
        camera = self.cameras.camera("image", size) if placed else self._camera(size)
        # A reading that serves again, held or nearest twice, gives the very same frame.
        key = (reading, camera)
        known = self._drawn.get(modality.name)
        if known is not None and known[0][0] is reading and known[0][1] == camera:
            return known[1]
        frame = draw(
            modality, reading, camera, self.segmenter.size, stamp_ns, self.segmenter.device
        )
        self._drawn[modality.name] = key, frame
        return frame

    def _doubts(self, readings: dict[str, Reading], frames: dict[str, Frame]) -> dict[str, str]:
        """Sensors whose reading is used, but looks as if something were wrong with it."""
        doubts = {}
        scan = readings.get("lidar")
        for name, frame in frames.items():
            if isinstance(scan, PointsReading) and frame.point_index is not None:
                drawn, pixels = int((frame.point_index >= 0).sum()), frame.point_index.numel()
                expected = min(len(scan.xyz), pixels)
                if drawn < FEW_POINTS * expected:
                    doubts[self.modalities[name]] = (
                        f"only {drawn} of {len(scan.xyz)} points fall in the image; if it looks "
                        "the same way as the camera, its extrinsics are wrong (docs/calibration.md)"
                    )
        return doubts

    def _segment(
        self, frames: dict[str, Frame], size: tuple[int, int] | None, troubles: dict[str, str]
    ) -> Segmentation:
        as_camera = self.parameters.output_size == "camera" and size is not None
        pixels = self._shedding.keep({name: frame.pixels for name, frame in frames.items()})
        names = [name for name in self.segmenter.contract.names if name in pixels]
        try:
            segmentation = self.segmenter.segment(
                pixels, size if as_camera else self.segmenter.size
            )
        except torch.OutOfMemoryError:
            self._shedding.failed(names)
            raise
        self._shedding.worked()
        for name in self._shedding.given_up:
            troubles[self.modalities[name]] = (
                "left out, since the device ran out of memory with it; choose a smaller "
                "network_height and network_width, precision bf16 or fp16, or a smaller model"
            )
        return segmentation

    def _refuse_unusable(self, frames: dict[str, Frame], troubles: dict[str, str]) -> None:
        for sensor, trouble in troubles.items():
            if getattr(self.parameters, sensor).policy == "required":
                raise UnusableSet(f"{sensor}: {trouble}")
        if not frames:
            told = "; ".join(f"{sensor}: {trouble}" for sensor, trouble in troubles.items())
            raise UnusableSet(told or "no frame could be drawn")

    def _allow_leading(self) -> None:
        for sensor in ("depth", "lidar"):
            self.matcher.allow_lead(sensor)


def _told(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, ValueError) and text else f"{type(error).__name__}: {text}"
