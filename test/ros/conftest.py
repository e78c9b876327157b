"""Packages of the distribution, made here where it is not installed."""

from __future__ import annotations

from pathlib import Path

import message_packages
import pytest


@pytest.fixture(scope="session")
def distribution(tmp_path_factory) -> list[str]:
    """Folders for PYTHONPATH: messages that PyPI lacks, and a small tf2. Empty where ROS is."""
    folders = []
    if message_packages.missing():
        if why_not := message_packages.why_not():
            pytest.skip(f"{', '.join(message_packages.missing())} cannot be made: {why_not}")
        folders.append(str(message_packages.make(tmp_path_factory.mktemp("packages"))))
    if not message_packages.installed("tf2_ros"):
        folders.append(str(Path(__file__).with_name("tf2_standin")))
    return folders
