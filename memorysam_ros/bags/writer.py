"""Writes a bag that appears under its name only when it is whole."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from rosbags.interfaces import (
    Connection,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from memorysam_ros.bags.types import typestore
from memorysam_ros.conversions import Outputs, bag_messages

Storage = Literal["mcap", "sqlite3"]
_VERSION: Literal[8] = (
    8  # the newest that Humble's rosbag2 reads, too: later ones write QoS as a mapping
)
_OF_SUFFIX: dict[str, Storage] = {".mcap": "mcap", ".db3": "sqlite3"}
_FOREVER = QosTime(9223372036, 854775807)


class BagWriter:
    """A new bag, to be used as a context: a folder, or one file if its name says so.

    It is written beside its final place and moved there at the end; where the block is left by an
    exception, nothing remains, unless it is to be kept.
    """

    def __init__(
        self,
        path: str | Path,
        storage: Storage | None = None,
        compress: bool = False,
        keep: bool = False,
    ) -> None:
        """``storage`` is by default what the path ends in (``.mcap``, ``.db3``), else mcap.

        With ``keep``, what was written until an exception stays under another name (:attr:`kept`):
        for what cannot be made again. Chunks of an mcap are compressed by zstd with ``compress``;
        sqlite3 cannot do that. Raises ValueError for an unknown storage, FileExistsError where the
        path is taken.
        """
        self.path = Path(path)
        self._file_suffix = self.path.suffix if self.path.suffix in _OF_SUFFIX else ""
        storage = storage or _OF_SUFFIX.get(self._file_suffix, "mcap")
        if storage not in ("mcap", "sqlite3"):
            raise ValueError(f"storage is {storage!r}; accepted are mcap and sqlite3")
        if compress and storage != "mcap":
            raise ValueError(f"storage {storage} has no compression of its own; choose mcap")
        _refuse_existing(self.path)
        self.messages = Outputs(bag_messages(typestore()))
        """Makes messages for :meth:`write`."""
        self.counts: dict[str, int] = {}
        """Messages written, by topic."""
        self.kept: Path | None = None
        """The unfinished bag that an exception left behind."""
        self._storage, self._compress, self._keep = storage, compress, keep
        self._connections: dict[str, Connection] = {}

    def __enter__(self) -> BagWriter:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        name = self.path.name.removesuffix(self._file_suffix)
        self._folder = Path(tempfile.mkdtemp(prefix=f".{self.path.name}.", dir=self.path.parent))
        try:
            self._open(name)
        except BaseException:  # an interrupt too, which may come at any time
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        return self

    def _open(self, name: str) -> None:
        plugin = {"mcap": StoragePlugin.MCAP, "sqlite3": StoragePlugin.SQLITE3}[self._storage]
        # The files inside are named after the folder, hence a folder of the final name.
        self._written = self._folder / name
        self._writer = Writer(self._written, version=_VERSION, storage_plugin=plugin)
        if self._compress:
            self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        self._writer.open()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        file = self._written / (self._written.name + self._file_suffix)
        made = file if self._file_suffix else self._written
        try:
            if kind is not None and self._keep:
                with suppress(Exception):  # as far as that goes, on a disk that is full
                    self._writer.__exit__(None, None, None)
            else:
                self._writer.__exit__(kind, error, trace)
            if kind is None:
                _refuse_existing(self.path)
                made.rename(self.path)
        finally:
            if self._keep and self.counts and made.exists():  # it was not moved
                self.kept = _unfinished_name(self.path, self._file_suffix)
                made.rename(self.kept)
            shutil.rmtree(self._folder, ignore_errors=True)

    def write(self, topic: str, message: Any, time_ns: int, latched: bool = False) -> None:
        """Adds a message of rosbags (see :attr:`messages`).

        A ``latched`` topic is played with transient-local durability: a late joiner gets its last
        message.
        """
        data = bytes(typestore().serialize_cdr(message, message.__msgtype__))
        padding = bytes(-len(data) % 4)  # as DDS pads it, so that a copy by way of it is the same
        self.write_raw(topic, message.__msgtype__, data + padding, time_ns, latched)

    def write_raw(
        self,
        topic: str,
        msgtype: str,
        data: bytes | memoryview,
        time_ns: int,
        latched: bool = False,
        qos: tuple[Qos, ...] = (),
    ) -> None:
        """Adds a message as CDR bytes; ``qos`` is written down for whoever plays the bag.

        Raises ValueError for a type that :func:`memorysam_ros.bags.types.typestore` does not know,
        and for a topic that holds another one.
        """
        connection = self._connections.get(topic)
        if connection is None:
            connection = self._connect(topic, msgtype, qos or _qos(latched))
        elif connection.msgtype != msgtype:
            raise ValueError(f"topic {topic} holds {connection.msgtype}, got a {msgtype}")
        self._writer.write(connection, time_ns, data)
        self.counts[topic] = self.counts.get(topic, 0) + 1

    def _connect(self, topic: str, msgtype: str, qos: tuple[Qos, ...]) -> Connection:
        if msgtype not in typestore().types:
            raise ValueError(f"topic {topic} has the type {msgtype}, whose definition is not known")
        connection = self._writer.add_connection(
            topic, msgtype, typestore=typestore(), offered_qos_profiles=qos
        )
        self._connections[topic] = connection
        return connection


def _qos(latched: bool) -> tuple[Qos, ...]:
    return (
        Qos(
            history=QosHistory.KEEP_LAST,
            depth=1 if latched else 10,
            reliability=QosReliability.RELIABLE,
            durability=QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE,
            deadline=_FOREVER,
            lifespan=_FOREVER,
            liveliness=QosLiveliness.AUTOMATIC,
            liveliness_lease_duration=_FOREVER,
            avoid_ros_namespace_conventions=False,
        ),
    )


def _unfinished_name(path: Path, suffix: str) -> Path:
    """A name beside a path that says that the bag is unfinished."""
    stem = path.name.removesuffix(suffix)
    names = (f"{stem}.unfinished{n or ''}{suffix}" for n in itertools.count())
    return next(free for name in names if not (free := path.with_name(name)).exists())


def _refuse_existing(path: Path) -> None:
    if path.exists():
        raise FileExistsError(f"{path} exists already; remove it or choose another name")
