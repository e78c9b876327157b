"""Launch and configuration files name what exists; the launch file itself runs under a stand-in
of the launch system, so that it is tried without ROS."""

from __future__ import annotations

import ast
import os
import xml.etree.ElementTree as ElementTree
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from launch_standin import load_launch_file

from memorysam_ros import dds, shared_files
from memorysam_ros.parameter_files import values_of
from memorysam_ros.result import TOPICS

ARGUMENTS = {
    "checkpoint", "image", "camera_info", "depth", "depth_camera_info", "events", "points",
    "params_file", "namespace", "use_sim_time", "rviz", "autostart", "device", "log_level",
}  # fmt: skip


@pytest.fixture
def launch_file(monkeypatch, repository):
    """The module of segment.launch.py, without the launch system."""
    return load_launch_file(repository / "launch" / "segment.launch.py", monkeypatch)


def started(launch_file, **given: str):
    defaults = {a.args[0]: a.options["default_value"] for a in launch_file.arguments()}
    return launch_file.nodes({**defaults, **given})


def test_every_argument_has_a_meaning_and_switches_have_choices(launch_file):
    arguments = {a.args[0]: a.options for a in launch_file.arguments()}
    assert set(arguments) == ARGUMENTS
    for name, options in arguments.items():
        assert len(options["description"]) > 10, name
        if options["default_value"] in ("true", "false"):
            assert options["choices"] == ["true", "false"]


def test_the_node_that_is_started_is_installed_and_its_files_exist(launch_file, repository):
    (node,) = started(launch_file)
    executable = repository / "resource" / "executables" / node.options["executable"]
    assert executable.is_file()
    assert os.access(executable, os.X_OK)
    assert (repository / "resource" / node.options["package"]).is_file()
    assert os.path.samefile(node.options["parameters"][0], repository / "config" / "segment.yaml")
    assert (launch_file.CONFIG / "fastdds.xml").is_file()
    assert (launch_file.CONFIG / "memorysam.rviz").is_file()


def test_arguments_become_remappings_and_parameters(launch_file):
    (node,) = started(
        launch_file, checkpoint="m.safetensors", image="/front/image_raw", use_sim_time="true",
        camera_info="", namespace="/robot/", autostart="false",
    )  # fmt: skip
    remappings = dict(node.options["remappings"])
    assert remappings["~/input/image"] == "/front/image_raw"
    assert remappings["~/input/camera_info"] == "/front/camera_info"
    assert remappings["~/input/depth_camera_info"] == "~/input/depth_camera_info"
    changes = {"checkpoint": "m.safetensors", "use_sim_time": True, "autostart": False}
    assert node.options["parameters"][1] == changes
    assert node.options["arguments"][-1] == "robot.segment_node:=info"


@pytest.mark.parametrize(
    ("image", "info"),
    [
        ("/front/image_raw", "/front/camera_info"),
        ("/image_raw", "/camera_info"),
        ("front/image_raw", "front/camera_info"),
        ("image_raw", "camera_info"),
        ("~/input/image", "~/input/camera_info"),
    ],
)
def test_a_camera_info_is_beside_its_image_in_the_same_namespace(launch_file, image, info):
    (node,) = started(launch_file, image=image, depth=image, namespace="robot")
    remappings = dict(node.options["remappings"])
    assert remappings["~/input/camera_info"] == info
    assert remappings["~/input/depth_camera_info"].replace("depth_", "") == info


def test_without_rviz_the_node_starts_all_the_same(launch_file, monkeypatch):
    def nowhere(name):
        raise KeyError(name)

    monkeypatch.setattr(launch_file, "get_package_prefix", nowhere)
    monkeypatch.setattr(launch_file, "PackageNotFoundError", KeyError)
    segment, told = started(launch_file, rviz="true")
    assert segment.options["executable"] == "segment_node"
    assert "rviz2 is not installed: apt install" in told.options["msg"]


