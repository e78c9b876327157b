"""The storage files of a bag, found without trusting its ``metadata.yaml``.

Recorders that crashed leave none, some write an empty storage identifier into it, and copies of
single files have lost it. The files say themselves what they are.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

try:
    from compression import zstd  # type: ignore[import-not-found]  # Python 3.14
except ImportError:
    from backports import zstd

STORAGES = (".mcap", ".db3")
PACKED = ".zstd"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


def storage_files(path: Path) -> list[Path]:
    """The storage files of a bag given by its folder, by one file, or by its metadata.yaml.

    In the order of their numbers. A file that lies beside its compressed form, where rosbag2
    unpacks it when it plays, counts once.
    """
    if path.name == "metadata.yaml":
        path = path.parent
    if path.is_file():
        return [path] if _is_storage(path) else []
    found = [file for file in path.iterdir() if file.is_file() and _is_storage(file)]
    names = {file.name for file in found}
    once = [file for file in found if file.name.removesuffix(PACKED) not in names - {file.name}]
    return sorted(once, key=_natural)


def listed_files(path: Path) -> list[str]:
    """The names of the files that ``metadata.yaml`` speaks of; none where it cannot be read."""
    import yaml

    try:
        content = yaml.safe_load((path / "metadata.yaml").read_text(encoding="utf-8"))
        return [Path(n).name for n in content["rosbag2_bagfile_information"]["relative_file_paths"]]
    except (OSError, yaml.YAMLError, TypeError, KeyError, ValueError):
        return []


def unpacked(file: Path, folder: Path) -> Path:
    """The file itself, or, where it is compressed as a whole, what it unpacks to in ``folder``."""
    if file.suffix != PACKED:
        return file
    plain = folder / file.stem
    with zstd.open(file, "rb") as packed, plain.open("wb") as target:
        shutil.copyfileobj(packed, target, 1 << 20)
    return plain


def unpack_message(data: bytes) -> bytes:
    """A message as CDR, whether or not the bag compresses each message.

    CDR begins with one of four codes, none of which looks like zstd's.
    """
    return zstd.decompress(data) if data[:4] == ZSTD_MAGIC else data


def _is_storage(file: Path) -> bool:
    return Path(file.name.removesuffix(PACKED)).suffix in STORAGES


def _natural(file: Path) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", file.name)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]
