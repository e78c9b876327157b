"""Encoding of events as EVT3, as Prophesee's cameras send them and ``EventPacket`` carries them.

Words of 16 bits, of which the upper 4 say what the rest is: here the row (0), the column with its
polarity (2), and the low (6) and high (8) 12 bits of the time in microseconds. Each event is
preceded by those of the other words that changed since the one before; a packet repeats all.

Format: https://docs.prophesee.ai/stable/data/encoding_formats/evt3.html
"""

from __future__ import annotations

import numpy as np

MOST_PIXELS = 2048
"""Columns, and rows, that a word has room for."""
_ROW, _COLUMN, _TIME_LOW, _TIME_HIGH = 0x0000, 0x2000, 0x6000, 0x8000


def encode(t_us: np.ndarray, x: np.ndarray, y: np.ndarray, p: np.ndarray) -> np.ndarray:
    """One packet: uint8 bytes of little-endian words.

    ``t_us`` is sensor time, int64, not falling; it wraps every 2^24 microseconds in the packet.
    Columns and rows are below 2048. Raises ValueError where time falls or a place does not fit.
    """
    t_us, x, y = (np.asarray(values, np.int64) for values in (t_us, x, y))
    if not len(t_us):
        return np.zeros(0, np.uint8)
    if (np.diff(t_us) < 0).any():
        raise ValueError("events are out of order; sort them by time before encoding")
    if max(x.max(), y.max()) >= MOST_PIXELS or min(x.min(), y.min()) < 0:
        raise ValueError("EVT3 holds columns and rows from 0 to 2047; an event lies outside")
    high, low = (t_us >> 12) & 0xFFF, t_us & 0xFFF
    columns = [
        (_TIME_HIGH | high, _changes(t_us >> 12)),
        (_TIME_LOW | low, _changes(t_us)),
        (_ROW | y, _changes(y)),
        (_COLUMN | (np.asarray(p, np.int64) > 0) << 11 | x, np.ones(len(x), bool)),
    ]
    words = np.stack([word for word, _ in columns], 1)
    needed = np.stack([need for _, need in columns], 1)
    return words[needed].astype("<u2").view(np.uint8)


def _changes(values: np.ndarray) -> np.ndarray:
    changed = np.ones(len(values), bool)
    changed[1:] = values[1:] != values[:-1]
    return changed
