"""Messages in, labels out: what the live node and the replay of a bag have in common.

Messages are matched in time (:meth:`Pipeline.add`), the readings of a set are drawn as the model's
frames, and the model labels them (:meth:`Pipeline.process`). Knows message fields only through
:mod:`memorysam_ros.conversions`, and no rclpy.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from memorysam_core.contract import InputContract
from memorysam_core.segmenter import Segmentation
from memorysam_ros import conversions
from memorysam_ros.calibration import Calibration, Transforms
from memorysam_ros.cameras import Cameras
from memorysam_ros.feeds import SENSORS, calibration_of, fed_by, listened_to, matching_rules
from memorysam_ros.matching import MatchedSet, Matcher
from memorysam_ros.parameters import Parameters
from memorysam_ros.readings import Readings
from memorysam_ros.result import Result
from memorysam_ros.set_frames import SetFrames
from memorysam_ros.shedding import Shedding


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


_DO_WITH_LESS = (
    "choose a smaller network_height and network_width, precision bf16 or fp16, or a smaller model"
)


class UnusableSet(Exception):
    """A set of which nothing, or not what is required, can be shown to the model."""

    def __init__(
        self, why: str, troubles: Mapping[str, str], worked: frozenset[str] = frozenset()
    ) -> None:
        """``troubles``: sensors whose message could not be used, and why; ``worked``: those of
        which a frame was drawn.
        """
        super().__init__(why)
        self.troubles = troubles
        self.worked = worked


class Pipeline:
    """One model and the sensors that feed it.

    ``add``, ``expects`` and ``tick`` are for one thread, ``prepare`` and ``process`` for one other.
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
        self.listened = listened_to(segmenter.contract, parameters)
        """The sensors that feed the model, and those that only outputs are made of."""
        self.matcher = Matcher(matching_rules(segmenter.contract, parameters))
        calibration = calibration or calibration_of(parameters)
        self.cameras = Cameras(calibration.intrinsics, parameters.image.rectified)
        self.readings = Readings(self.cameras, calibration, transforms)
        self._events = conversions.EventStream()
        self._frames = SetFrames(
            segmenter.contract,
            segmenter.size,
            segmenter.device,
            self.modalities,
            parameters,
            self.cameras,
            self.readings,
        )
        self._shedding = Shedding([n for n, s in self.modalities.items() if self._required(s)])

    @property
    def sensors(self) -> tuple[str, ...]:
        """The sensors that feed the model."""
        return tuple(name for name in SENSORS if name in self.modalities.values())

    @property
    def extras(self) -> tuple[str, ...]:
        """The sensors that only outputs are made of."""
        return tuple(rule.name for rule in self.matcher.rules.followers if rule.extra)

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
        self.cameras.add_info(sensor, message)

    def resume(self) -> None:
        """Messages have been left out on purpose; those from now on follow each other."""
        self._events.restart()

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
        # The matcher adds the offset to a reading's stamps; events have their own.
        offset_ns = round(self.parameters.event.offset * 1e9)
        events = self._events.decode(message, stamp_ns + offset_ns)
        if self._events.lost_packets:
            self.matcher.counts["event: packets lost"] = self._events.lost_packets
        last_ns = int(np.max(events.t_ns)) - offset_ns if len(events.t_ns) else stamp_ns
        return self.matcher.add(sensor, stamp_ns, events, now_ns, end_ns=max(stamp_ns, last_ns))

    def expects(self, sensor: str, message: Any) -> bool:
        """Whether a message that was added will probably be in a set that is yet to close, and
        hence is worth to be prepared. Not so for event packets, of which many make one frame.
        """
        if sensor == "event" and self.parameters.event.source == "packets":
            return False
        return self.matcher.expects(sensor, conversions.stamp_ns(message))

    def prepare(self, sensor: str, message: Any) -> None:
        """Converts and draws a message before its set is complete; never raises."""
        self._frames.prepare(sensor, message)

    def close(self) -> None:
        """Ends what the model does in the background."""
        self.segmenter.close()

    def tick(self, now_ns: int) -> list[MatchedSet]:
        """Time passed; the sets whose deadline this ends."""
        return self.matcher.tick(now_ns)

    def process(self, matched: MatchedSet) -> Result:
        """Labels of a set.

        A sensor whose message cannot be used is left out and its trouble told in the result.
        Raises UnusableSet where nothing is left or a required sensor is among them, or where it is
        not known what the camera would see, and whatever the model raises.
        """
        begin_ns = time.perf_counter_ns()
        troubles: dict[str, str] = {}
        readings = self._frames.readings(matched, troubles, self.matcher.allow_lead)
        converted_ns = time.perf_counter_ns()
        size = self._frames.view_size(readings, troubles)
        if matched.leader != "image" and size is None:
            raise UnusableSet(
                f"image is silent, and {matched.leader} cannot stand in for it: "
                + troubles.get("image", "nothing arrived on ~/input/camera_info"),
                troubles,
            )
        drawn = self._frames.frames(matched, readings, size, troubles)
        pixels = {name: one.frame.pixels for name, one in drawn.items()}
        self._refuse_unusable(pixels, troubles)
        drawn_ns = time.perf_counter_ns()
        segmentation = self._segment(pixels, size, troubles)
        done_ns = time.perf_counter_ns()
        return Result(
            matched=matched,
            segmentation=segmentation,
            label_space=self.segmenter.contract.label_space,
            readings=readings,
            frames={self.modalities[name]: frame for name, frame in pixels.items()},
            camera=self._frames.camera(size),
            camera_frame=self.readings.camera_frame,
            troubles=troubles,
            doubts={self.modalities[name]: one.doubt for name, one in drawn.items() if one.doubt},
            times_ns={
                "convert": converted_ns - begin_ns,
                "draw": drawn_ns - converted_ns,
                "model": done_ns - drawn_ns,
            },
        )

    def _segment(
        self, frames: dict[str, Tensor], size: tuple[int, int] | None, troubles: dict[str, str]
    ) -> Segmentation:
        as_camera = self.parameters.output_size == "camera" and size is not None
        pixels = self._shedding.keep(frames)
        names = [name for name in self.segmenter.contract.names if name in pixels]
        try:
            segmentation = self.segmenter.segment(
                pixels, size if as_camera else self.segmenter.size
            )
        except torch.OutOfMemoryError as error:
            if self._shedding.failed(names):
                raise
            raise UnusableSet(
                f"the device runs out of memory with {', '.join(names)} alone; {_DO_WITH_LESS}",
                troubles,
            ) from error
        self._shedding.worked()
        for name in self._shedding.given_up:
            troubles[self.modalities[name]] = (
                f"left out, since the device ran out of memory with it; {_DO_WITH_LESS}"
            )
        return segmentation

    def _refuse_unusable(self, frames: dict[str, Tensor], troubles: dict[str, str]) -> None:
        worked = frozenset(self.modalities[name] for name in frames)
        for sensor, trouble in troubles.items():
            if self._required(sensor):
                raise UnusableSet(f"{sensor}: {trouble}", troubles, worked)
        if not frames:
            told = "; ".join(f"{sensor}: {trouble}" for sensor, trouble in troubles.items())
            raise UnusableSet(told or "no frame could be drawn", troubles)

    def _required(self, sensor: str) -> bool:
        return getattr(self.parameters, sensor).policy == "required"
