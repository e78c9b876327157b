"""A rosbag2 of a drive: all sensors at their own times, and the truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from memorysam_core.frames.draw import draw
from memorysam_core.frames.readings import EventsReading
from memorysam_core.representations import EventPolarity
from memorysam_ros.bags.types import typestore
from memorysam_ros.bags.writer import BagWriter
from memorysam_ros.conversions.outputs import Outputs, bag_messages
from memorysam_training.simulation.conditions import FAILURES, SENSORS, Fault, active
from memorysam_training.simulation.drive import STAMP_0_NS, Drive, stamp_ns
from memorysam_training.simulation.evt3 import encode
from memorysam_training.simulation.noise import stream
from memorysam_training.simulation.parallel import Progress, ordered
from memorysam_training.simulation.rig import Rig
from memorysam_training.simulation.sensors.lidar import Scan

BASE, LIDAR_FRAME = "base_link", "lidar"
OPTICAL = {
    "camera": "camera_optical_frame",
    "depth": "depth_optical_frame",
    "events": "event_camera_optical_frame",
}
_POINT = np.dtype(
    [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("intensity", "<f4"), ("time", "<f4"),
     ("ring", "<u2"), ("pad", "<u2")]
)  # fmt: skip
_FLOAT32, _UINT16 = 7, 4


@dataclass(frozen=True)
class Spec:
    """What determines a bag, but for its file format."""

    seed: int
    seconds: float
    conditions: tuple[str, ...]
    faults: tuple[Fault, ...]
    rig: Rig


@dataclass(frozen=True)
class Measurement:
    """One sensor's measurement to simulate, and when its message arrives."""

    spec: Spec
    sensor: str
    index: int
    t: float
    arrival_ns: int


@dataclass(frozen=True)
class Written:
    """A message, ready for the bag."""

    topic: str
    msgtype: str
    data: bytes
    arrival_ns: int


def record(
    path: Path,
    seed: int,
    seconds: float,
    conditions: tuple[str, ...],
    faults: tuple[Fault, ...],
    rig: Rig,
    processes: int,
    chosen: Callable[[list[Measurement]], list[Measurement]] = list,
) -> None:
    """Simulates a drive and writes the bag: ``.mcap`` or ``.db3`` for one file, else a folder.

    ``chosen`` may leave measurements out, which are then not simulated either.
    """
    spec = Spec(seed, seconds, conditions, faults, rig)
    measurements = chosen(schedule(spec))
    progress = Progress(len(measurements), "measurements")
    with BagWriter(path, compress=path.suffix != ".db3") as bag:
        for message in _standing(spec):
            bag.write_raw(message.topic, message.msgtype, message.data, message.arrival_ns, True)
        for messages in ordered(simulate, measurements, processes):
            for message in messages:
                bag.write_raw(message.topic, message.msgtype, message.data, message.arrival_ns)
            progress.advance()


def schedule(spec: Spec) -> list[Measurement]:
    """All measurements of the sensors that live, in the order of arrival."""
    measurements = []
    for sensor in SENSORS:
        timing = spec.rig.timing[sensor]
        draws = stream(spec.seed, "timing " + sensor)
        count = int((spec.seconds - timing.phase_s) * timing.rate_hz) + 1
        for index in range(max(count, 0)):
            jitter, lag = np.clip(draws.standard_normal(2), -3, 3)
            t = round(timing.phase_s + index / timing.rate_hz + jitter * timing.jitter_s, 6)
            if t > spec.seconds or sensor in active(spec.faults, t):
                continue
            turn = 0.5 / timing.rate_hz if sensor == "lidar" else 0.0  # the stamp is its middle
            arrival = t + turn + timing.latency_s * float(1 + 0.1 * lag)
            measurements.append(Measurement(spec, sensor, index, t, stamp_ns(arrival)))
    return sorted(measurements, key=lambda m: (m.arrival_ns, m.sensor))


def simulate(measurement: Measurement) -> list[Written]:
    """The messages of one measurement."""
    drive, t = _drive(measurement.spec), measurement.t
    make = _Messages(measurement)
    if measurement.sensor == "camera":
        messages = make.camera(drive, t)
    elif measurement.sensor == "depth":
        messages = make.depth(drive, t)
    elif measurement.sensor == "lidar":
        messages = make.points(drive.lidar(t))
    else:
        messages = make.events(drive, t)
    return list(messages)


_latest: list[tuple[Spec, Drive]] = []


def _drive(spec: Spec) -> Drive:
    """The drive of this process, built once."""
    if not _latest or _latest[0][0] != spec:
        built = Drive(spec.seed, spec.seconds, spec.conditions, spec.faults, spec.rig)
        _latest[:] = [(spec, built)]
    return _latest[0][1]


