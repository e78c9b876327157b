#!/usr/bin/env python3
"""Checks what an installation left behind: `check_install_tree.py PREFIX [--python PYTHON]`.

PREFIX is a package's folder of a colcon workspace (`install/memorysam_ros`) or the virtual
environment of a `pip install`. PYTHON runs the checks that import; it has PyTorch and the rest.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

PACKAGE = "memorysam_ros"
SOURCE = Path(__file__).resolve().parents[1]
IMPORTS = ("memorysam_core", "memorysam_core.cli", "memorysam_ros")


def missing_files(prefix: Path) -> list[str]:
    """What ROS 2 and a shell look for under the prefix and would not find, one line each."""
    share = prefix / "share" / PACKAGE
    wanted = {prefix / "share/ament_index/resource_index/packages" / PACKAGE, share / "package.xml"}
    for folder in ("launch", "config"):
        files = [path for path in (SOURCE / folder).rglob("*") if path.is_file()]
        wanted |= {share / path.relative_to(SOURCE) for path in files if path.suffix != ".pyc"}
    stubs = [path for path in (SOURCE / "resource/executables").iterdir() if path.is_file()]
    executables = {prefix / "lib" / PACKAGE / path.name for path in stubs}
    executables.add(prefix / "bin/memorysam")
    # Of an editable installation, or with --symlink-install, they stay in the source.
    weights = "memorysam_core/weights/nano_sim.safetensors"
    if any(prefix.rglob("memorysam_core/cli.py")) and not any(prefix.rglob(weights)):
        wanted.add(prefix / weights)
    problems = [f"{path} is missing" for path in sorted(wanted | executables) if not path.exists()]
    return problems + [
        f"{path} is not executable"
        for path in sorted(executables)
        if path.exists() and not os.access(path, os.X_OK)
    ]


def failed_commands(prefix: Path, python: str, workspace: bool) -> list[str]:
    """Imports and commands that fail from another folder, one line each."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    setup = "true"
    if workspace:
        setup = f"source {prefix.parent}/local_setup.bash"
    else:
        python = str(prefix / "bin/python")
    environment["PATH"] = f"{Path(python).parent}{os.pathsep}{environment['PATH']}"
    probe = f"import {', '.join(IMPORTS)}; print(memorysam_core.__file__)"
    commands = (
        [python, "-c", probe],
        ["memorysam", "--version"],
        [str(prefix / "lib" / PACKAGE / "memorysam"), "--help"],
    )
    problems = []
    with tempfile.TemporaryDirectory() as elsewhere:
        for command in commands:
            done = subprocess.run(
                ["bash", "-c", f'{setup} && exec "$@"', "bash", *command],
                cwd=elsewhere,
                env=environment,
                capture_output=True,
                text=True,
            )
            if done.returncode:
                problems.append(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")
            elif probe in command and str(SOURCE) + os.sep in done.stdout:
                problems.append(f"imported from the source tree: {done.stdout.strip()}")
    return problems


def main() -> int:
    """Prints each problem, and returns 1 if there is one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prefix", type=Path)
    parser.add_argument("--python", default=sys.executable)
    args = parser.parse_args()
    prefix = args.prefix.resolve()
    workspace = not (prefix / "pyvenv.cfg").exists()
    problems = missing_files(prefix) + failed_commands(prefix, args.python, workspace)
    for problem in problems:
        print(f"{prefix.name}: {problem}")
    print(f"{args.prefix}: " + (f"{len(problems)} problems" if problems else "complete"))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
