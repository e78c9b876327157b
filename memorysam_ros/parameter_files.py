"""The declared parameters as ``config/segment.yaml`` and as the table of ``docs/parameters.md``.

``python -m memorysam_ros.parameter_files yaml`` (or ``markdown``) prints them; a test compares the
files in the repository with that.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from memorysam_ros.parameters import Parameter, Value, table, unknown_names

_NODE = "segment_node"
_ANY = ("**", "*")

_HEAD = """\
# Every parameter of segment_node with its default. Copy it, and keep the lines that you change.
# Printed by `python -m memorysam_ros.parameter_files yaml` from memorysam_ros/parameters.py.
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


def values_of(path: str | Path) -> dict[str, Any]:
    """What a ROS parameter file says to segment_node, in whatever namespace, by dotted name.

    Raises ValueError where the file has no ``ros__parameters``, or only those of other nodes.
    """
    nodes = _nodes_in(path)
    if nodes and not any(map(_is_ours, nodes)):
        raise ValueError(
            f"{path} has parameters of {', '.join(nodes)} only; begin those for this node with "
            f"'/**:' or '{_NODE}:'"
        )
    return _for_us(nodes)


def unknown_in(path: str | Path) -> list[str]:
    """Names for segment_node in a parameter file that are neither a parameter nor what it may hold
    beside them.
    """
    values = _for_us(_nodes_in(path))
    return [name for name in unknown_names(values) if not no_setting(name)]


def no_setting(name: str) -> bool:
    """Whether a parameter file may hold this name though it is no setting of ours: what every ROS
    node has, or accepts, and the label space, which `ros2 param dump` writes as well.
    """
    return name.partition(".")[0] in (
        "use_sim_time",
        "qos_overrides",
        "start_type_description_service",
        "label_space",
    )


def _is_ours(node: str) -> bool:
    return node.rpartition("/")[2] in (*_ANY, _NODE)


def _for_us(nodes: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    # What names the node has the last word.
    ours = sorted(filter(_is_ours, nodes), key=lambda name: name.endswith(_NODE))
    return {key: value for name in ours for key, value in nodes[name].items()}


def _nodes_in(path: str | Path) -> dict[str, dict[str, Any]]:
    """The parameters of each node by its name; namespaces may be nested or part of names."""
    import yaml

    content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    found: dict[str, dict[str, Any]] = {}

    def look(name: str, inside: Any) -> None:
        if not isinstance(inside, Mapping):
            raise ValueError(
                f"{path} is no ROS parameter file; begin it with '/**:' and 'ros__parameters:'"
            )
        for key, value in inside.items():
            if key == "ros__parameters":
                found[name] = _flat(value or {})
            else:
                look(f"{name.rstrip('/')}/{str(key).lstrip('/')}", value)

    look("", content or {})
    return found


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{name}."))
        else:
            flat[prefix + name] = value
    return flat


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
