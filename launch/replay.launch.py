"""Plays a bag to segment_node and shows the labels, where rosbag2 is installed.

    ros2 launch memorysam_ros replay.launch.py bag:=drive checkpoint:=FILE image:=/front/image_raw

Everything runs on the bag's clock and ends with the bag. All arguments of segment.launch.py are
accepted, too; `--show-args` lists them.
"""

from pathlib import Path

from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
)
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

from launch import LaunchContext, LaunchDescription

HERE = Path(__file__).parent
OVERRIDES = HERE.parent / "config" / "rosbag2_qos_overrides.yaml"
OURS = {
    "use_sim_time": ("true", "take time from the bag"),
    "rviz": ("true", "start RViz with the node's outputs"),
}
"""Arguments of segment.launch.py with another default here."""


def arguments() -> list[DeclareLaunchArgument]:
    """What segment.launch.py does not have, or has with another default."""

    def argument(name: str, description: str, **more: object) -> DeclareLaunchArgument:
        return DeclareLaunchArgument(name, description=description, **more)

    switch = ["true", "false"]
    return [
        argument("bag", "the recording: a folder, or a file"),
        argument("rate", "how fast it is played; below 1 where the machine is slow",
                 default_value="1.0"),
        argument("start", "seconds of the bag to skip", default_value="0.0"),
        argument("loop", "begin anew at the end", default_value="false", choices=switch),
        *(
            argument(name, description, default_value=default, choices=switch)
            for name, (default, description) in OURS.items()
        ),
    ]  # fmt: skip


def player(context: LaunchContext) -> list:
    """`ros2 bag play`, with whose end all else ends."""

    def value(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    words = ["ros2", "bag", "play", value("bag"), "--clock", "100", "--rate", value("rate")]
    words += ["--start-offset", value("start"), "--delay", "3"]
    words += ["--qos-profile-overrides-path", str(OVERRIDES)]
    if value("loop") == "true":
        words.append("--loop")
    play = ExecuteProcess(cmd=words, output="screen")
    over = EmitEvent(event=Shutdown(reason="the bag is over"))
    return [play, RegisterEventHandler(OnProcessExit(target_action=play, on_exit=[over]))]


def generate_launch_description() -> LaunchDescription:
    """What `ros2 launch` calls."""
    node = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(HERE / "segment.launch.py")),
        launch_arguments={name: LaunchConfiguration(name) for name in OURS}.items(),
    )
    return LaunchDescription([*arguments(), node, OpaqueFunction(function=player)])
