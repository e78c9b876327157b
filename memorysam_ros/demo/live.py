"""Plays the drive to the node and records what it says."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image

from memorysam_ros.bags import account
from memorysam_ros.bags.account import DIAGNOSTICS
from memorysam_ros.bags.play import Player
from memorysam_ros.bags.reader import Bag
from memorysam_ros.bags.writer import BagWriter
from memorysam_ros.demo.node_process import NAME, REMAPPED, NodeProcess, running_node
from memorysam_ros.demo.pace import Pace, busy_s
from memorysam_ros.ros_session import ros_session

LABELS = f"{NAME}/{account.LABELS}"
SEEN = [f"{NAME}/{topic}" for topic in account.SEEN.values()]
_PATIENCE_S = 90.0
"""For the node to be ready, and then to label its first sets."""
_REHEARSAL_S, _REHEARSED = 3.0, 3
"""So much of the drive is played beforehand, and again until so many sets are labelled."""
_IMAGE, _ARRAY = "sensor_msgs/msg/Image", "diagnostic_msgs/msg/DiagnosticArray"


def drive_through(
    bag_path: Path,
    checkpoint: Path,
    recording: Path,
    log: Path,
    interval_s: float,
    say: Callable[[str], object],
) -> Pace:
    """Starts the node, plays the bag to it and records what it says; how fast it was played.

    In real time, where the machine can label an image every ``interval_s``, else as much slower as
    it needs. Messages are recorded at the time of their arrival on the bag's clock. Raises
    NodeEnded if the node does not start or does not live until the end, TimeoutError where it
    labels nothing.
    """
    with (
        Bag(bag_path) as bag,
        BagWriter(recording) as writer,
        running_node(checkpoint, log) as process,
        ros_session("memorysam_demo") as node,
    ):
        ear = _Ear(node, writer, bag)
        player = Player(node, bag, set(REMAPPED.values()), clock_hz=100.0)
        with _spinning(node):
            _wait_until_ready(process, player, ear)
            pace = Pace.of(_rehearse(process, player, ear), interval_s)
            say(f"  it labels a set in {pace.busy_s:.2f} s: played at {pace.rate:.2g} x real time")
            ear.begin(pace.rate)
            with _progress(bag.seconds / pace.rate):
                player.play(pace.rate)
            player.finish()
            ear.wait_for_silence()
            process.check()
    return pace


class _Ear:
    """Writes down what the node publishes, from :meth:`begin` on."""

    def __init__(self, node: Node, writer: BagWriter, bag: Bag) -> None:
        self._writer, self._start_ns = writer, bag.start_ns
        self._began_ns: int | None = None
        self._rate = 1.0
        self._heard = 0.0
        self.labelled = 0
        """How many label images came."""
        self.busy_s: float | None = None
        """How long a set keeps the node busy; None until it says so."""
        self.subscribers = 0
        """How many subscriptions the node itself knows of."""
        self.count = 1 + len(SEEN)
        for topic in (LABELS, *SEEN):
            node.create_subscription(
                Image, topic, self._writing(topic), QoSProfile(depth=20), raw=True
            )
        node.create_subscription(DiagnosticArray, DIAGNOSTICS, self._health, 20)
        node.create_subscription(
            DiagnosticArray, DIAGNOSTICS, self._writing(DIAGNOSTICS, _ARRAY), 20, raw=True
        )

    def begin(self, rate: float) -> None:
        """The bag's first message is published now, the others at this rate."""
        self._rate, self._began_ns = rate, time.monotonic_ns()

    def wait_for_silence(self) -> None:
        """Until there have been no labels, from now on, for longer than a set takes."""
        began = time.monotonic()
        while time.monotonic() < max(began, self._heard) + 1.5 + 2 * (self.busy_s or 0.0):
            time.sleep(0.05)

    def _writing(self, topic: str, kind: str = _IMAGE) -> Any:
        def write(data: bytes) -> None:
            now_ns = time.monotonic_ns()
            if self._began_ns is not None:
                bag_ns = self._start_ns + round((now_ns - self._began_ns) * self._rate)
                self._writer.write_raw(topic, kind, data, bag_ns)
            if topic == LABELS:
                self._heard = time.monotonic()
                self.labelled += 1

        return write

    def _health(self, message: DiagnosticArray) -> None:
        for status in message.status:
            values = {pair.key: pair.value for pair in status.values}
            self.subscribers = int(values.get("subscribers", self.subscribers))
            if status.name.endswith(": latency"):
                self.busy_s = busy_s(values)


def _wait_until_ready(process: NodeProcess, player: Player, ear: _Ear) -> None:
    """Until the node has its model and both sides have found all their topics."""
    end = time.monotonic() + _PATIENCE_S
    while player.wait_for_subscribers(0.2) or ear.subscribers < ear.count:
        process.check()
        if time.monotonic() > end:
            raise TimeoutError(
                f"the node was not ready within {_PATIENCE_S:.0f} s:\n{process.last_words()}"
            )


def _rehearse(process: NodeProcess, player: Player, ear: _Ear) -> float:
    """Plays the beginning until the node has labelled some sets of it; how long each takes it."""
    end = time.monotonic() + _PATIENCE_S
    while ear.labelled < _REHEARSED or ear.busy_s is None:
        process.check()
        if time.monotonic() > end:
            raise TimeoutError(
                f"the node labelled {ear.labelled} images in {_PATIENCE_S:.0f} s:\n"
                + process.last_words()
            )
        player.play(duration_s=_REHEARSAL_S)
    ear.wait_for_silence()
    return ear.busy_s


@contextmanager
def _spinning(node: Node) -> Iterator[None]:
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin, name="ear")
    thread.start()
    try:
        yield
    finally:
        executor.shutdown()
        thread.join()


@contextmanager
def _progress(seconds: float) -> Iterator[None]:
    """A clock of the drive, on a terminal only."""
    if not sys.stderr.isatty():
        yield
        return
    over = threading.Event()
    began = time.monotonic()

    def show() -> None:
        while not over.wait(0.25):
            gone = min(time.monotonic() - began, seconds)
            full = round(30 * gone / seconds)
            bar = "█" * full + "·" * (30 - full)
            print(f"\r\033[K{bar} {gone:.0f} of {seconds:.0f} s", end="", file=sys.stderr)
        print("\r\033[K", end="", file=sys.stderr, flush=True)

    thread = threading.Thread(target=show, name="progress")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
