"""EventPacket messages to events on the clock of the message headers."""

from __future__ import annotations

from typing import Any

import numpy as np

from memorysam_core.frames.evt3 import Decoder, evt3_decoder
from memorysam_core.frames.readings import EventsReading
from memorysam_ros.conversions.errors import ConversionError
from memorysam_ros.conversions.headers import frame_id, stamp_ns

_ENCODINGS = ("evt3", "mono", "libcaer")
_LIBCAER_WRAP_US = 1 << 31

Columns = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Time (int64, ns), x, y (uint16) and polarity (uint8) of events, each ``(N,)``."""


class EventStream:
    """Decodes the packets of one topic, which must come in order: evt3 goes on where it was.

    Events carry the time at which they arrived: the header's stamp, that of the packet's first
    data, plus the time that the sensor says has passed since. A sensor's own clock drifts and
    wraps, and is of no use beside a camera.
    """

    def __init__(self) -> None:
        self._evt3: Decoder | None = None
        self._size = (0, 0)
        self._next_seq: int | None = None
        self.lost_packets = 0
        """Packets that the sequence numbers say were lost on the way."""

    def restart(self) -> None:
        """Packets were left out on purpose: the next one begins anew, and none counts as lost."""
        self._evt3 = None
        self._next_seq = None

    def decode(self, message: Any, begin_ns: int | None = None) -> EventsReading:
        """The events of a packet, in the order in which the sensor sent them.

        ``begin_ns`` is the time of its first data, where that is not the header's stamp. Raises
        ConversionError for an unknown encoding or a packet of broken length.
        """
        encoding, data = str(message.encoding), np.frombuffer(message.events, np.uint8)
        word = 2 if encoding == "evt3" else 8
        if encoding not in _ENCODINGS or len(data) % word or not message.width * message.height:
            raise ConversionError(
                f"event packet in frame {frame_id(message)!r} has encoding {encoding!r}, "
                f"{message.width} x {message.height} and {len(data)} bytes; accepted are "
                f"{', '.join(_ENCODINGS)} in whole words of {word} bytes: "
                "set the driver to evt3, or publish rendered events as an Image"
            )
        self._follow(int(message.seq))
        if encoding == "evt3":
            t_ns, x, y, p = self._evt3_events(message, data)
        else:
            t_ns, x, y, p = _MONO_OR_LIBCAER[encoding](data.view("<u8"))
        inside = (x < message.width) & (y < message.height)
        begin_ns = stamp_ns(message) if begin_ns is None else begin_ns
        shift_ns = begin_ns - int(t_ns[0]) if len(t_ns) else 0
        return EventsReading(
            t_ns=(t_ns + shift_ns)[inside],
            x=x[inside],
            y=y[inside],
            p=p[inside],
            width=int(message.width),
            height=int(message.height),
        )

    def _follow(self, seq: int) -> None:
        missing = 0 if self._next_seq is None else seq - self._next_seq
        if missing:
            # The words that were lost may have held the row and the high bits of the time.
            self._evt3 = None
        self.lost_packets += max(0, missing)
        self._next_seq = seq + 1

    def _evt3_events(self, message: Any, data: np.ndarray) -> Columns:
        size = int(message.width), int(message.height)
        if self._evt3 is None or self._size != size:
            self._evt3, self._size = evt3_decoder(*size), size
        events = self._evt3.decode(data)
        return events.t_ns, events.x, events.y, events.p


def _mono(words: np.ndarray) -> Columns:
    """32 bits of nanoseconds since ``time_base``, 16 of x, 15 of y, one of polarity."""
    t_ns = (words & 0xFFFFFFFF).astype(np.int64)
    x, y = ((words >> s).astype(np.uint16) for s in (32, 48))
    return t_ns, x, y & 0x7FFF, (words >> 63).astype(np.uint8)


def _libcaer(words: np.ndarray) -> Columns:
    """1 bit validity, 1 polarity, 15 y, 15 x, then 31 bits of microseconds that wrap."""
    micros = (words >> 32).astype(np.int64)
    wraps = np.cumsum(np.diff(micros, prepend=micros[:1]) < 0)
    x, y = (((words >> s) & 0x7FFF).astype(np.uint16) for s in (17, 2))
    t_ns = (micros + wraps * _LIBCAER_WRAP_US) * 1000
    return t_ns, x, y, ((words >> 1) & 1).astype(np.uint8)


_MONO_OR_LIBCAER = {"mono": _mono, "libcaer": _libcaer}
