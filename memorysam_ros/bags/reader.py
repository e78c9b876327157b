"""Reads rosbag2 recordings as they are found in the field.

sqlite3 or mcap, one file or split, compressed by file, by message or by chunk. ``metadata.yaml``
may be missing or wrong, the last file cut off, and messages of types that nobody knows may lie
between those that are wanted.
"""

from __future__ import annotations

import errno
import tempfile
from collections import deque
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from heapq import heappop, heappush, heapreplace
from pathlib import Path
from typing import Any

from memorysam_ros.bags.files import listed_files, storage_files, unpack_message, unpacked
from memorysam_ros.bags.storages import Message, Storage, Topic, open_storage
from memorysam_ros.bags.types import typestore


class BagError(ValueError):
    """A bag of which nothing can be read."""


@dataclass(frozen=True)
class RawMessage:
    """A message as it was recorded."""

    topic: str
    msgtype: str
    time_ns: int
    """When it was recorded."""
    data: bytes
    """CDR."""


class Bag:
    """A recording, to be used as a context; or several of the same time, read as one."""

    def __init__(self, path: str | Path, *beside: str | Path) -> None:
        """Raises FileNotFoundError, or BagError where a path holds no storage file."""
        self.path = Path(path)
        self._paths = [self.path, *map(Path, beside)]
        self._files = [file for part in self._paths for file in _files_of(part)]
        self.warnings: list[str] = []
        """What was found wrong, in words."""
        self.topics: dict[str, Topic] = {}
        """By name, once open."""
        self._storages: list[Storage] = []
        self._plain: dict[Path, Path] = {}
        """Files that are compressed as a whole, and where they are unpacked to."""
        self._stack = ExitStack()

    def __enter__(self) -> Bag:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bag-")))
            for number, file in enumerate(self._files):
                own = folder / str(number)  # files of different bags may have one name
                own.mkdir()
                self._open(file, own, stack)
            self._stack = stack.pop_all()
        if not self._storages:
            self._stack.close()
            raise BagError(f"no file of {self.path} can be read: {'; '.join(self.warnings)}")
        self._storages.sort(key=lambda storage: storage.start_ns)
        self._collect_topics()
        present = {file.name for file in self._files} | {
            file.name.removesuffix(".zstd") for file in self._files
        }
        for name in (name for path in self._paths for name in listed_files(path)):
            if name not in present:
                self.warnings.append(f"{name} is listed in metadata.yaml, but missing")
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        self._storages.clear()

    def again(self) -> Bag:
        """The same recording, to be read beside this and not after it is closed."""
        other = Bag(*self._paths)
        other._plain.update(self._plain)
        return other

    @property
    def start_ns(self) -> int:
        """When the first message was recorded; 0 where there is none."""
        return min((s.start_ns for s in self._storages if s.end_ns), default=0)

    @property
    def end_ns(self) -> int:
        """When the last message was recorded; 0 where there is none."""
        return max((s.end_ns for s in self._storages), default=0)

    @property
    def seconds(self) -> float:
        """How long the recording is."""
        return (self.end_ns - self.start_ns) / 1e9

    @property
    def count(self) -> int:
        """Number of messages."""
        return sum(topic.count for topic in self.topics.values())

    def messages(
        self,
        topics: Collection[str] | None = None,
        start_ns: int | None = None,
        stop_ns: int | None = None,
    ) -> Iterator[RawMessage]:
        """Messages of the given topics (all), recorded from ``start_ns`` to before ``stop_ns``.

        In the order in which they were recorded, also where files overlap in time.
        """
        wanted = set(self.topics if topics is None else topics)
        waiting = deque(self._storages)  # a file is opened when its time has come
        heads: list[tuple[int, int, Message, Iterator[Message]]] = []
        while waiting or heads:
            while waiting and (not heads or waiting[0].start_ns <= heads[0][0]):
                rest = self._readable(waiting.popleft(), wanted, start_ns, stop_ns)
                if (head := next(rest, None)) is not None:
                    number = len(self._storages) - len(waiting)
                    heappush(heads, (head[2], number, head, rest))
            if not heads:
                continue
            _, number, (topic, msgtype, time_ns, data), rest = heads[0]
            if self.topics[topic].msgtype == msgtype:
                yield RawMessage(topic, msgtype, time_ns, unpack_message(data))
            if (head := next(rest, None)) is not None:
                heapreplace(heads, (head[2], number, head, rest))
            else:
                heappop(heads)

    def deserialise(self, raw: RawMessage) -> Any:
        """The message, for :mod:`memorysam_ros.conversions`.

        Raises BagError where its type is not known or its bytes are not of that type.
        """
        if raw.msgtype not in typestore().types:
            raise BagError(f"{raw.topic} is of the unknown type {raw.msgtype}")
        try:
            return typestore().deserialize_cdr(raw.data, raw.msgtype)
        except Exception as error:  # whatever random bytes make the decoder do
            raise BagError(
                f"a message of {raw.topic} at {raw.time_ns} ns, {len(raw.data)} bytes, is no "
                f"{raw.msgtype}: {error}"
            ) from error

    def _open(self, file: Path, folder: Path, stack: ExitStack) -> None:
        try:
            plain = self._plain.get(file) or unpacked(file, folder)
            storage = open_storage(plain, stack)
        except Exception as error:  # a damaged file must not cost the others
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise OSError(
                    error.errno,
                    f"no space to unpack {file.name} in {folder.parent.parent}; let TMPDIR name a "
                    "folder on a larger disk",
                ) from error
            self.warnings.append(f"{file.name} cannot be read ({error})")
            return
        if plain != file:
            self._plain[file] = plain
        if storage.defect:
            self.warnings.append(f"{file.name} {storage.defect}")
        self._storages.append(storage)

    def _readable(
        self, storage: Storage, topics: set[str], start_ns: int | None, stop_ns: int | None
    ) -> Iterator[Message]:
        """The messages of a file until the first that a damage makes unreadable."""
        last_ns = storage.start_ns
        try:
            for message in storage.messages(topics, start_ns, stop_ns):
                last_ns = message[2]
                yield message
        except Exception as error:  # what a damaged file makes of its reader has no common class
            warning = (
                f"{storage.name} is damaged, and was read to {(last_ns - self.start_ns) / 1e9:.3f} "
                f"s only ({' '.join(str(error).split()) or type(error).__name__})"
            )
            if warning not in self.warnings:
                self.warnings.append(warning)

    def _collect_topics(self) -> None:
        self.topics.clear()
        for storage in self._storages:
            for topic in storage.topics:
                known = self.topics.get(topic.name)
                if known is None:
                    self.topics[topic.name] = topic
                elif known.msgtype == topic.msgtype:
                    self.topics[topic.name] = Topic(
                        known.name,
                        known.msgtype,
                        known.count + topic.count,
                        known.qos or topic.qos,
                    )
                else:
                    self.warnings.append(
                        f"{topic.name} is both {known.msgtype} and {topic.msgtype}; took the former"
                    )


def _files_of(path: Path) -> list[Path]:
    if not path.exists():
        raise FileNotFoundError(f"there is no bag {path}")
    files = storage_files(path)
    if not files:
        is_ros1 = path.suffix == ".bag" or (path.is_dir() and any(path.glob("*.bag")))
        raise BagError(
            f"{path} is no ROS 2 bag: it holds no .mcap or .db3 file"
            + ("; convert a ROS 1 bag first: rosbags-convert" if is_ros1 else "")
        )
    return files
