"""What our libraries log, which know nothing of ROS, goes into the node's log and diagnostics."""

from __future__ import annotations

import logging
from typing import Any

LIBRARIES = ("memorysam_core", "memorysam_ros")


class LogBridge(logging.Handler):
    """Hands records of :data:`LIBRARIES` on to a ROS logger, from ``INFO`` on, each in one line."""

    def __init__(self, logger: Any) -> None:
        super().__init__(logging.INFO)
        self.last_warning = ""
        self._logger = logger
        self._loggers = [logging.getLogger(name) for name in LIBRARIES]
        self._levels = [one.level for one in self._loggers]
        for one in self._loggers:
            one.addHandler(self)
            one.setLevel(logging.INFO)

    def emit(self, record: logging.LogRecord) -> None:
        """Called by Python's logging, from any thread."""
        text = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            text = f"{text}: {type(error).__name__}: {' '.join(str(error).split())}"
        if record.levelno < logging.WARNING:
            self._logger.info(text)
            return
        self.last_warning = text
        if record.levelno < logging.ERROR:
            self._logger.warning(text)
        else:
            self._logger.error(text)

    def close(self) -> None:
        """Hands on no more."""
        for one, level in zip(self._loggers, self._levels, strict=True):
            one.removeHandler(self)
            one.setLevel(level)
        super().close()
