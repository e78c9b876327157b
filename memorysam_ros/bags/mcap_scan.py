"""Reads an mcap from its beginning, as far as it is whole.

A recorder that was killed, or a copy that was cut off, leaves an mcap without its index and with
half a record at the end. Format: https://mcap.dev/spec
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from memorysam_ros.bags.files import zstd

MAGIC = b"\x89MCAP0\r\n"
_RECORD = struct.Struct("<BQ")  # opcode, length of what follows
_MESSAGE = struct.Struct("<HIQQ")  # channel, sequence, log time, publish time
_CHUNK = struct.Struct("<QQQI")  # first and last log time, size when unpacked, checksum
_SCHEMA, _CHANNEL, _MESSAGE_CODE, _CHUNK_CODE = 3, 4, 5, 6


@dataclass(frozen=True)
class Channel:
    """A topic, its type and the type's definition."""

    topic: str
    msgtype: str
    encoding: str
    definition: str


@dataclass
class Scan:
    """What the whole part of the file holds."""

    path: Path
    channels: dict[int, Channel]
    counts: dict[int, int]
    start_ns: int
    end_ns: int
    whole_bytes: int
    """Length of the part that could be read."""
    places: list[tuple[int, int]]
    """Time and place of each message where there are no chunks; they may be in any order there."""

    def messages(self) -> Iterator[tuple[int, int, bytes]]:
        """Channel, time and CDR bytes of each message.

        In order of time; of a file that has chunks, within each chunk.
        """
        with self.path.open("rb") as file:
            for _, place in sorted(self.places):
                file.seek(place)
                _, length = _RECORD.unpack(file.read(_RECORD.size))
                yield _message(file.read(length))
            if self.places:
                return
            for _, block in _blocks(file, self.whole_bytes):
                found = [_message(body) for code, body in block if code == _MESSAGE_CODE]
                yield from sorted(found, key=lambda item: item[1])


def scan(path: Path) -> Scan:
    """Reads the file once to see what is in it. Raises ValueError where it is no mcap at all."""
    result = Scan(path, {}, {}, 1 << 63, 0, 0, [])
    schemas: dict[int, tuple[str, str, str]] = {}
    chunked = False
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise ValueError(f"{path} is no mcap: it does not begin with the mark of the format")
        for place, block in _blocks(file, None):
            chunked = chunked or place is None
            for code, body in block:
                if code == _SCHEMA:
                    number, name, encoding, text = _unpack(body, "Hsss")
                    schemas[number] = name, encoding, text
                elif code == _CHANNEL:
                    number, schema, topic, _ = _unpack(body, "HHss")
                    name, encoding, text = schemas.get(schema, ("", "", ""))
                    result.channels[number] = Channel(topic, name, encoding, text)
                elif code == _MESSAGE_CODE:
                    number, time_ns, _ = _message(body)
                    result.counts[number] = result.counts.get(number, 0) + 1
                    result.start_ns = min(result.start_ns, time_ns)
                    result.end_ns = max(result.end_ns, time_ns)
                    if place is not None:
                        result.places.append((time_ns, place))
            result.whole_bytes = file.tell()
        file.seek(result.whole_bytes)
        if file.read(len(MAGIC) + 1) == MAGIC:  # it ends as it should
            result.whole_bytes += len(MAGIC)
    if chunked:
        result.places.clear()
    return result


def _blocks(
    file: BinaryIO, end: int | None
) -> Iterator[tuple[int | None, list[tuple[int, bytes]]]]:
    """Records that belong together: those of a chunk, or one alone with its place; until the first
    broken one.
    """
    file.seek(len(MAGIC))
    size = file.seek(0, io.SEEK_END) if end is None else end
    file.seek(len(MAGIC))
    while (place := file.tell()) + _RECORD.size <= size:
        code, length = _RECORD.unpack(file.read(_RECORD.size))
        if file.tell() + length > size:
            return
        body = file.read(length)
        if code != _CHUNK_CODE:
            yield place, [(code, body)]
            continue
        try:
            records = list(_records(_unpacked_chunk(body)))
        except (ValueError, RuntimeError, struct.error, zstd.ZstdError):
            return
        yield None, records


def _records(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        code, length = _RECORD.unpack_from(data, at)
        at += _RECORD.size
        yield code, data[at : at + length]
        at += length


def _unpacked_chunk(body: bytes) -> bytes:
    _, _, size, checksum = _CHUNK.unpack_from(body)
    compression, rest = _text(body, _CHUNK.size)
    packed = body[rest + 8 :]
    if compression == "zstd":
        data = zstd.decompress(packed)
    elif compression == "lz4":
        import lz4.frame

        data = lz4.frame.decompress(packed)
    else:
        data = packed
    if len(data) != size or (checksum and zlib.crc32(data) != checksum):
        raise ValueError("a chunk is damaged")
    return data


def _message(body: bytes) -> tuple[int, int, bytes]:
    channel, _, time_ns, _ = _MESSAGE.unpack_from(body)
    return channel, time_ns, body[_MESSAGE.size :]


def _unpack(body: bytes, layout: str) -> list:
    """The fields at the beginning of a record: H is uint16, s a string."""
    values: list = []
    at = 0
    for kind in layout:
        if kind == "H":
            values.append(struct.unpack_from("<H", body, at)[0])
            at += 2
        else:
            text, at = _text(body, at)
            values.append(text)
    return values


def _text(body: bytes, at: int) -> tuple[str, int]:
    (length,) = struct.unpack_from("<I", body, at)
    at += 4
    return body[at : at + length].decode("utf-8", "replace"), at + length
