"""The messages of a set as readings, and as the frames that the model sees.

Everything is made once of each message, in advance where a set is likely to come that needs it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import torch

from memorysam_core.contract import InputContract, Modality
from memorysam_core.engines.streams import for_sets
from memorysam_core.frames.camera import Camera
from memorysam_core.frames.draw import Frame, draw
from memorysam_core.frames.readings import PointsReading, Reading
from memorysam_ros.calibration import CalibrationError
from memorysam_ros.cameras import Cameras
from memorysam_ros.feeds import SENSORS
from memorysam_ros.matching import MatchedSet
from memorysam_ros.parameters import Parameters
from memorysam_ros.readings import Readings
from memorysam_ros.recent import Recent

FEW_POINTS = 0.005
"""Share of a scan, or of the pixels if those are fewer, below which its pose is doubted."""

Troubles = dict[str, str]
"""By sensor, why its message could not be used."""


@dataclasses.dataclass(frozen=True)
class Drawn:
    """A frame, and what seems wrong with the reading that it shows."""

    frame: Frame
    points: int = 0
    """Of the scan that it shows."""
    points_drawn: torch.Tensor | None = None
    """How many of them are, ``()`` on the host. Of a frame on a GPU, nothing waits for that number:
    it holds once a set with the frame is labelled.
    """

    @property
    def doubt(self) -> str:
        """What seems wrong with a scan that is used; empty if nothing does."""
        if self.points_drawn is None:
            return ""
        drawn, (height, width) = int(self.points_drawn), self.frame.pixels.shape[:2]
        if drawn >= FEW_POINTS * min(self.points, height * width):
            return ""
        return (
            f"only {drawn} of {self.points} points fall in the image; if it looks the same way as "
            "the camera, its extrinsics are wrong (docs/calibration.md)"
        )


class SetFrames:
    """Makes readings and frames, for one thread."""

    def __init__(
        self,
        contract: InputContract,
        size: tuple[int, int],
        device: Any,
        modalities: Mapping[str, str],
        parameters: Parameters,
        cameras: Cameras,
        readings: Readings,
    ) -> None:
        """``modalities``: for each modality that is fed, its sensor."""
        self._contract = contract
        self._size = size
        self._device = device
        self._modalities = modalities
        self._packets = parameters.event.source == "packets"
        self._cameras = cameras
        self._make: dict[str, Callable[[Any], Reading]] = {
            "image": readings.image,
            "depth": readings.depth,
            "event": readings.events if self._packets else readings.rendered,
            "lidar": readings.points,
        }
        self._camera_size: tuple[int, int] | None = None
        self._unusable: set[str] = set()
        self._read: dict[str, Recent[Reading]] = {name: Recent() for name in SENSORS}
        self._drawn: dict[str, Recent[Drawn]] = {name: Recent() for name in modalities}

    def prepare(self, sensor: str, message: Any) -> None:
        """Draws a message before its set is complete.

        Nothing is done before it is known what the camera sees, nor for a sensor whose last message
        could not be used. What goes wrong is told when the set is made, which tries again.
        """
        if sensor in self._unusable or (self._camera_size is None and sensor != "image"):
            return
        try:
            reading = self._reading(sensor, message)
            size = reading.pixels.shape[:2] if sensor == "image" else self._camera_size  # type: ignore[union-attr]
            for name, fed_by in self._modalities.items():
                if fed_by == sensor:
                    self._draw(self._contract.modality(name), sensor, reading, size, 0)
        except Exception:
            return

    def readings(
        self, matched: MatchedSet, troubles: Troubles, placed: Callable[[str, bool], None]
    ) -> dict[str, Reading]:
        """Readings by sensor; the image first, since it says where the camera is.

        ``placed`` is told of which sensors it is known where they are, and of which it is not.
        """
        readings: dict[str, Reading] = {}
        for sensor in SENSORS:
            pieces = matched.readings.get(sensor)
            if pieces is None:
                continue
            payloads: Any = [piece.payload for piece in pieces]
            try:
                stream = sensor == "event" and self._packets
                readings[sensor] = self._reading(sensor, payloads if stream else payloads[0])
                placed(sensor, True)
            except Exception as error:  # a broken message must cost no more than its sensor
                troubles[sensor] = told(error)
                if isinstance(error, CalibrationError):
                    placed(sensor, False)
        return readings

    def view_size(
        self, readings: Mapping[str, Reading], troubles: Troubles
    ) -> tuple[int, int] | None:
        """Height and width of the colour camera's images, by the best source there is."""
        image = readings.get("image")
        if image is not None:
            height, width = image.pixels.shape[:2]  # type: ignore[union-attr]
            self._camera_size = int(height), int(width)
        elif self._camera_size is None and self._cameras.known("image"):
            try:
                camera = self._cameras.camera("image")
                self._camera_size = camera.height, camera.width
            except ValueError as error:
                troubles.setdefault("image", told(error))
        return self._camera_size

    def camera(self, size: tuple[int, int] | None) -> Camera | None:
        """The colour camera for images of a size, or None where it is not known."""
        try:
            return self._cameras.camera("image", size)
        except ValueError:  # told by those who need it
            return None

    def frames(
        self,
        matched: MatchedSet,
        readings: Mapping[str, Reading],
        size: tuple[int, int] | None,
        troubles: Troubles,
    ) -> dict[str, Drawn]:
        """Frames by modality."""
        frames: dict[str, Drawn] = {}
        for name, sensor in self._modalities.items():
            if sensor not in readings:
                continue
            modality, reading = self._contract.modality(name), readings[sensor]
            try:
                frames[name] = self._draw(modality, sensor, reading, size, matched.stamp_ns)
            except Exception as error:  # as above
                troubles[sensor] = told(error)
        self._unusable = set(troubles)
        return frames

    def _reading(self, sensor: str, message: Any) -> Reading:
        if isinstance(message, list):
            return self._make[sensor](message)
        known = self._read[sensor].find(message)
        return known or self._read[sensor].keep(self._make[sensor](message), message)

    def _draw(
        self,
        modality: Modality,
        sensor: str,
        reading: Reading,
        size: tuple[int, int] | None,
        stamp_ns: int,
    ) -> Drawn:
        placed = sensor == "lidar" or getattr(reading, "camera", None) is not None
        # Without intrinsics, heights above the ground would silently be wrong.
        placed = placed or modality.representation.name == "hha"
        camera = self._cameras.camera("image", size) if placed else self.camera(size)
        # A reading that serves again, held or nearest twice, gives the very same frame.
        known = self._drawn[modality.name].find(reading, camera)
        if known is not None:
            return known
        with for_sets(self._device):
            frame = draw(modality, reading, camera, self._size, stamp_ns, self._device)
            drawn = _drawn(reading, frame)
        return self._drawn[modality.name].keep(drawn, reading, camera)


def told(error: Exception) -> str:
    """An error in one line; errors of programming with their kind."""
    text = " ".join(str(error).split())
    return text if isinstance(error, ValueError) and text else f"{type(error).__name__}: {text}"


def _drawn(reading: Reading, frame: Frame) -> Drawn:
    if not isinstance(reading, PointsReading) or frame.point_count is None:
        return Drawn(frame)
    return Drawn(frame, len(reading.xyz), frame.point_count.to("cpu", non_blocking=True))
