"""`.ci/setup`: what it installs, where and in which order, seen with a pip that only notes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HAS_GPU = any(Path("/dev", name).exists() for name in ("nvidiactl", "nvhost-gpu"))

PYTHON = """#!/usr/bin/env bash
# Stands for the environment's Python: notes what pip is asked for, and lacks what $LACKS names.
if [ "$1" = -m ]; then
    echo "${*:3}" >>"$NOTES"
    for word in $REFUSES; do [[ " $* " != *"$word"* ]] || exit 1; done
    exit 0
fi
for word in $LACKS; do [[ "$2" != *"'$word'"* ]] || exit 1; done
exec "$REAL" "$@"
"""


def executable(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)


def setup(folder: Path, **variables: str) -> tuple[subprocess.CompletedProcess, list[str]]:
    """Runs the script on an environment with the stub, and returns what pip was asked for."""
    executable(folder / "venv/bin/python", PYTHON)
    notes = folder / "notes"
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "ROS_DISTRO")}
    environment = kept | {"NOTES": str(notes), "REAL": sys.executable, "LACKS": "", "REFUSES": ""}
    environment |= {"PYTHON": sys.executable, **variables}
    done = subprocess.run(
        ["bash", str(ROOT / ".ci/setup"), str(folder / "venv")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    return done, notes.read_text().splitlines() if notes.exists() else []


@pytest.mark.skipif(HAS_GPU, reason="a machine with a GPU gets PyPI's CUDA build")
def test_cpu_build_comes_first_and_anything_else_last(tmp_path: Path) -> None:
    done, asked = setup(tmp_path, LACKS="torch", REFUSES="+cpu --index-url")
    assert done.returncode == 0, done.stderr
    torch = [line for line in asked if "torch==" in line]
    assert len(torch) == 3
    assert "+cpu" in torch[0]
    assert "/cpu torch==" in torch[1]
    assert "--retries 0" in torch[1]
    assert "+cpu" not in torch[2]
    assert "--index-url" not in torch[2]


@pytest.mark.skipif(HAS_GPU, reason="a machine with a GPU gets PyPI's CUDA build")
def test_cpu_build_is_asked_for_once_where_it_is_found(tmp_path: Path) -> None:
    _, asked = setup(tmp_path, LACKS="torch sam2")
    assert [line.split()[-1].partition("==")[0] for line in asked] == [
        "pip", "wheel", "torch", "./training", "sam2",
    ]  # fmt: skip
    assert asked[-1].endswith("--no-deps --no-build-isolation sam2==1.1.0")
    assert not any("torchvision" in line for line in asked)


def test_what_is_there_is_not_installed_again(tmp_path: Path) -> None:
    _, asked = setup(tmp_path)
    assert not any("torch==" in line or "sam2==" in line for line in asked)


def test_ros_wheels_stay_out_where_ros_is_sourced(tmp_path: Path) -> None:
    _, asked = setup(tmp_path / "bare")
    assert any(",ros]" in line for line in asked)
    executable(tmp_path / "jazzy/rclpy/__init__.py", "")
    done, asked = setup(
        tmp_path / "sourced",
        PYTHONPATH=str(tmp_path / "jazzy"),
        ROS_DISTRO="jazzy",
        LACKS="ros_wheels_bootstrapper",
    )
    assert done.returncode == 0, done.stderr
    assert "rclpy of the ROS 2 installation that is sourced (jazzy)" in done.stdout
    assert not any("ros]" in line for line in asked)


@pytest.mark.skipif(not shutil.which("dpkg-query"), reason="not a Debian or Ubuntu")
def test_missing_debian_packages_are_named_where_they_may_not_be_installed(tmp_path: Path) -> None:
    executable(tmp_path / "bin/dpkg-query", "#!/bin/sh\nexit 1\n")
    executable(tmp_path / "bin/id", "#!/bin/sh\necho 1000\n")
    executable(tmp_path / "bin/sudo", "#!/bin/sh\nexit 1\n")
    done, asked = setup(tmp_path, PATH=f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    assert done.returncode == 1
    assert "sudo apt-get install libgl1 libgomp1 libusb-1.0-0" in done.stderr
    assert asked == []


def test_an_unsuitable_python_is_refused(tmp_path: Path) -> None:
    done, asked = setup(tmp_path, PYTHON="python2")
    assert done.returncode == 1
    assert "No Python 3.10 to 3.13 among: python2" in done.stderr
    assert asked == []
