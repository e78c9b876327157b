"""What the node costs beside the model: four sensors at 10 Hz over DDS, in two processes.

The model is an identity. Latency is from before the publication of the last message of a set to the
arrival of its labels, for each of a few orders of arrival, against a minimal rclpy node that only
matches the same messages, in the same run: what the node takes beyond that is its own work. Stages
are those that the node's own diagnostics report.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from memorysam_core.bench.row import Row
from memorysam_core.frames.camera import Camera
from memorysam_ros.conversions import Outputs, ros_messages, stamp_ns
from memorysam_ros.dds import use_profile

PIXELS, RATE_HZ = 1024, 10.0
RINGS, COLUMNS = 128, 1016
"""Of a turn of the LiDAR: 130,048 points."""
CAMERA = Camera(PIXELS, PIXELS, 512.0, 512.0, 512.0, 512.0)
KINDS = {"points": PointCloud2, "depth": Image, "events": Image, "image": Image}
ARRIVALS = {
    "image last": {"points": 0.0, "depth": 0.04, "events": 0.06, "image": 0.075},
    "points last": {"depth": 0.0, "events": 0.02, "image": 0.03, "points": 0.06},
    "all at once": {"points": 0.0, "depth": 0.0, "events": 0.0, "image": 0.0},
}
"""When the messages of one moment are published, in order. Seconds within the period."""
RUNS = (*((name, "a turn") for name in ARRIVALS), ("points last", "all ahead"))
"""Orders of arrival, and what the LiDAR sees: all around it, or at worst all before the camera."""
WARM_UP = 30
"""Sets before memory is looked at: queues, caches and DDS have all that they will ever need."""
TICKS = os.sysconf("SC_CLK_TCK")
PARAMETERS = {
    "autostart": "true",
    "event.source": "image",
    "checkpoint": "identity",
    "lidar.camera_from_lidar": "[0.1, -0.2, 0.0, 0.0, 0.0, 0.0, 1.0]",
}


def rows(device: str, quick: bool) -> Iterator[Row]:
    """Latency, its stages, processor share and memory; the minimal node's beside them."""
    use_profile()
    seconds = 3.0 if quick else 15.0
    words = ["--ros-args", *(w for n, v in PARAMETERS.items() for w in ("-p", f"{n}:={v}"))]
    size = f"4 x {PIXELS} x {PIXELS}, {RINGS * COLUMNS} points, {RATE_HZ:.0f} Hz"
    size += f", {os.cpu_count()} cores"
    for order, scan in RUNS:
        name = order if scan == "a turn" else f"{order}, {scan}"
        arrival = ARRIVALS[order]
        ours = measure("identity_node", "segment_node", words, seconds, arrival, scan)
        least = measure("minimal_node", "minimal_node", [], seconds, arrival, scan)
        own = ours.p(50) - least.p(50)
        yield Row(f"node, {name}: own work, p50", own, "ms", "beyond the minimal node's p50")
        for node, run in (("node", ours), ("minimal node", least)):
            yield Row(f"{node}, {name}: last message to labels, p50", run.p(50), "ms", size)
            yield Row(f"{node}, {name}: last message to labels, p95", run.p(95), "ms", "")
            yield Row(f"{node}, {name}: share of one core", 100 * run.cpu, "%", "user and system")
            yield Row(f"{node}, {name}: sets lost", run.lost, "sets", f"of {run.sent}")
        for stage, (p50, p95) in ours.stages.items():
            yield Row(f"node, {name}: stage {stage}, p50", p50, "ms", f"p95 {p95:.1f} ms")
        note = f"second half of {ours.sent} sets over the first, medians"
        yield Row(f"node, {name}: memory growth", ours.growth_mb, "MB", note)


class Measurement:
    """One node's run."""

    def __init__(self, robot: Robot, cpu: float, growth_mb: float) -> None:
        arrived = robot.arrived
        self.latencies_ms = [(arrived[s] - t) / 1e6 for s, t in robot.sent.items() if s in arrived]
        self.sent = len(robot.sent)
        self.lost = self.sent - len(self.latencies_ms)
        self.cpu = cpu
        self.growth_mb = growth_mb
        self.stages = robot.stages

    def p(self, percent: float) -> float:
        """A percentile of the latency, ms."""
        return float(np.percentile(self.latencies_ms or [np.nan], percent))


