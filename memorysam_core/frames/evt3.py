"""Decoding of EVT3, the event format of Prophesee's sensors, as ``EventPacket`` messages carry it.

A packet is a row of 16-bit words, the upper 4 bits of which say what the rest is: a row, a column
with a polarity, the place of a vector of neighbouring columns, 12 or 8 bits of such a vector, or a
part of the time. Each word changes a state that the next ones, of later packets too, build on. Here
the states of all words of a packet are found at once, by running maxima and sums.

Where ROS's own decoder, event_camera_py, is installed, :func:`evt3_decoder` gives that one.

Format: https://docs.prophesee.ai/stable/data/encoding_formats/evt3.html
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

WRAP_US = 1 << 24
"""Sensor time starts anew after this many microseconds (16.8 s)."""

_ROW, _COLUMN, _VECTOR_BASE, _VECTOR_12, _VECTOR_8 = 0x0, 0x2, 0x3, 0x4, 0x5
_TIME_LOW, _TIME_HIGH = 0x6, 0x8
_UNKNOWN = -1


@dataclass(frozen=True)
class Events:
    """Decoded events, in the order of the stream."""

    t_ns: np.ndarray
    """int64 ``(N,)``: sensor time, without wraps since the stream's start. The sensor's clock is
    its own: only differences mean anything beside other sensors."""
    x: np.ndarray
    """uint16 ``(N,)``."""
    y: np.ndarray
    """uint16 ``(N,)``."""
    p: np.ndarray
    """uint8 ``(N,)``: 1 where it became brighter."""

    def __len__(self) -> int:
        return len(self.t_ns)


class Decoder(Protocol):
    """What turns the packets of one camera, in their order, into events."""

    def decode(self, data: Any) -> Events:
        """The events of one packet, given as anything with a buffer of bytes."""


def evt3_decoder(width: int, height: int) -> Decoder:
    """A decoder for the packets of one camera: event_camera_py's if installed, else ours.

    Make a new one where the stream is broken: after a gap in ``seq``, or when a bag starts anew.
    """
    try:
        native = importlib.import_module("event_camera_py")
    except ImportError:
        return Evt3Decoder(width, height)
    return _Native(native.Decoder(), width, height)


class _Native:
    """event_camera_py behind our face."""

    def __init__(self, decoder: Any, width: int, height: int) -> None:
        self._decoder, self._width, self._height = decoder, width, height

    def decode(self, data: Any) -> Events:
        packet = np.frombuffer(data, np.uint8).tobytes()
        self._decoder.decode_bytes("evt3", self._width, self._height, 0, packet)
        events = self._decoder.get_cd_events()
        x, y = events["x"].astype(np.uint16), events["y"].astype(np.uint16)
        return Events(events["t"].astype(np.int64) * 1000, x, y, events["p"].astype(np.uint8))


class Evt3Decoder:
    """Decodes the packets of one camera, in their order; keeps the state between packets.

    Words that build on a state not yet known (a stream joined in its middle) give no events, nor do
    columns and rows outside the sensor, where its size is given (the last vector of a row may reach
    past its end).
    """

    def __init__(self, width: int = 2048, height: int = 2048) -> None:
        self._width, self._height = width, height
        self._row = self._base = _UNKNOWN
        self._polarity = 0
        self._high = self._low = _UNKNOWN

    def decode(self, data: Any) -> Events:
        """The events of one packet.

        ``data`` is anything with a buffer of bytes, little-endian words as the format has them; an
        odd last byte, of a packet cut off, is ignored.
        """
        raw = np.frombuffer(data, np.uint8)
        words = raw[: len(raw) & ~1].view("<u2")
        kind, payload = words >> 12, (words & 0xFFF).astype(np.int64)

        row = self._rows(kind, payload)
        base, polarity = self._vectors(kind, payload)
        t = self._times(kind, payload)

        single = kind == _COLUMN
        bits = _vector_bits(kind, payload)
        count = np.where(single, 1, _BIT_COUNTS[bits])
        source = np.repeat(np.arange(len(words)), count)
        x = (payload & 0x7FF)[source]
        p = (payload >> 11)[source]
        of_vector = ~single[source]
        in_vector = np.flatnonzero(bits)
        word, bit = np.nonzero((bits[in_vector, None] >> np.arange(12)) & 1)
        x[of_vector] = base[in_vector[word]] + bit
        p[of_vector] = polarity[in_vector[word]]
        x_known = ~of_vector | (base[source] >= 0)
        y, t = row[source], t[source]
        kept = x_known & (x < self._width) & (y >= 0) & (y < self._height) & (t >= 0)
        x, y = x[kept].astype(np.uint16), y[kept].astype(np.uint16)
        return Events(t[kept] * 1000, x, y, p[kept].astype(np.uint8))

    def _rows(self, kind: np.ndarray, payload: np.ndarray) -> np.ndarray:
        """The row that holds at each word."""
        row = _held(kind == _ROW, payload & 0x7FF, self._row)
        self._row = _last(row, self._row)
        return row

    def _vectors(self, kind: np.ndarray, payload: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Column at which each word's vector starts, and its polarity."""
        is_base = kind == _VECTOR_BASE
        length = np.where(kind == _VECTOR_12, 12, np.where(kind == _VECTOR_8, 8, 0))
        before = np.cumsum(length) - length
        start = _held(is_base, payload & 0x7FF, self._base)
        since = before - _held(is_base, before, 0)
        base = np.where(start >= 0, start + since, _UNKNOWN)
        polarity = _held(is_base, payload >> 11, self._polarity)
        if len(kind):
            self._base = int(base[-1] + length[-1]) if base[-1] >= 0 else _UNKNOWN
            self._polarity = int(polarity[-1])
        return base, polarity

    def _times(self, kind: np.ndarray, payload: np.ndarray) -> np.ndarray:
        """Time at each word, microseconds; negative while it is not known."""
        is_high, is_low = kind == _TIME_HIGH, kind == _TIME_LOW
        high = payload[is_high]
        if self._high == _UNKNOWN:
            previous = high[:1]
        else:
            previous = np.array([self._high])
        # The 12 bits start anew at 4096: a fall by more than half of that is such a wrap. A small
        # step back is none, whatever sent it.
        steps = np.diff(high, prepend=previous % 4096) if len(high) else high
        steps = (steps + 2048) % 4096 - 2048
        unwrapped = np.cumsum(steps) + (previous if len(previous) else 0)
        values = np.zeros(len(kind), np.int64)
        values[is_high] = unwrapped
        held_high = _held(is_high, values, self._high)
        low = _held(is_low, payload, self._low)
        self._high, self._low = _last(held_high, self._high), _last(low, self._low)
        return np.where((held_high >= 0) & (low >= 0), (held_high << 12) + low, _UNKNOWN)


_BIT_COUNTS = np.array([bin(v).count("1") for v in range(1 << 12)], np.int64)


def _vector_bits(kind: np.ndarray, payload: np.ndarray) -> np.ndarray:
    """The valid bits of each vector word, 0 for other words."""
    bits = np.where(kind == _VECTOR_12, payload, 0)
    return np.where(kind == _VECTOR_8, payload & 0xFF, bits)


def _held(new: np.ndarray, values: np.ndarray, before: int) -> np.ndarray:
    """At each word the latest of ``values`` where ``new``, ``before`` the first of them."""
    latest = np.maximum.accumulate(np.where(new, np.arange(len(new)), -1))
    return np.where(latest >= 0, values[latest], before)


def _last(values: np.ndarray, before: int) -> int:
    return int(values[-1]) if len(values) else before
