"""What a ROS parameter file says to the node."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from memorysam_ros.parameters import unknown_names

_NODE = "segment_node"
_ANY = ("**", "*")


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
    return [name for name in unknown_names(values) if not allowed_beside(name)]


def allowed_beside(name: str) -> bool:
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
