"""The launch files under the genuine launch system, where it is: by Python and by XML.

It is no package of PyPI, but pure Python; CONTRIBUTING.md says how to try it without ROS.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rig import Rig, S
from sensor_msgs.msg import Image

from memorysam_ros.dds import CHOICES

pytest.importorskip("launch.frontend")
pytest.importorskip("launch_ros.actions")
pytest.importorskip("launch_xml")

PROGRAM = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import AnyLaunchDescriptionSource
file, *words = sys.argv[1:]
arguments = [word.split(":=") for word in words]
include = IncludeLaunchDescription(AnyLaunchDescriptionSource(file), launch_arguments=arguments)
service = LaunchService()
service.include_launch_description(LaunchDescription([include]))
sys.exit(service.run())
"""
"""What `ros2 launch FILE NAME:=VALUE ...` does."""
MINE = """<launch>
  <arg name="weights" />
  <include file="$(find-pkg-share memorysam_ros)/launch/segment.launch.xml">
    <arg name="checkpoint" value="$(var weights)" />
    <arg name="namespace" value="robot" />
    <arg name="image" value="/segment_node/input/image" />
  </include>
</launch>
"""
"""A launch file of a user's."""
IMAGE = "image:=/segment_node/input/image"
CHECKPOINT = "memorysam_core/weights/nano_sim.safetensors"


@pytest.fixture
def environment(repository, tmp_path) -> dict[str, str]:
    """With this source tree as an installed package."""
    prefix = tmp_path / "prefix"
    index = prefix / "share" / "ament_index" / "resource_index" / "packages"
    index.mkdir(parents=True)
    (index / "memorysam_ros").write_text("")
    (prefix / "share" / "memorysam_ros").symlink_to(repository)
    (prefix / "lib").mkdir()
    (prefix / "lib" / "memorysam_ros").symlink_to(repository / "resource" / "executables")
    given = {name: value for name, value in os.environ.items() if name not in CHOICES}
    paths = {
        "PATH": [Path(sys.executable).parent, given["PATH"]],
        "PYTHONPATH": [repository, given.get("PYTHONPATH", "")],
        "AMENT_PREFIX_PATH": [prefix, given.get("AMENT_PREFIX_PATH", "")],
    }
    joined = {name: os.pathsep.join(map(str, parts)) for name, parts in paths.items()}
    return given | joined | {"ROS_LOG_DIR": str(tmp_path / "log"), "OMP_NUM_THREADS": "1"}


def launched(folder: Path, environment, file: Path, *words: str) -> tuple[subprocess.Popen, Path]:
    """A launch process, and what it says."""
    log = folder / "launch.log"
    with log.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, file, *words],
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=environment,
        )
    return process, log


@pytest.mark.parametrize("front_end", ["python", "xml", "xml of a user's"])
def test_the_node_runs_under_launch_and_ends_with_it(front_end, repository, environment, tmp_path):
    words = [f"checkpoint:={repository / CHECKPOINT}", "namespace:=robot", IMAGE]
    if front_end == "xml of a user's":
        file = tmp_path / "mine.launch.xml"
        file.write_text(MINE)
        words = [f"weights:={repository / CHECKPOINT}"]
    else:
        file = repository / "launch" / f"segment.launch.{front_end.replace('python', 'py')}"
    rig = Rig()
    rig.subscribe("/robot/segment_node/output/labels", Image)
    process, log = launched(tmp_path, environment, file, *words)
    try:
        labels = rig.received["/robot/segment_node/output/labels"]

        def labelled() -> bool:
            assert process.poll() is None, log.read_text()
            if rig.publishers["image"].get_subscription_count():
                rig.send("image", S)
                time.sleep(0.5)
            return bool(labels)

        rig.wait(labelled, log.read_text, seconds=120.0)
        (pid,) = re.findall(
            r"segment_node-1\]: process started with pid \[(\d+)\]", log.read_text()
        )
        read = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
        found = dict(entry.split("=", 1) for entry in read if "=" in entry)
        for name in CHOICES:
            assert os.path.samefile(found[name], repository / "config" / "fastdds.xml")
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 0, log.read_text()
        assert "process has finished cleanly" in log.read_text()
        assert "Traceback" not in log.read_text()
    finally:
        process.kill()
        rig.close()


def test_a_choice_that_is_none_is_refused(repository, environment, tmp_path):
    file = repository / "launch" / "segment.launch.py"
    process, log = launched(tmp_path, environment, file, "log_level:=loud")
    assert process.wait(120) != 0
    assert "Valid options are: ['debug', 'info'" in log.read_text()


def test_arguments_are_shown_with_their_meaning(repository):
    from launch.launch_description_sources import get_launch_description_from_any_launch_file
    from test_launch import ARGUMENTS

    path = str(repository / "launch" / "segment.launch.py")
    shown = get_launch_description_from_any_launch_file(path).get_launch_arguments()
    assert {argument.name for argument in shown} == ARGUMENTS
    assert all(len(argument.description) > 10 for argument in shown)
