"""What setup.cfg cannot say: the files that ROS 2 looks for beside the Python packages.

`pip install` puts them under the environment's prefix, `colcon build` under the package's.
Executables of `ros2 run` and launch files are data files, because a wheel writes nothing else to
`lib/<package>`; their `env python3` also finds the Python of an activated virtual environment.
The `memorysam` command itself is a console script and stays in `bin`, hence no `script_dir`.
"""

import os

from setuptools import setup

PACKAGE = "memorysam_ros"


def tree(source, target):
    """Every file under the folder `source`, as data files of the same layout under `target`."""
    pairs = []
    for folder, _, names in sorted(os.walk(source)):
        files = [os.path.join(folder, name) for name in sorted(names) if not name.endswith(".pyc")]
        if files:
            pairs.append(
                (os.path.normpath(os.path.join(target, os.path.relpath(folder, source))), files)
            )
    return pairs


setup(
    python_requires=">=3.10",  # not in setup.cfg: colcon cannot read what setuptools makes of it
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
        *tree("launch", f"share/{PACKAGE}/launch"),
        *tree("config", f"share/{PACKAGE}/config"),
        *tree("resource/executables", f"lib/{PACKAGE}"),
    ],
)
