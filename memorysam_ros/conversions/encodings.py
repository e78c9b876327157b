"""Image encodings: how many bytes and channels a pixel has (sensor_msgs/image_encodings.hpp)."""

from __future__ import annotations

import re

_NAMED = {
    "rgb8": ("u1", 3),
    "bgr8": ("u1", 3),
    "rgba8": ("u1", 4),
    "bgra8": ("u1", 4),
    "mono8": ("u1", 1),
    "mono16": ("u2", 1),
    "bayer_rggb8": ("u1", 1),
    "bayer_bggr8": ("u1", 1),
    "bayer_gbrg8": ("u1", 1),
    "bayer_grbg8": ("u1", 1),
    "yuv422_yuy2": ("u1", 2),
    "yuyv": ("u1", 2),
    "yuv422": ("u1", 2),
    "uyvy": ("u1", 2),
}
_OPENCV = re.compile(r"(8|16|32|64)([USF])C([1-4])")

YUYV = ("yuv422_yuy2", "yuyv")
"""Two names of one byte order, the older one first."""
UYVY = ("yuv422", "uyvy")
COLOUR = (*_NAMED, "8UC1")
"""Encodings that a colour image may have."""
DEPTH = ("32FC1", "16UC1", "mono16")
"""Encodings that a depth image may have (REP-118; mono16 is forgiven)."""


def layout(encoding: str) -> tuple[str, int] | None:
    """NumPy type code (without byte order) and channels; None for an encoding that is not known."""
    if encoding in _NAMED:
        return _NAMED[encoding]
    opencv = _OPENCV.fullmatch(encoding)
    if opencv is None:
        return None
    bits, kind, channels = opencv.groups()
    code = {"U": "u", "S": "i", "F": "f"}[kind]
    return f"{code}{int(bits) // 8}", int(channels)