def test_rviz_follows_the_namespace_and_shows_topics_that_exist(launch_file, repository):
    _, rviz = started(launch_file, rviz="true", namespace="robot")
    remapped = dict(rviz.options["remappings"])
    shown = yaml.safe_load((repository / "config" / "memorysam.rviz").read_text())
    displays = shown["Visualization Manager"]["Displays"]
    topics = {d["Topic"]["Value"] for d in displays if "Topic" in d}
    assert topics <= {f"/segment_node/{topic}" for topic in TOPICS}
    for topic in topics:
        assert remapped[topic] == f"/robot{topic}"


def test_the_xml_launch_file_includes_one_that_exists(repository):
    tree = ElementTree.parse(repository / "launch" / "segment.launch.xml")
    (include,) = tree.findall("include")
    prefix = "$(find-pkg-share memorysam_ros)/"
    assert include.get("file").startswith(prefix)
    assert (repository / include.get("file").removeprefix(prefix)).is_file()


def test_launch_files_import_only_what_package_xml_names(repository):
    names = {e.text for e in ElementTree.parse(repository / "package.xml").iter("exec_depend")}
    for path in (repository / "launch").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("launch"):
                assert node.module.partition(".")[0] in names


PROFILES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
"""What Fast DDS 3 (Kilted) and Fast DDS 2 (Jazzy) read."""


@pytest.fixture
def nothing_chosen(monkeypatch):
    for name in (*PROFILES, "RMW_IMPLEMENTATION"):
        monkeypatch.setenv(name, "")  # so that it is restored
        monkeypatch.delenv(name)


def test_the_dds_profile_has_room_for_images(nothing_chosen):
    path = dds.use_profile()
    assert [os.environ[name] for name in PROFILES] == [path, path]
    texts = {e.tag.rpartition("}")[2]: e.text for e in ElementTree.parse(path).iter()}
    assert int(texts["segment_size"]) == 64 * 2**20
    assert int(texts["maxMessageSize"]) == 16 * 2**20


def test_another_middleware_needs_no_dds_profile(nothing_chosen, monkeypatch):
    monkeypatch.setenv("RMW_IMPLEMENTATION", "rmw_cyclonedds_cpp")
    assert dds.use_profile() == ""
    assert not {*PROFILES} & {*os.environ}


@pytest.mark.parametrize("chosen", PROFILES)
def test_a_dds_profile_of_the_users_stays(chosen, nothing_chosen, monkeypatch, launch_file):
    monkeypatch.setenv(chosen, "/mine.xml")
    assert dds.use_profile() == "/mine.xml"
    assert launch_file.dds_profile(SimpleNamespace(environment=os.environ)) == []
    assert [name for name in PROFILES if name in os.environ] == [chosen]


def test_the_launch_file_sets_the_dds_profile_for_both_generations(launch_file):
    actions = launch_file.dds_profile(SimpleNamespace(environment={}))
    assert [action.args for action in actions] == [
        (name, str(launch_file.CONFIG / "fastdds.xml")) for name in PROFILES
    ]


def test_a_file_that_is_nowhere_is_an_error_that_says_where_it_was_sought():
    with pytest.raises(FileNotFoundError, match=r"share/memorysam_ros/config/none\.yaml"):
        shared_files.shared_file("config/none.yaml")


def test_what_is_said_once_is_recorded_as_such(repository):
    overrides = yaml.safe_load((repository / "config" / "rosbag2_qos_overrides.yaml").read_text())
    assert set(overrides) == {"/tf_static", "/segment_node/output/label_info"}
    for profile in overrides.values():
        assert profile["durability"] == "transient_local"
        assert profile["reliability"] == "reliable"


def test_the_preset_of_the_simulated_drive_has_the_poses_of_its_car(repository):
    rig = pytest.importorskip("memorysam_training.simulation.rig").Rig()
    from memorysam_ros.calibration import parse_transform

    values = values_of(repository / "config" / "simulated.yaml")
    for name, truth in (("lidar", rig.camera_from_lidar), ("depth", rig.camera_from_depth)):
        pose = parse_transform(values[f"{name}.camera_from_{name}"])
        np.testing.assert_allclose(pose, truth, atol=2e-5)
