"""What a measurement was made on: without it, a figure says nothing."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

from memorysam_core.engines import processor

PACKAGES = ("memorysam_ros", "torch", "sam2", "numpy", "peft", "onnxruntime", "open3d-cpu", "rclpy")


def record(device: str) -> dict:
    """Machine, date (UTC), commit and versions, as plain values for a JSON file."""
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": {
            "processor": processor.name(),
            "cores": len(os.sched_getaffinity(0)),
            "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
            "system": platform.platform(),
            "device": device,
            "device_name": _device_name(device),
        },
        "versions": {"python": platform.python_version(), **_versions()},
    }


def commit() -> str:
    """The source's Git commit, with `+` where files differ from it; empty outside a checkout."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return ""
    try:
        head = _git(root, "rev-parse", "--short=12", "HEAD")
        return head + ("+" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def _git(root: Path, *words: str) -> str:
    command = ["git", "-C", str(root), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _device_name(device: str) -> str:
    if not device.startswith("cuda"):
        return processor.name()
    import torch

    return torch.cuda.get_device_name(device)
