"""Fast DDS, set up so that it does not lose large messages."""

from __future__ import annotations

import os

from memorysam_ros.shared_files import shared_file

CHOICES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
"""What Fast DDS 3 (Kilted and newer) reads, and what Fast DDS 2 does."""
_PROFILE = "config/fastdds.xml"


def use_profile() -> str:
    """Names our profile to Fast DDS unless the user has chosen one; the file in use, or ``""``.

    Its default shared memory of 512 KB loses most best-effort images of 1024 x 1024. Must be called
    before rclpy is initialised. The publishers need the profile as well.
    """
    for choice in CHOICES:
        if os.environ.get(choice):
            return os.environ[choice]
    if "fastrtps" not in os.environ.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp"):
        return ""
    path = str(shared_file(_PROFILE))
    os.environ.update(dict.fromkeys(CHOICES, path))
    return path
