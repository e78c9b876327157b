"""Message packages that PyPI lacks, made of their definitions with the generators that it has.

What colcon does for a message package, in a few seconds: C and Python code is generated, compiled,
and put into a folder for PYTHONPATH.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

DEFINITIONS = {
    "tf2_msgs": {"TFMessage": "geometry_msgs/TransformStamped[] transforms\n"},
    "vision_msgs": {
        "VisionClass": "uint16 class_id\nstring class_name\n",
        "LabelInfo": (
            "std_msgs/Header header\nvision_msgs/VisionClass[] class_map\nfloat32 threshold\n"
        ),
    },
    "event_camera_msgs": {
        "EventPacket": (
            "std_msgs/Header header\nuint32 height\nuint32 width\nuint64 seq\nuint64 time_base\n"
            "string encoding\nbool is_bigendian\nuint8[] events\n"
        )
    },
}
"""By package and name. As published, without comments."""
_IMPLEMENTATIONS = ("rosidl_typesupport_fastrtps_c", "rosidl_typesupport_introspection_c")
_USED = ("builtin_interfaces", "std_msgs", "geometry_msgs")
# rmw looks for these libraries by name alone; it finds those that are loaded already.
_INIT = """import ctypes, pathlib
for _library in pathlib.Path(__file__).parent.glob("lib*.so"):
    ctypes.CDLL(str(_library))
"""


def installed(name: str) -> bool:
    """Whether Python finds a package."""
    return importlib.util.find_spec(name) is not None


def missing() -> list[str]:
    """The packages that are not installed."""
    return [name for name in DEFINITIONS if not installed(name)]


def why_not() -> str:
    """What keeps them from being made; empty if nothing does."""
    if shutil.which("gcc") is None or shutil.which("g++") is None:
        return "no compiler"
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        return "no Python.h"
    return "" if installed("rosidl_generator_py") else "no generators"


def make(folder: Path) -> Path:
    """Makes what is missing, in a process of its own; the folder for PYTHONPATH."""
    command = [sys.executable, __file__, folder, *missing()]
    environment = {"AMENT_PREFIX_PATH": sys.prefix, **os.environ}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "ready"


def _make(package: str, work: Path, target: Path) -> None:
    """Generates and compiles one package into ``target``, using ``work`` for what is in between."""
    sources = work / package
    _generate(package, sources / package)
    objects = _compiled(sources)
    ready = target / package
    shutil.copytree(
        sources / package, ready, ignore=shutil.ignore_patterns("detail", "*.c*", "*.h")
    )
    for library in (
        f"{package}_s__rosidl_typesupport_c.so",
        *(f"lib{package}__{name}.so" for name in _IMPLEMENTATIONS),
    ):
        _link(objects, ready / library)
    (ready / "__init__.py").write_text(_INIT)


def _generate(package: str, output: Path) -> None:
    from rosidl_cli.command.translate.api import translate
    from rosidl_generator_c.cli import GenerateC
    from rosidl_generator_py.cli import GeneratePython
    from rosidl_typesupport_c.cli import GenerateCTypesupport
    from rosidl_typesupport_fastrtps_c.cli import GenerateFastRTPSCTypesupport
    from rosidl_typesupport_introspection_c.cli import GenerateIntrospectionCTypesupport

    texts = output.parent / "texts"
    (texts / "msg").mkdir(parents=True)
    for name, text in DEFINITIONS[package].items():
        (texts / "msg" / f"{name}.msg").write_text(text)
    known = {"package_name": package, "include_paths": [str(Path(sys.prefix, "share"))]}
    files = translate(
        interface_files=[f"{texts}:msg/{name}.msg" for name in DEFINITIONS[package]],
        output_format="idl",
        output_path=output.parent / package / "idl" / package,
        **known,
    )
    output.mkdir(exist_ok=True)
    for generator in (
        GenerateC("c"),
        GenerateCTypesupport("c", typesupport_implementations=list(_IMPLEMENTATIONS)),
        GenerateIntrospectionCTypesupport("introspection_c"),
        GenerateFastRTPSCTypesupport("fastrtps_c"),
        GeneratePython("py"),
    ):
        generator.generate(interface_files=[str(f) for f in files], output_path=output, **known)


def _compiled(sources: Path) -> list[Path]:
    import numpy as np

    prefix = Path(sys.prefix, "include")
    folders = [sources, sysconfig.get_path("include"), np.get_include(), prefix, *prefix.iterdir()]
    include = [f"-I{folder}" for folder in folders]
    entry = "*_s.ep.rosidl_typesupport_c.c"
    wanted = [
        *sources.glob(f"*/{entry}"),
        *sources.glob("*/msg/**/*.c"),
        *sources.glob("*/msg/**/*.cpp"),
    ]
    objects, running = [], []
    for number, source in enumerate(wanted):
        compiler = ["g++", "-std=c++17"] if source.suffix == ".cpp" else ["gcc"]
        objects.append(sources / f"{number}.o")
        command = [*compiler, "-O0", "-w", "-fPIC", "-c", *include, source, "-o", objects[-1]]
        running.append(subprocess.Popen(command))
    assert [process.wait() for process in running] == [0] * len(running)
    return objects


def _link(objects: list[Path], library: Path) -> None:
    folder = Path(sys.prefix, "lib")
    kinds = ("rosidl_generator_c", "rosidl_generator_py", "rosidl_typesupport_c", *_IMPLEMENTATIONS)
    names = [f"{package}__{kind}" for package in _USED for kind in kinds]
    names += ["rosidl_runtime_c", "rosidl_typesupport_c", *_IMPLEMENTATIONS]
    names += ["rosidl_typesupport_fastrtps_cpp", "fastcdr", "rmw", "rcutils"]
    command = ["g++", "-shared", f"-Wl,-soname,{library.name}", "-o", library, *objects]
    command += [f"-L{folder}", f"-Wl,-rpath,{folder}", *(f"-l{name}" for name in names)]
    subprocess.run(command, check=True)


if __name__ == "__main__":
    base, *packages = sys.argv[1:]
    Path(base, "ready").mkdir(parents=True)
    for name in packages:
        _make(name, Path(base, "work"), Path(base, "ready"))
