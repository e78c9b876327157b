"""The declared parameters as ``config/segment.yaml`` and as the table of ``docs/parameters.md``.

``python -m memorysam_ros.parameter_tables yaml`` (or ``markdown``) prints them; a test compares the
files in the repository with that.
"""

from __future__ import annotations

import sys
import textwrap
from itertools import groupby

from memorysam_ros.parameters import Parameter, Value, table

_HEAD = """\
# Every parameter of segment_node with its default. Copy it, and keep the lines that you change.
# Printed by `python -m memorysam_ros.parameter_tables yaml` from memorysam_ros/parameters.py.
# Values take effect at the next `configure`.
/**:
  ros__parameters:
"""


def yaml_text() -> str:
    """``config/segment.yaml``: root ``/**``, each parameter under a comment."""
    lines = [_HEAD]
    for group, rows in groupby(table(), key=lambda row: row.name.rpartition(".")[0]):
        indent = " " * (6 if group else 4)
        if group:
            lines.append(f"\n    {group}:\n")
        for row in rows:
            comment = textwrap.wrap(_meaning(row), 98 - len(indent))
            lines += [f"{indent}# {line}\n" for line in comment]
            lines.append(f"{indent}{row.name.rpartition('.')[2]}: {_yaml_value(row.default)}\n")
    return "".join(lines)


def markdown_table() -> str:
    """The table of ``docs/parameters.md``."""
    lines = ["| parameter | type | default | meaning |\n", "|---|---|---|---|\n"]
    for row in table():
        cells = (f"`{row.name}`", row.type_name, f"`{_yaml_value(row.default)}`", _meaning(row))
        lines.append(f"| {' | '.join(cells)} |\n")
    return "".join(lines)


def _meaning(row: Parameter) -> str:
    limits = row.limits
    meaning = limits.description
    if not meaning.startswith(limits.choices or "\0"):
        meaning = meaning[0].upper() + meaning[1:]
    facts = []
    if limits.unit:
        facts.append(limits.unit)
    if limits.choices and not all(f"{choice}:" in limits.description for choice in limits.choices):
        facts.append(", ".join(limits.choices))
    if limits.minimum is not None and limits.maximum is not None:
        facts.append(f"{limits.minimum:g} to {limits.maximum:g}")
    if limits.read_only:
        facts.append("read-only")
    return f"{meaning} ({'; '.join(facts)})." if facts else f"{meaning}."


def _yaml_value(value: Value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    return f"[{', '.join(map(str, value))}]" if isinstance(value, tuple) else str(value)


if __name__ == "__main__":
    sys.stdout.write({"yaml": yaml_text, "markdown": markdown_table}[sys.argv[1]]())
