"""The layers: core <- ros <- training, and who may need what."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {
    "memorysam_core": ROOT / "memorysam_core",
    "memorysam_ros": ROOT / "memorysam_ros",
    "memorysam_training": ROOT / "training" / "memorysam_training",
}
ALLOWED = {
    "memorysam_core": {"memorysam_core"},
    "memorysam_ros": {"memorysam_core", "memorysam_ros"},
    "memorysam_training": {"memorysam_core", "memorysam_ros", "memorysam_training"},
}
GRAPH = {"rclpy", "tf2_ros", "launch", "launch_ros", "message_filters"}
"""Packages that need a running ROS 2, or stand for one."""
NEEDS_A_GRAPH = {
    "memorysam_ros/segment_node.py": "the node",
    "memorysam_ros/node_topics.py": "the node's subscriptions and publishers",
    "memorysam_ros/session.py": "the node while it is active",
    "memorysam_ros/bags/listener.py": "subscribes to what is compared with the truth",
    "memorysam_ros/bags/play.py": "publishes a bag",
    "memorysam_ros/bags/record.py": "subscribes to what is recorded",
    "memorysam_ros/ros_session.py": "the node of these and of the next",
    "memorysam_ros/commands/ready.py": "asks a node for its state",
    "memorysam_ros/demo/live.py": "plays the drive of the demo and listens",
    "memorysam_ros/view.py": "subscribes to what is watched",
    "memorysam_ros/interop.py": "finds the distribution's packages or our stand-ins",
}
"""Modules that may import those, and why. Everything else runs on a machine without ROS 2."""
START_THE_NODE = ("memorysam_ros/bench/", "memorysam_training/demo/")
"""Folders whose business it is to run the node: they measure it, or show it."""
ASKS_LATE = {
    "memorysam_ros/calibration.py": "TfTransforms is made by the node, with its tf2 buffer",
}
"""Modules that may import them inside a function that only the above call."""
HEAVY = {"open3d", "cv2", "matplotlib", "rosbags", "peft", "transformers", "accelerate", "onnx"}
"""Never needed to run a checkpoint: imported where used, or not at all."""


def sources(package: str) -> list[Path]:
    return sorted(PACKAGES[package].rglob("*.py"))


def name(path: Path) -> str:
    return str(path.relative_to(ROOT)).removeprefix("training/")


def top(module: str) -> str:
    return module.partition(".")[0]


def imported(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Full names of all modules that a syntax tree imports, inside functions too, with lines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module or "", node.lineno


def imported_at_once(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """What importing the module imports: not the bodies of functions, not TYPE_CHECKING."""
    for node in tree.body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield from imported(node)


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


@pytest.mark.parametrize("package", PACKAGES)
def test_nothing_imports_upward(package: str) -> None:
    ours = set(PACKAGES)
    wrong = [
        f"{name(path)}:{line} imports {module}"
        for path in sources(package)
        for module, line in imported(parse(path))
        if top(module) in ours - ALLOWED[package]
    ]
    assert not wrong


def test_imports_are_absolute() -> None:
    """So that the other tests here see them all, and a reader where a name comes from."""
    wrong = [
        f"{name(path)}:{node.lineno}"
        for package in PACKAGES
        for path in sources(package)
        for node in ast.walk(parse(path))
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert not wrong


@pytest.mark.parametrize("package", PACKAGES)
def test_only_the_node_and_what_it_starts_need_a_ros_graph(package: str) -> None:
    wrong = []
    for path in sources(package):
        if name(path) in NEEDS_A_GRAPH or name(path).startswith(START_THE_NODE):
            continue
        seek = imported_at_once if name(path) in ASKS_LATE else imported
        found = [(module, line) for module, line in seek(parse(path)) if top(module) in GRAPH]
        wrong += [f"{name(path)}:{line} imports {module}" for module, line in found]
    assert not wrong


def test_exceptions_name_modules_that_exist() -> None:
    known = {name(path) for package in PACKAGES for path in sources(package)}
    assert sorted({*NEEDS_A_GRAPH, *ASKS_LATE} - known) == []


def test_all_other_modules_import_without_ros() -> None:
    modules = [
        name(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for package in ("memorysam_core", "memorysam_ros")
        for path in sources(package)
        if name(path) not in NEEDS_A_GRAPH and "bench" not in path.parts
    ]
    code = (
        "import importlib, sys\n"
        f"sys.modules.update(dict.fromkeys({sorted(GRAPH)!r}))\n"
        f"for module in {modules!r}: importlib.import_module(module)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_running_a_checkpoint_needs_torch_and_numpy() -> None:
    wrong = [
        f"{name(path)}:{line} imports {module}"
        for path in sources("memorysam_core")
        if "bench" not in path.parts
        for module, line in imported_at_once(parse(path))
        if top(module) in HEAVY and path.name != "adapters.py"
    ]
    assert not wrong


def test_a_robot_needs_no_rosbags() -> None:
    """Neither the node nor what its launch files start; package.xml cannot name it."""
    code = (
        "import sys; sys.modules['rosbags'] = None\n"
        "import memorysam_ros.segment_node, memorysam_ros.ros_session\n"
        "import memorysam_ros.commands.node, memorysam_ros.commands.ready\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_core_knows_no_messages() -> None:
    messages = ("sensor_msgs", "std_msgs", "vision_msgs", "event_camera_msgs", "rosbags", "rclpy")
    wrong = [
        f"{name(path)}:{line} imports {module}"
        for path in sources("memorysam_core")
        for module, line in imported(parse(path))
        if top(module) in messages
    ]
    assert not wrong


def test_an_upward_import_would_be_seen() -> None:
    tree = ast.parse(
        "def late():\n    from memorysam_ros.matching import Matcher\n    return Matcher"
    )
    assert list(imported(tree)) == [("memorysam_ros.matching", 2)]
    assert list(imported_at_once(tree)) == []
