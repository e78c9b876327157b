"""Measure speed and memory on this machine, as a table and a JSON file.

Each module with a function `rows(device, quick)` in the `bench` package of memorysam_core,
memorysam_ros and memorysam_training (where installed) is an area; `--only` picks some of them.
"""

from memorysam_core.bench.__main__ import add_arguments, run

__all__ = ["add_arguments", "run"]
