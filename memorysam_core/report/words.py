"""How names and numbers are written for a reader."""

from __future__ import annotations

import datetime
import re

_TITLES = {"image": "camera", "lidar": "LiDAR", "event": "events", "aolp": "AoLP", "dolp": "DoLP"}


def title(sensor: str) -> str:
    """A sensor as a reader calls it."""
    return _TITLES.get(sensor, sensor)


def date(iso: str) -> str:
    """``2026-07-01 14:05 UTC``; what cannot be read stays as it is."""
    try:
        when = datetime.datetime.fromisoformat(iso)
    except ValueError:
        return iso
    return when.strftime("%Y-%m-%d %H:%M") + (" UTC" if when.tzinfo else "")


def percent(fraction: float | None) -> str:
    """A score of 0 to 1 as papers write it, ``65.4``; a dash for none."""
    return "–" if fraction is None else f"{100 * fraction:.1f}"


def clock(t_s: float) -> str:
    """``8.2 s``, or ``2:05`` from a minute on."""
    if t_s < 60:
        return f"{round(t_s, 1) + 0.0:.1f} s"  # what is added keeps the sign from a zero
    whole = round(t_s)
    return f"{whole // 60}:{whole % 60:02d}"


def milliseconds(value: float) -> str:
    """With as many digits as matter."""
    return f"{value:.0f} ms" if value >= 100 else f"{value:.1f} ms"


def plain(text: str) -> str:
    """Without what no page may hold: control characters, and bytes of file names in no encoding."""
    return re.sub(
        r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", text
    )
