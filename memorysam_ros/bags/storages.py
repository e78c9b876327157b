"""The files that a bag consists of, each as its topics and its messages in order of time."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from rosbags.interfaces import Qos
from rosbags.rosbag2 import Reader

from memorysam_ros.bags import mcap_scan


@dataclass(frozen=True)
class Topic:
    """What a bag says of a topic."""

    name: str
    msgtype: str
    count: int
    qos: tuple[Qos, ...] = field(default=(), repr=False)
    """What its publishers offered, where the bag says so."""


Message = tuple[str, str, int, bytes]
"""Topic, type, time and bytes."""


class Storage(Protocol):
    """One file of a bag."""

    name: str
    defect: str
    """What is wrong with it as a whole; empty if nothing is."""
    topics: list[Topic]
    start_ns: int
    end_ns: int

    def messages(
        self, topics: set[str], start_ns: int | None, stop_ns: int | None
    ) -> Iterator[Message]:
        """In order of time."""
        ...


def open_storage(file: Path, stack: ExitStack) -> Storage:
    """A file, by its index or without; the stack closes it. Raises whatever its damage makes of
    rosbags.
    """
    try:
        reader = stack.enter_context(Reader(file))
    except Exception as error:  # of definitions of messages that it does not know, a KeyError
        if file.suffix != ".mcap":
            if isinstance(error, KeyError):
                return _Table(file, stack)
            raise
        try:
            return _Scanned(mcap_scan.scan(file))
        except ValueError:
            raise error from None
    indexed = _Indexed(file.name, reader)
    if file.suffix == ".mcap" and not getattr(reader.storage, "chunks", True):
        # rosbags wants messages outside of chunks to be in the order of their time.
        return _Scanned(mcap_scan.scan(file), indexed.topics)
    return indexed


class _Indexed:
    """A file that rosbags can read."""

    defect = ""

    def __init__(self, name: str, reader: Reader) -> None:
        self.name = name
        self._reader = reader
        self.start_ns = reader.start_time
        self.end_ns = reader.end_time - 1 if reader.message_count else 0
        self.topics = []
        for connection in reader.connections:
            qos = tuple(connection.ext.offered_qos_profiles)  # type: ignore[union-attr]
            self.topics.append(
                Topic(connection.topic, connection.msgtype, connection.msgcount, qos)
            )

    def messages(
        self, topics: set[str], start_ns: int | None, stop_ns: int | None
    ) -> Iterator[Message]:
        chosen = [c for c in self._reader.connections if c.topic in topics]
        if not chosen:
            return
        for connection, time_ns, data in self._reader.messages(chosen, start_ns, stop_ns):
            yield connection.topic, connection.msgtype, time_ns, data


class _Scanned:
    """An mcap whose index is not used: it has none, or none that helps."""

    def __init__(self, scanned: mcap_scan.Scan, topics: Sequence[Topic] = ()) -> None:
        """``topics`` are those that the file names, unless they are known better."""
        self.name = scanned.path.name
        self._scan = scanned
        self.start_ns, self.end_ns = scanned.start_ns, scanned.end_ns
        self.defect, size = "", scanned.path.stat().st_size
        if scanned.whole_bytes < size:
            read = f"its first {scanned.whole_bytes} of {size} bytes"
            count = sum(scanned.counts.values())
            self.defect = f"is cut off or has no index: read {read}, {count} messages"
        self.topics = list(topics) or [
            Topic(channel.topic, channel.msgtype, scanned.counts.get(number, 0))
            for number, channel in scanned.channels.items()
        ]

    def messages(
        self, topics: set[str], start_ns: int | None, stop_ns: int | None
    ) -> Iterator[Message]:
        for number, time_ns, data in self._scan.messages():
            channel = self._scan.channels.get(number)
            if (
                channel is not None
                and channel.topic in topics
                and _within(time_ns, start_ns, stop_ns)
            ):
                yield channel.topic, channel.msgtype, time_ns, data


class _Table:
    """A database with definitions of messages that rosbags does not know; none is needed."""

    defect = ""

    def __init__(self, file: Path, stack: ExitStack) -> None:
        self.name = file.name
        self._base = sqlite3.connect(f"{file.absolute().as_uri()}?immutable=1", uri=True)
        stack.callback(self._base.close)
        rows = self._base.execute(
            "SELECT topics.id, name, type, count(messages.id) FROM topics "
            "LEFT JOIN messages ON topics.id = messages.topic_id GROUP BY topics.id"
        ).fetchall()
        self._ids = {number: (name, msgtype) for number, name, msgtype, _ in rows}
        self.topics = [Topic(name, msgtype, count) for _, name, msgtype, count in rows]
        first, last = self._base.execute(
            "SELECT min(timestamp), max(timestamp) FROM messages"
        ).fetchone()
        self.start_ns, self.end_ns = (1 << 63, 0) if first is None else (first, last)

    def messages(
        self, topics: set[str], start_ns: int | None, stop_ns: int | None
    ) -> Iterator[Message]:
        query = "SELECT topic_id, timestamp, data FROM messages ORDER BY timestamp"
        for number, time_ns, data in self._base.execute(query):
            topic, msgtype = self._ids[number]
            if topic in topics and _within(time_ns, start_ns, stop_ns):
                yield topic, msgtype, time_ns, data


def _within(time_ns: int, start_ns: int | None, stop_ns: int | None) -> bool:
    return (start_ns is None or start_ns <= time_ns) and (stop_ns is None or time_ns < stop_ns)
