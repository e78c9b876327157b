"""The node as a process of its own, ended without fail."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from memorysam_ros.shared_files import shared_file

NAME = "/segment_node"
REMAPPED = {
    "image": "/camera/image",
    "camera_info": "/camera/camera_info",
    "depth": "/depth/image",
    "depth_camera_info": "/depth/camera_info",
    "events": "/events/image",
    "points": "/lidar/points",
}
"""The node's inputs and the topics of a simulated drive."""
_PATIENCE_S = 10.0
_ENDS = (signal.SIGINT, signal.SIGTERM)


class NodeEnded(RuntimeError):
    """The node is gone before its time."""


class NodeProcess:
    """A running node and its log."""

    def __init__(self, process: subprocess.Popen, log: Path) -> None:
        self._process, self._log = process, log

    def check(self) -> None:
        """Raises NodeEnded, with the end of its log, if it does not run any more."""
        status = self._process.poll()
        if status is not None:
            raise NodeEnded(f"the node ended with status {status}:\n{self.last_words()}")

    def last_words(self) -> str:
        """The end of its log."""
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-8:])


@contextmanager
def running_node(checkpoint: Path, log: Path) -> Iterator[NodeProcess]:
    """`memorysam node` with the settings for a simulated drive, on the clock of the bag.

    It has a session of its own, so that Ctrl-C reaches us alone and we end it in order.
    """
    words = ["-p", "use_sim_time:=true", "-p", "diagnostics_period:=0.5"]
    for name, topic in REMAPPED.items():
        words += ["-r", f"~/input/{name}:={topic}"]
    command = [sys.executable, "-m", "memorysam_core.cli", "node", str(checkpoint)]
    command += ["--params-file", str(shared_file("config/simulated.yaml")), "--ros-args"]
    # A signal while the process is being started must not leave it behind unknown.
    came: list[int] = []
    before = {number: signal.signal(number, lambda n, _: came.append(n)) for number in _ENDS}
    try:
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [*command, *words],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
    except BaseException:
        _restore(before)
        raise
    try:
        _restore(before)
        for number in came:
            signal.raise_signal(number)
        yield NodeProcess(process, log)
    finally:
        _end(process)


def _end(process: subprocess.Popen) -> None:
    # A second Ctrl-C must not interrupt this and leave the node behind.
    before = {number: signal.signal(number, signal.SIG_IGN) for number in _ENDS}
    try:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        try:
            process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    finally:
        _restore(before)


def _restore(handlers: Mapping[int, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)
