"""What gets installed, from a wheel into a folder of its own, and what the package claims of it."""

import ast
import configparser
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import xml.etree.ElementTree
import zipfile
from pathlib import Path

import pytest
from catkin_pkg.changelog import get_changelog_from_path
from catkin_pkg.package import parse_package

import memorysam_core
from memorysam_core import cli
from memorysam_core.checkpoint import SHIPPED

ROOT = Path(__file__).resolve().parents[1]


def run(*command: str | Path, **options: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, **options
    )


def configuration() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def module_files(folder: Path) -> set[str]:
    return {str(p.relative_to(folder.parent)) for p in folder.rglob("*.py")}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that nothing built earlier gets in and nothing is left behind."""
    folder = tmp_path_factory.mktemp("wheel")
    leave = shutil.ignore_patterns("build", "*.egg-info", "__pycache__")
    (folder / "source").mkdir()
    for path in (path for path in ROOT.iterdir() if path.is_file()):
        shutil.copy(path, folder / "source")
    for name in ("memorysam_core", "memorysam_ros", "training", "launch", "config", "resource"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / "source" / name, ignore=leave)
    pip = (sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation")
    done = run(*pip, "-w", folder, folder / "source", folder / "source" / "training")
    assert done.returncode == 0, done.stderr
    return next(folder.glob("memorysam_ros-*.whl"))


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel alone, that borrows PyTorch and the rest from ours."""
    folder = tmp_path_factory.mktemp("environment")
    assert run(sys.executable, "-m", "venv", "--without-pip", folder).returncode == 0
    site_packages = next(folder.glob("lib/python*/site-packages"))
    borrowed = sysconfig.get_path("purelib")
    (site_packages / "borrowed.pth").write_text(borrowed + "\n", encoding="utf-8")
    pip = (sys.executable, "-m", "pip", "--python", folder / "bin/python", "install", "-q")
    done = run(*pip, "--no-deps", "--no-index", wheel)
    assert done.returncode == 0, done.stderr
    return folder


