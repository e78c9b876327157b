"""Packages of the ROS distribution, or stand-ins where they are absent.

On a robot these come from apt; PyPI has none of them. What we use of message_filters has a stand-in
of the same name in :mod:`memorysam_ros.standins`; the others are optional, and :func:`missing` says
what is off without them.

cv_bridge and sensor_msgs_py are not used, not even where they are installed: they take rclpy's
messages only, and a bag must give the same labels with ROS and without it.

>>> from memorysam_ros.interop import ApproximateTimeSynchronizer, Subscriber
"""

from __future__ import annotations

import functools
import importlib
import logging
from dataclasses import dataclass
from types import ModuleType
from typing import Any

_logger = logging.getLogger("memorysam_ros.interop")

# public name: (module of the distribution, its name there)
_WITH_STANDIN = {
    "ApproximateTimeSynchronizer": ("message_filters", "ApproximateTimeSynchronizer"),
    "Subscriber": ("message_filters", "Subscriber"),
}


@dataclass(frozen=True)
class Package:
    """A package of the distribution that has no stand-in."""

    apt: str
    """Name after ``ros-<distro>-``."""
    off: str
    """What is off without it, and what to do instead."""


OPTIONAL = {
    "tf2_ros": Package("tf2-ros-py", "extrinsics from TF; give them as parameters or in a file"),
    "tf2_msgs": Package("tf2-msgs", "recording and playing of /tf and /tf_static"),
    "vision_msgs": Package("vision-msgs", "~/output/label_info; the parameters tell the labels"),
    "event_camera_msgs": Package(
        "event-camera-msgs", "EventPacket on ~/input/events; publish rendered events as an Image"
    ),
}


def optional(name: str) -> ModuleType | None:
    """A package of :data:`OPTIONAL`, or None where it is absent or cannot be imported."""
    if name not in OPTIONAL:
        raise ValueError(f"no optional package {name!r}; known are {', '.join(OPTIONAL)}")
    return _import(name)


def missing(*names: str) -> list[str]:
    """One line for each absent package of the given ones (all): what is off, what to install."""
    return [
        f"{name} is not installed: no {OPTIONAL[name].off}. "
        f"Install ros-<distro>-{OPTIONAL[name].apt} to have it"
        for name in names or OPTIONAL
        if optional(name) is None
    ]


def origin(name: str) -> str:
    """``distribution`` or ``stand-in``: where a name of this module comes from."""
    module, _ = _WITH_STANDIN[name]
    return "stand-in" if _import(module) is None else "distribution"


def __getattr__(name: str) -> Any:
    # On demand: message_filters loads rclpy, which replay can do without.
    if name not in _WITH_STANDIN:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _WITH_STANDIN[name]
    standin = f"memorysam_ros.standins.{module}"
    return getattr(_import(module) or importlib.import_module(standin), attribute)


@functools.cache
def _import(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.split(".")[0] == name.split(".")[0]:
            return None
        problem: Exception = error
    except Exception as error:  # messages built for NumPy 1 raise AttributeError under NumPy 2
        problem = error
    _logger.warning(
        "%s is installed but cannot be imported (%s: %s); going on without it. If it was built for "
        "NumPy 1, install 'numpy<2' or a newer %s",
        name,
        type(problem).__name__,
        problem,
        name,
    )
    return None
