"""Weather and failures: what each changes, for which sensor, and by how much.

========================  =====  =====  =====  =====
condition or failure      image  depth  event  lidar
========================  =====  =====  =====  =====
cloud, sun                light  --     light  --
fog                       haze   holes  haze   lost returns, echoes
night                     dark   --     dark   --
rain                      wet    noise  drops  lost returns, echoes
motionblur                blur   --     --     --
overexposure              bright --     --     --
underexposure             dark   --     --     --
lidarjitter               --     --     --     misplaced
eventlowres               --     --     coarse --
========================  =====  =====  =====  =====

The table is tested: what says ``--`` gives the same bytes with and without.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

Rgb = tuple[float, float, float]


@dataclass(frozen=True)
class Weather:
    """Light and air. Colours are linear; lights are relative to an overcast noon."""

    sun: Rgb
    """Light of the sun or moon on a surface that faces it."""
    elevation: float
    """Of the sun, radians."""
    zenith: Rgb
    horizon: Rgb
    cloudiness: float
    """Share of the sky under cloud, 0 to 1."""
    fog: float
    """Extinction of light, 1/m."""
    wet: float
    """How wet surfaces are, 0 to 1."""
    rain: float
    """How hard it rains, 0 to 1."""
    lamps: float
    """How bright street lamps, headlights and windows are, 0 to 1."""
    exposure: float
    """What the camera's automatic exposure settles at."""
    gain: float
    """Of the camera: scales its noise."""
    scatter: float
    """How strongly the air shows the light of lamps."""


WEATHERS: dict[str, Weather] = {
    "cloud": Weather(
        sun=(0.42, 0.40, 0.37),
        elevation=0.8,
        zenith=(0.46, 0.53, 0.62),
        horizon=(0.68, 0.70, 0.73),
        cloudiness=0.78,
        fog=0.0011,
        wet=0.0,
        rain=0.0,
        lamps=0.0,
        exposure=1.0,
        gain=1.0,
        scatter=0.0,
    ),
    "fog": Weather(
        sun=(0.08, 0.08, 0.08),
        elevation=0.7,
        zenith=(0.46, 0.49, 0.53),
        horizon=(0.55, 0.57, 0.60),
        cloudiness=1.0,
        fog=0.028,
        wet=0.35,
        rain=0.0,
        lamps=0.45,
        exposure=1.05,
        gain=1.2,
        scatter=0.05,
    ),
    "night": Weather(
        sun=(0.010, 0.014, 0.026),
        elevation=0.9,
        zenith=(0.004, 0.007, 0.020),
        horizon=(0.022, 0.022, 0.034),
        cloudiness=0.3,
        fog=0.0022,
        wet=0.75,
        rain=0.0,
        lamps=1.0,
        exposure=2.6,
        gain=2.6,
        scatter=0.01,
    ),
    "rain": Weather(
        sun=(0.05, 0.05, 0.055),
        elevation=0.5,
        zenith=(0.17, 0.20, 0.26),
        horizon=(0.29, 0.32, 0.37),
        cloudiness=1.0,
        fog=0.006,
        wet=1.0,
        rain=1.0,
        lamps=0.6,
        exposure=1.55,
        gain=1.6,
        scatter=0.015,
    ),
    "sun": Weather(
        sun=(2.7, 2.2, 1.55),
        elevation=0.44,
        zenith=(0.15, 0.32, 0.72),
        horizon=(0.60, 0.70, 0.84),
        cloudiness=0.32,
        fog=0.0009,
        wet=0.0,
        rain=0.0,
        lamps=0.0,
        exposure=0.78,
        gain=0.8,
        scatter=0.0,
    ),
}
"""DELIVER's five conditions."""

FAILURES = ("motionblur", "overexposure", "underexposure", "lidarjitter", "eventlowres")
"""DELIVER's corner cases, under its names."""

SENSORS = ("camera", "depth", "events", "lidar")


def blend(a: Weather, b: Weather, share: float) -> Weather:
    """Weather between two; brightness and density change by equal factors in equal times."""

    def between(x: float, y: float) -> float:
        if min(x, y) > 0:
            return float(np.exp(np.log(x) + share * (np.log(y) - np.log(x))))
        return x + share * (y - x)

    values = {}
    for field in dataclasses.fields(Weather):
        x, y = getattr(a, field.name), getattr(b, field.name)
        values[field.name] = (
            tuple(between(p, q) for p, q in zip(x, y, strict=True))
            if isinstance(x, tuple)
            else between(x, y)
        )
    return Weather(**values)


@dataclass(frozen=True)
class Schedule:
    """Conditions that follow each other over a drive, each turning into the next."""

    names: tuple[str, ...]
    seconds: float

    def __post_init__(self) -> None:
        unknown = [n for n in self.names if n not in WEATHERS]
        if unknown or not self.names:
            raise ValueError(
                f"no condition {', '.join(map(repr, unknown)) or 'given'}; "
                f"known are {', '.join(WEATHERS)}"
            )

    def _place(self, t: float) -> tuple[int, float]:
        """The leg of the schedule at ``t``, and how far the turn to the next has come."""
        count = len(self.names)
        if count == 1:
            return 0, 0.0
        at = np.clip(t / self.seconds, 0, 1) * count - 0.5
        leg = int(np.clip(np.floor(at), 0, count - 2))
        share = float(np.clip((at - leg - 0.3) / 0.4, 0, 1))
        return leg, share * share * (3 - 2 * share)

    def weather(self, t: float) -> Weather:
        """The weather at a time, seconds."""
        leg, share = self._place(t)
        here = WEATHERS[self.names[leg]]
        return here if share == 0 else blend(here, WEATHERS[self.names[leg + 1]], share)

    def name(self, t: float) -> str:
        """The condition that prevails at a time."""
        leg, share = self._place(t)
        return self.names[leg + (share >= 0.5)]


@dataclass(frozen=True)
class Fault:
    """Something that befalls a sensor from ``start`` to ``end`` seconds of the drive."""

    kind: str
    """One of :data:`FAILURES`, or a sensor's name: it is dead for that time."""
    start: float = 0.0
    end: float = float("inf")

    @classmethod
    def parse(cls, text: str) -> Fault:
        """From ``lidar@8-12``, ``overexposure@3-5`` or ``motionblur``. Raises ValueError."""
        kind, _, span = text.partition("@")
        if kind not in FAILURES + SENSORS:
            raise ValueError(
                f"no failure {kind!r}; known are {', '.join(FAILURES)}, and the dead sensors "
                f"{', '.join(SENSORS)}"
            )
        if not span:
            return cls(kind)
        try:
            start, end = (float(v) for v in span.split("-"))
        except ValueError:
            raise ValueError(f"cannot read the time of {text!r}; write {kind}@8-12") from None
        if not 0 <= start < end:
            raise ValueError(f"{text!r} ends before it starts; write {kind}@8-12")
        return cls(kind, start, end)


def active(faults: tuple[Fault, ...], t: float) -> frozenset[str]:
    """Kinds of the faults that hold at time ``t``."""
    return frozenset(f.kind for f in faults if f.start <= t < f.end)