class _Messages:
    def __init__(self, measurement: Measurement) -> None:
        self._outputs = Outputs(bag_messages(typestore()))
        self._make = bag_messages(typestore())
        self._measurement = measurement
        self._stamp = stamp_ns(measurement.t)

    def _header(self, frame: str) -> Any:
        return self._outputs.header(self._stamp, frame)

    def _written(self, topic: str, message: Any) -> Written:
        data = typestore().serialize_cdr(message, message.__msgtype__)
        return Written(topic, message.__msgtype__, bytes(data), self._measurement.arrival_ns)

    def camera(self, drive: Drive, t: float) -> Iterator[Written]:
        shot, header = drive.camera(t), self._header(OPTICAL["camera"])
        yield self._written("/camera/image", self._outputs.rgb(header, shot.image))
        info = self._outputs.camera_info(header, drive.rig.camera)
        yield self._written("/camera/camera_info", info)
        yield self._written("/ground_truth/labels", self._outputs.labels(header, shot.labels))
        failing = [kind for kind in sorted(active(drive.faults, t)) if kind in FAILURES]
        name = "_".join([drive.schedule.name(t), *failing])
        condition = self._make("std_msgs/msg/String", data=name)
        yield self._written("/ground_truth/condition", condition)

    def depth(self, drive: Drive, t: float) -> Iterator[Written]:
        header = self._header(OPTICAL["depth"])
        yield self._written("/depth/image", self._outputs.depth(header, drive.depth(t)))
        info = self._outputs.camera_info(header, drive.rig.depth_camera)
        yield self._written("/depth/camera_info", info)

    def points(self, scan: Scan) -> Iterator[Written]:
        points = np.zeros(len(scan.xyz), _POINT)
        points["x"], points["y"], points["z"] = scan.xyz.T
        points["intensity"], points["ring"] = scan.intensity, scan.ring
        points["time"] = scan.time_s
        fields = [
            self._make("sensor_msgs/msg/PointField", name=name, offset=_POINT.fields[name][1],
                       datatype=_UINT16 if name == "ring" else _FLOAT32, count=1)
            for name in ("x", "y", "z", "intensity", "time", "ring")
        ]  # fmt: skip
        yield self._written("/lidar/points", self._make(
            "sensor_msgs/msg/PointCloud2", header=self._header(LIDAR_FRAME), height=1,
            width=len(points), fields=fields, is_bigendian=False, point_step=_POINT.itemsize,
            row_step=_POINT.itemsize * len(points), data=points.view(np.uint8), is_dense=True,
        ))  # fmt: skip

    def events(self, drive: Drive, t: float) -> Iterator[Written]:
        window = 1.0 / drive.rig.timing["events"].rate_hz
        events = drive.events(t, window)
        # A packet is stamped with the arrival of its first event, as drivers do.
        first = int(events.t_ns[0]) if len(events.t_ns) else self._stamp
        sensor_us = (events.t_ns - STAMP_0_NS) // 1000
        header = self._outputs.header(first, OPTICAL["events"])
        yield self._written("/events/packets", self._make(
            "event_camera_msgs/msg/EventPacket", header=header, height=events.height,
            width=events.width, seq=self._measurement.index, time_base=0, encoding="evt3",
            is_bigendian=False, events=encode(sensor_us, events.x, events.y, events.p),
        ))  # fmt: skip
        reading = EventsReading(
            events.t_ns, events.x, events.y, events.p, events.width, events.height
        )
        size = (drive.rig.event_camera.height, drive.rig.event_camera.width)
        frame = draw(EventPolarity(window_s=window), reading, None, size, self._stamp)
        header = self._header(OPTICAL["events"])
        yield self._written("/events/image", self._outputs.rgb(header, frame.pixels.numpy()))


def _standing(spec: Spec) -> list[Written]:
    """What is said once: where the sensors sit."""
    rig, outputs = spec.rig, Outputs(bag_messages(typestore()))
    camera = rig.vehicle_from_camera
    edges = [
        (STAMP_0_NS, BASE, OPTICAL["camera"], camera),
        (STAMP_0_NS, OPTICAL["camera"], OPTICAL["depth"], rig.camera_from_depth),
        (STAMP_0_NS, OPTICAL["camera"], OPTICAL["events"], np.eye(4)),
        (STAMP_0_NS, BASE, LIDAR_FRAME, rig.vehicle_from_lidar),
    ]
    message = outputs.transforms(edges)
    data = bytes(typestore().serialize_cdr(message, message.__msgtype__))
    return [Written("/tf_static", message.__msgtype__, data, STAMP_0_NS)]