def test_wheel_holds_every_module(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = module_files(ROOT / "memorysam_core") | module_files(ROOT / "memorysam_ros")
    assert sorted(expected - names) == []  # a folder without __init__.py is left out
    assert str(SHIPPED.relative_to(ROOT)) in names
    assert not any(name.startswith(("test/", "training/", "memorysam_training/")) for name in names)


def test_training_wheel_holds_every_module(wheel: Path) -> None:
    names = set(zipfile.ZipFile(next(wheel.parent.glob("memorysam_training-*.whl"))).namelist())
    assert sorted(module_files(ROOT / "training" / "memorysam_training") - names) == []
    assert not any(name.startswith("memorysam_core/") for name in names)


def test_wheel_installs_what_ros_and_a_shell_look_for(environment: Path) -> None:
    done = run(sys.executable, ROOT / ".ci/check_install_tree.py", environment)
    assert done.returncode == 0, done.stdout + done.stderr


def test_training_commands_say_what_to_install(environment: Path, tmp_path: Path) -> None:
    command = environment / "bin/memorysam"
    for name in cli.TRAINING:
        done = run(command, name, "--help", cwd=tmp_path)
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        assert "memorysam_training" in done.stderr
        assert "pip install ./training" in done.stderr
    assert "pip install ./training" in run(command, "--help", cwd=tmp_path).stdout


def test_training_is_installed_here_and_known_by_the_command_line() -> None:
    found = cli.commands()
    theirs = {name for name, module in found.items() if module.startswith("memorysam_training")}
    assert theirs <= set(cli.TRAINING)


@pytest.mark.parametrize("name", cli.commands())
def test_every_command_has_help(name: str) -> None:
    done = run(sys.executable, "-m", "memorysam_core.cli", name, "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: memorysam {name}")
    assert name in run(sys.executable, "-m", "memorysam_core.cli", "--help").stdout


def test_overview_imports_nothing_heavy() -> None:
    code = (
        "import sys; from memorysam_core import cli; cli.main([]); "
        "sys.exit(', '.join({'torch', 'numpy', 'sam2', 'rclpy'} & set(sys.modules)))"
    )
    done = run(sys.executable, "-c", code)
    assert done.stderr.strip() == ""


def test_versions_agree() -> None:
    version = configuration()["metadata"]["version"]
    package = xml.etree.ElementTree.parse(ROOT / "package.xml").getroot()
    trainer = (ROOT / "training/pyproject.toml").read_text(encoding="utf-8")
    changes = get_changelog_from_path(str(ROOT))
    assert package.findtext("version") == version
    assert re.findall(r'^version = "(.*)"$', trainer, re.MULTILINE) == [version]
    assert f'"memorysam_ros=={version}"' in trainer
    assert next(iter(changes.foreach_version()))[0] == version  # the newest entry is this one


def test_package_xml_is_valid_and_ament_python() -> None:
    """A package.xml that catkin_pkg rejects turns the package into a plain Python one, silently."""
    warnings: list[str] = []
    package = parse_package(str(ROOT / "package.xml"), warnings=warnings)
    assert warnings == []
    assert package.name == configuration()["metadata"]["name"]
    assert [e.content for e in package.exports if e.tagname == "build_type"] == ["ament_python"]


def test_inference_needs_little() -> None:
    assert declared("options", "install_requires") == {
        "iopath", "numpy", "pillow", "pyyaml", "safetensors", "torch", "tqdm",
    }  # fmt: skip


DISTRIBUTIONS = {
    "PIL": "pillow", "yaml": "pyyaml", "cv2": "opencv-python-headless", "open3d": "open3d-cpu",
    "sklearn": "scikit-learn", "backports": "backports.zstd", "hydra": "hydra-core",
    "foxglove": "foxglove-sdk",
    "compression": "backports.zstd",  # its name in the standard library from Python 3.14 on
}  # fmt: skip
"""Import names and the distributions that bring them, where they differ."""
FROM_ROS = re.compile(
    r"rclpy|launch.*|ament_.*|tf2_.*|.*_msgs|.*_interfaces|message_filters|cv_bridge|.*_msgs_py"
)


def declared(section: str, option: str) -> set[str]:
    lines = configuration()[section][option].strip().splitlines()
    return {re.split(r"[<>=!;\[ ]", line)[0].lower() for line in lines}


def imported_by(folder: Path) -> set[str]:
    """Top-level names that the modules of a folder import and neither we nor Python bring."""
    found = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add((node.module or "").partition(".")[0])
    ours = {"memorysam_core", "memorysam_ros", "memorysam_training"}
    return found - ours - set(sys.stdlib_module_names)


def test_what_is_imported_is_declared() -> None:
    extras = set(configuration()["options.extras_require"])
    robot = declared("options", "install_requires").union(
        *(declared("options.extras_require", extra) for extra in extras)
    )
    trainer = (ROOT / "training/pyproject.toml").read_text(encoding="utf-8")
    trainers = {
        re.split(r"[<>=!;]", word)[0] for word in re.findall(r'^    "(.*)",', trainer, re.M)
    }
    for folder, known in (
        (ROOT / "memorysam_core", robot | trainers),  # trainers': its benchmarks use Open3D
        (ROOT / "memorysam_ros", robot),
        (ROOT / "training", trainers),
    ):
        names = {n for n in imported_by(folder) if not FROM_ROS.fullmatch(n)}
        assert {DISTRIBUTIONS.get(n, n).replace("_", "-") for n in names} <= known


def test_ros_packages_that_are_imported_stand_in_package_xml() -> None:
    package = xml.etree.ElementTree.parse(ROOT / "package.xml").getroot()
    depends = {element.text for element in package.iter("exec_depend")}
    imported = imported_by(ROOT / "memorysam_ros") | imported_by(ROOT / "launch")
    assert {n for n in imported if FROM_ROS.fullmatch(n)} <= depends


def test_hints_name_extras_that_exist() -> None:
    extras = set(configuration()["options.extras_require"])
    named = {e for hint in cli.INSTALL.values() for e in re.findall(r"\.\[(\w+)\]", hint)}
    assert named <= extras


def test_executables_keep_their_mode() -> None:
    stubs = list((ROOT / "resource/executables").iterdir())
    assert {"segment_node", "memorysam"} <= {path.name for path in stubs}
    assert all(os.access(path, os.X_OK) for path in stubs)
    assert all(path.read_text().startswith("#!/usr/bin/env python3\n") for path in stubs)


def test_constraints_are_pins_that_hold_here() -> None:
    """Where an environment was made by `make setup`; elsewhere there is nothing to compare."""
    from packaging.requirements import Requirement

    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    assert all(str(pin.specifier).startswith("==") for pin in pins)
    pinned = {pin.name.lower().replace("_", "-") for pin in pins}
    for name in ("torch", "sam2", "numpy", "safetensors", "peft", "rosbags", "pytest", "ruff"):
        assert name in pinned
    wrong = []
    for pin in pins if (Path(sys.prefix) / "pyvenv.cfg").exists() else ():
        if pin.marker is not None and not pin.marker.evaluate():
            continue
        try:
            version = importlib.metadata.version(pin.name)
        except importlib.metadata.PackageNotFoundError:
            continue  # of another extra
        if not pin.specifier.contains(version, prereleases=True):
            wrong.append(f"{pin}, but {version} is installed")
    assert not wrong


def test_installed_version_is_the_one_of_this_tree() -> None:
    assert Path(memorysam_core.__path__[0]).resolve() == ROOT / "memorysam_core"
    assert importlib.metadata.version("memorysam_ros") == configuration()["metadata"]["version"]


def test_an_incomplete_tree_is_told(tmp_path: Path) -> None:
    done = run(sys.executable, ROOT / ".ci/check_install_tree.py", tmp_path)
    assert done.returncode == 1
    for missing in ("share/memorysam_ros/package.xml", "lib/memorysam_ros/segment_node"):
        assert f"{tmp_path / missing} is missing" in done.stdout


def test_all_three_packages_import_from_elsewhere(tmp_path: Path) -> None:
    """In the way in which they are installed here, editable or not."""
    code = "import memorysam_core, memorysam_ros, memorysam_training"
    done = run(sys.executable, "-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
