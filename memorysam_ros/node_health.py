"""What the node says of its health: on ``/diagnostics``, and each change of state in the log."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from memorysam_ros.status import Level, StateLog, Status


class HealthReporter:
    """Publishes statuses and logs those that have changed."""

    def __init__(self, node: Any) -> None:
        self._node = node
        self._states = StateLog()
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)

    def log(self, level: Level, key: str, text: str) -> None:
        """Logs what ``key`` has come to, unless it was so before but for the figures in it."""
        state = re.sub(r"\d+(\.\d+)?", "#", text)
        if not self._states.enter(key, state, time.monotonic_ns()):
            return
        logger, line = self._node.get_logger(), f"{key}: {text}"
        if level is Level.OK:
            logger.info(line)
        elif level is Level.ERROR:
            logger.error(line)
        else:
            logger.warning(line)

    @contextmanager
    def meanwhile(self, status: Callable[[], Status], period_s: float) -> Iterator[None]:
        """Publishes a status, at once and in each period, while the caller keeps the executor."""
        over = threading.Event()

        def publish() -> None:
            self.publish([status()])
            while not over.wait(period_s):
                self.publish([status()])

        thread = threading.Thread(target=publish, name="meanwhile", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def publish(self, statuses: list[Status]) -> None:
        """One message with all statuses; a line in the log for each that has changed."""
        for status in statuses:
            if status.logged:
                self.log(status.level, status.name, status.message)
        array = DiagnosticArray()
        array.header.stamp = self._node.get_clock().now().to_msg()
        name = self._node.get_fully_qualified_name().lstrip("/")
        array.status = [
            DiagnosticStatus(
                level=bytes([status.level]),
                name=f"{name}: {status.name}",
                message=status.message,
                hardware_id="memorysam",
                values=[KeyValue(key=key, value=text) for key, text in status.values.items()],
            )
            for status in statuses
        ]
        self._publisher.publish(array)
