"""Where our own launch and configuration files are, in every way of installing the package."""

from __future__ import annotations

import sys
from pathlib import Path

PACKAGE = "memorysam_ros"


def shared_file(name: str) -> Path:
    """A file such as ``config/segment.yaml``.

    Looked for in the source tree, then in ``share/memorysam_ros`` of the ROS prefixes and of the
    Python environment. Raises FileNotFoundError, listing the places.
    """
    places = [folder / name for folder in _folders()]
    for place in places:
        if place.is_file():
            return place
    raise FileNotFoundError(
        f"{name} of {PACKAGE} is in none of {', '.join(map(str, places))}; install the package anew"
    )


def _folders() -> list[Path]:
    folders = []
    source = Path(__file__).resolve().parent.parent
    if (source / "package.xml").is_file():  # not a folder of installed packages
        folders.append(source)
    try:
        from ament_index_python.packages import get_package_share_directory

        folders.append(Path(get_package_share_directory(PACKAGE)))
    except (ImportError, LookupError, OSError):  # no ROS, or AMENT_PREFIX_PATH is not set
        pass
    # A package in <prefix>/lib/pythonX.Y/site-packages has its data files in <prefix>/share.
    prefixes = [Path(sys.prefix), *Path(__file__).resolve().parents[3:5]]
    return [*folders, *(prefix / "share" / PACKAGE for prefix in prefixes)]
