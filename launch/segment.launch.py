"""Starts segment_node: `ros2 launch memorysam_ros segment.launch.py checkpoint:=FILE image:=TOPIC`.

`--show-args` lists the arguments. What is not an argument is a parameter: copy config/segment.yaml
and give it as params_file.
"""

from collections.abc import Callable
from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch.actions import (
    DeclareLaunchArgument,
    LogInfo,
    OpaqueFunction,
    SetEnvironmentVariable,
)
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchContext, LaunchDescription

CONFIG = Path(__file__).parent.parent / "config"
PROFILES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
"""What Fast DDS 3 (Kilted and newer) reads, and what Fast DDS 2 does."""
SWITCH = ["true", "false"]
TOPICS = {
    "image": "colour image: sensor_msgs/Image, or the base of its compressed topic",
    "camera_info": "CameraInfo of the image; empty: the one beside it",
    "depth": "depth image, 16UC1 in mm or 32FC1 in m",
    "depth_camera_info": "CameraInfo of the depth image; empty: the one beside it",
    "events": "event_camera_msgs/EventPacket, or rendered events as sensor_msgs/Image",
    "points": "LiDAR: sensor_msgs/PointCloud2",
}
BESIDE = {"camera_info": "image", "depth_camera_info": "depth"}


def topic(name: str, value: Callable[[str], str]) -> str:
    """Where the node's input comes from; a camera_info by default from beside its image."""
    if value(name) or name not in BESIDE:
        return value(name)
    image = value(BESIDE[name])
    if image.startswith("~"):
        return f"~/input/{name}"
    before, slash, _ = image.rpartition("/")
    return f"{before}{slash}camera_info"


def arguments() -> list[DeclareLaunchArgument]:
    """All arguments, with what they mean."""

    def argument(name: str, default: str, description: str, **more: object):
        return DeclareLaunchArgument(name, default_value=default, description=description, **more)

    topics = [
        argument(name, "" if name in BESIDE else f"~/input/{name}", TOPICS[name]) for name in TOPICS
    ]
    return [
        argument("checkpoint", "", "the model, a .safetensors file; empty: as in params_file"),
        *topics,
        argument("params_file", str(CONFIG / "segment.yaml"), "parameters of the node"),
        argument("namespace", "", "namespace of the node and its topics"),
        argument("use_sim_time", "false", "take time from /clock", choices=SWITCH),
        argument("rviz", "false", "start RViz with the node's outputs", choices=SWITCH),
        argument(
            "autostart", "true", "activate at once; false: a lifecycle manager does", choices=SWITCH
        ),
        argument("device", "", "auto, cpu, cuda or cuda:N; empty: as in params_file"),
        argument(
            "log_level",
            "info",
            "least severe messages that are logged",
            choices=["debug", "info", "warn", "error", "fatal"],
        ),
    ]


def dds_profile(context: LaunchContext) -> list[SetEnvironmentVariable]:
    """More shared memory than Fast DDS's own, too small for images; what the user set stays."""
    if any(context.environment.get(name) for name in PROFILES):
        return []
    return [SetEnvironmentVariable(name, str(CONFIG / "fastdds.xml")) for name in PROFILES]


def nodes(context: LaunchContext) -> list[Node | LogInfo]:
    """The node, and RViz if it is wanted and there: many a robot has none."""

    def value(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    given = {name: value(name) for name in ("checkpoint", "device") if value(name)}
    switches = {name: value(name) == "true" for name in ("use_sim_time", "autostart")}
    prefix = f"/{value('namespace').strip('/')}".rstrip("/")
    logger = f"{prefix}/segment_node"[1:].replace("/", ".")
    segment = Node(
        package="memorysam_ros",
        executable="segment_node",
        name="segment_node",
        namespace=value("namespace"),
        output="screen",
        emulate_tty=True,
        parameters=[value("params_file"), {**given, **switches}],
        remappings=[(f"~/input/{name}", topic(name, value)) for name in TOPICS],
        arguments=["--ros-args", "--log-level", f"{logger}:={value('log_level')}"],
    )
    if value("rviz") == "false":
        return [segment]
    try:
        get_package_prefix("rviz2")
    except PackageNotFoundError:
        return [segment, LogInfo(msg="rviz2 is not installed: apt install ros-$ROS_DISTRO-rviz2")]
    shown = ("labels", "color", "overlay", "points", "organized_points")
    topics = [f"/segment_node/output/{topic}" for topic in shown]
    topics += [f"/segment_node/debug/{topic}_frame" for topic in ("depth", "events", "lidar")]
    topics.append("/segment_node/debug/lidar_overlay")
    rviz = Node(
        package="rviz2",
        executable="rviz2",
        arguments=["-d", str(CONFIG / "memorysam.rviz")],
        parameters=[{"use_sim_time": switches["use_sim_time"]}],
        remappings=[(topic, prefix + topic) for topic in topics if prefix],
    )
    return [segment, rviz]


def generate_launch_description() -> LaunchDescription:
    """What `ros2 launch` calls."""
    actions = [OpaqueFunction(function=function) for function in (dds_profile, nodes)]
    return LaunchDescription([*arguments(), *actions])
