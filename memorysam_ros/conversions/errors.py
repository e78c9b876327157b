"""The one error of conversions, and warnings that are given once."""

from __future__ import annotations

import functools
import logging

_logger = logging.getLogger("memorysam_ros.conversions")


class ConversionError(ValueError):
    """A message that cannot be used; says what was got, what is accepted and what to do."""


@functools.lru_cache(maxsize=256)
def warn_once(text: str) -> None:
    """Logs a warning the first time that this very text is given."""
    _logger.warning(text)