class Robot:
    """Publishes the sets and takes the time of the labels."""

    def __init__(self, target: str, scan: str) -> None:
        self.context = Context()
        rclpy.init(context=self.context)
        self.node = rclpy.create_node("bench_robot", context=self.context)
        best_effort = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
        self.publishers = {
            name: self.node.create_publisher(kind, f"/{target}/input/{name}", best_effort)
            for name, kind in KINDS.items()
        }
        self._info = self.node.create_publisher(
            CameraInfo, f"/{target}/input/camera_info", best_effort
        )
        self.sent: dict[int, int] = {}
        self.arrived: dict[int, int] = {}
        self.stages: dict[str, tuple[float, float]] = {}
        self._labels = self.node.create_subscription(
            Image, f"/{target}/output/labels", self._on_labels, 10
        )
        self._status = self.node.create_subscription(
            DiagnosticArray, "/diagnostics", self._on_diagnostics, 10
        )
        self._messages = scene(scan)
        self._outputs = Outputs(ros_messages)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._executor.spin)
        self._thread.start()

    def ready(self) -> bool:
        """Whether the node under test is there."""
        found = all(p.get_subscription_count() for p in self.publishers.values())
        return found and self.node.count_publishers(self._labels.topic_name) > 0

    def send(self, arrival: Mapping[str, float]) -> None:
        """One set, in the order and with the pauses of ``arrival``."""
        now, begin = time.time_ns(), time.monotonic()
        header = self._outputs.header(now, "camera")
        self._info.publish(self._outputs.camera_info(header, CAMERA))
        for name, due in arrival.items():
            message = self._messages[name]
            message.header = header
            time.sleep(max(0.0, begin + due - time.monotonic()))
            self.sent[now] = time.monotonic_ns()  # before the last is on its way
            self.publishers[name].publish(message)

    def forget(self) -> None:
        """Starts the measurement over."""
        self.sent.clear()
        self.arrived.clear()

    def close(self) -> None:
        """Leaves the graph."""
        self._executor.shutdown()
        self._thread.join()
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)

    def _on_labels(self, message: Image) -> None:
        self.arrived[stamp_ns(message)] = time.monotonic_ns()

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name.endswith(": latency"):
                for pair in status.values:
                    stage = pair.key.removesuffix(" p50/p95/max (ms)")
                    p50, p95, _ = (float(v) for v in pair.value.split(" / "))
                    self.stages[stage] = p50, p95


def measure(
    module: str,
    target: str,
    words: list[str],
    seconds: float,
    arrival: Mapping[str, float],
    scan: str = "a turn",
) -> Measurement:
    """Runs one node in a process of its own and sends it sets at the rate for so long."""
    robot = Robot(target, scan)
    try:
        with process(module, words) as child:
            wait(robot.ready, f"{target} to appear")
            while len(robot.arrived) < WARM_UP:  # discovery and first use are not what is measured
                robot.send(arrival)
                time.sleep(1 / RATE_HZ)
            robot.forget()
            cpu_s, begin, used_mb = cpu_seconds(child.pid), time.monotonic(), []
            while time.monotonic() - begin < seconds:
                robot.send(arrival)
                used_mb.append(rss_mb(child.pid))
                due = begin + len(robot.sent) / RATE_HZ
                time.sleep(max(0.0, due - time.monotonic()))
            time.sleep(2 / RATE_HZ)
            share = (cpu_seconds(child.pid) - cpu_s) / (time.monotonic() - begin)
            # Messages come and go all the time: halves are compared, not moments.
            first, second = np.array_split(used_mb, 2)
            return Measurement(robot, share, float(np.median(second) - np.median(first)))
    finally:
        robot.close()


@contextmanager
def process(module: str, words: list[str]) -> Iterator[subprocess.Popen]:
    """One of our modules as a process, interrupted at the end."""
    command = [sys.executable, "-m", f"memorysam_ros.bench.{module}", *words]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield child
    finally:
        child.send_signal(signal.SIGINT)
        try:
            child.wait(20)
        finally:
            child.kill()


def wait(condition: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    """Waits for a condition. Raises TimeoutError, naming what did not come."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.01)


def a_turn(rng: np.random.Generator) -> np.ndarray:
    """Points around a LiDAR of 45 degrees, 1.8 m above the ground, between walls, ``(N, 3)``."""
    azimuth = np.linspace(-np.pi, np.pi, COLUMNS, endpoint=False)
    elevation = np.radians(np.linspace(22.5, -22.5, RINGS))[:, None]
    level, down = np.cos(elevation), -np.sin(elevation)
    walls = np.repeat(rng.uniform(8, 40, COLUMNS // 8), 8) / level
    ground = np.where(down > 0.02, 1.8 / np.maximum(down, 0.02), np.inf)
    along = level * np.sin(azimuth), down + 0 * azimuth, level * np.cos(azimuth)
    return (np.stack(along, -1) * np.minimum(walls, ground)[..., None]).reshape(-1, 3)


def all_ahead(rng: np.random.Generator) -> np.ndarray:
    """As many points, all of them in the camera's view, near ones before far ones, ``(N, 3)``."""
    direction = rng.uniform((-0.9, -0.3, 0.4), (0.9, 0.3, 1.0), (RINGS * COLUMNS, 3))
    return direction * rng.uniform(3, 60, (RINGS * COLUMNS, 1))


def scene(scan: str) -> dict[str, Any]:
    """A message of each sensor."""
    rng = np.random.default_rng(0)
    outputs = Outputs(ros_messages)
    header = outputs.header(0, "camera")
    xyz = {"a turn": a_turn, "all ahead": all_ahead}[scan](rng).astype(np.float32)
    colours = rng.integers(0, 256, (PIXELS, PIXELS, 3), np.uint8)
    metres = rng.uniform(1, 200, (PIXELS, PIXELS)).astype(np.float32)
    return {
        "points": outputs.points(header, xyz, np.zeros(len(xyz), np.float32)),
        "depth": outputs.depth(header, metres),
        "events": outputs.rgb(header, colours),
        "image": outputs.rgb(header, colours),
    }


def cpu_seconds(pid: int) -> float:
    """User and system time of a process."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def rss_mb(pid: int) -> float:
    """Resident memory of a process."""
    with open(f"/proc/{pid}/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
