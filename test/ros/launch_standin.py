"""A stand-in of the launch system, under which launch files are tried without ROS."""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path

import pytest

MODULES = {
    "launch": ("Action", "LaunchContext", "LaunchDescription"),
    "launch.actions": (
        "DeclareLaunchArgument", "EmitEvent", "ExecuteProcess", "IncludeLaunchDescription",
        "LogInfo", "OpaqueFunction", "RegisterEventHandler", "SetEnvironmentVariable",
        "TimerAction",
    ),
    "launch.event_handlers": ("OnProcessExit",),
    "launch.events": ("Shutdown",),
    "launch.events.process": ("ProcessExited",),
    "launch.launch_description_sources": ("PythonLaunchDescriptionSource",),
    "launch.substitutions": ("LaunchConfiguration",),
    "ament_index_python": (),
    "ament_index_python.packages": ("PackageNotFoundError", "get_package_prefix"),
    "launch_ros": (),
    "launch_ros.actions": ("Node",),
}  # fmt: skip


class Action:
    """Any action or substitution: keeps what it was given."""

    def __init__(self, *args, **options) -> None:
        self.args, self.options = args, options

    def perform(self, context: dict[str, str]) -> str:
        return context[self.args[0]]


def load_launch_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """The module of a launch file, with the stand-in in the launch system's place."""
    for module, classes in MODULES.items():
        stand_in = types.ModuleType(module)
        for name in classes:
            setattr(stand_in, name, type(name, (Action,), {}))
        monkeypatch.setitem(sys.modules, module, stand_in)
    spec = importlib.util.spec_from_file_location(path.name.partition(".")[0] + "_launch", path)
    assert spec is not None and spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded
