"""Plays a bag to segment_node, shows the labels and compares them with the truth, where rosbag2 is.

    ros2 launch memorysam_ros replay.launch.py bag:=drive checkpoint:=FILE image:=/front/image_raw

Everything runs on the bag's clock. The bag begins when the node is active, and all ends with it.
With truth:=TOPIC, the labels are compared with those in the bag (`memorysam score`), and a report
is written at the end. All arguments of segment.launch.py are accepted, too; `--show-args` lists
them.
"""

from collections.abc import Callable
from pathlib import Path

from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
    TimerAction,
)
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch.events.process import ProcessExited
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import Action, LaunchContext, LaunchDescription

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
        argument("truth", "topic of the true labels in the bag; empty: nothing is compared",
                 default_value=""),
        argument("scores", "folder for the comparison (BAG_scores_DATE-TIME, here)",
                 default_value=""),
        *(
            argument(name, description, default_value=default, choices=switch)
            for name, (default, description) in OURS.items()
        ),
    ]  # fmt: skip


def value_in(context: LaunchContext) -> Callable[[str], str]:
    """Looks up arguments."""
    return lambda name: LaunchConfiguration(name).perform(context)


def node_name(value: Callable[[str], str]) -> str:
    """The full name of segment_node."""
    return f"/{value('namespace').strip('/')}/segment_node".replace("//", "/")


def player(context: LaunchContext) -> list:
    """`ros2 bag play` once the node is active, with whose end all else ends, soon after."""
    value = value_in(context)
    # Asked, not heard: a transition is told once, maybe before anybody has discovered who tells it.
    ready = Node(
        package="memorysam_ros",
        executable="memorysam",
        arguments=["ready", node_name(value)],
        output="screen",
    )
    words = ["ros2", "bag", "play", value("bag"), "--clock", "100", "--rate", value("rate")]
    # The delay is for the player and the node to discover each other.
    words += ["--start-offset", value("start"), "--delay", "3"]
    words += ["--qos-profile-overrides-path", str(OVERRIDES)]
    if value("loop") == "true":
        words.append("--loop")
    play = ExecuteProcess(cmd=words, output="screen")
    over = EmitEvent(event=Shutdown(reason="the bag is over"))
    # The last image is still being labelled.
    ending = TimerAction(period=2.0, actions=[over])

    def begin(event: ProcessExited, _: LaunchContext) -> Action:
        if event.returncode == 0:
            return play
        return EmitEvent(event=Shutdown(reason="segment_node did not become active"))

    return [
        RegisterEventHandler(OnProcessExit(target_action=ready, on_exit=begin)),
        RegisterEventHandler(OnProcessExit(target_action=play, on_exit=[ending])),
        RegisterEventHandler(OnProcessExit(on_exit=without_node)),
        ready,
    ]


def without_node(event: ProcessExited, _: LaunchContext) -> Action | None:
    """Without the node there is nothing to play to."""
    is_node = event.process_name.startswith("segment_node")
    return EmitEvent(event=Shutdown(reason="segment_node ended")) if is_node else None


def evaluator(context: LaunchContext) -> list:
    """`memorysam score`, where the bag has truth."""
    value = value_in(context)
    if not value("truth"):
        return []
    if not value("checkpoint") or value("loop") == "true":
        raise ValueError("truth needs checkpoint:=FILE, and loop:=false for an end to report at")
    words = ["score", value("checkpoint"), value("bag"), "--labels", value("truth")]
    words += ["--node", node_name(value), "--rate", value("rate"), "--start", value("start")]
    if not value("image").startswith("~"):
        words += ["--image", value("image")]
    if value("scores"):
        words += ["--output", value("scores")]
    return [
        Node(
            package="memorysam_ros",
            executable="memorysam",
            arguments=words,
            parameters=[{"use_sim_time": True}],
            output="screen",
            sigterm_timeout="60",  # the report takes its time
        )
    ]


def generate_launch_description() -> LaunchDescription:
    """What `ros2 launch` calls."""
    node = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(HERE / "segment.launch.py")),
        launch_arguments={name: LaunchConfiguration(name) for name in OURS}.items(),
    )
    rest = [OpaqueFunction(function=function) for function in (evaluator, player)]
    return LaunchDescription([*arguments(), node, *rest])
