"""The declared parameters on a ROS node: declared from the table, read into the dataclass."""

from __future__ import annotations

from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

from memorysam_core.labels import LabelSpace
from memorysam_ros.parameter_files import allowed_beside
from memorysam_ros.parameters import (
    Parameter,
    Parameters,
    check,
    from_values,
    table,
    unknown_names,
)


def declare(node: Any) -> None:
    """Declares all parameters. rclpy raises where an override has another type."""
    for row in table():
        default = list(row.default) if isinstance(row.default, tuple) else row.default
        node.declare_parameter(row.name, default, _descriptor(row))


def read(node: Any) -> Parameters:
    """The values now. Raises ValueError for one that is not accepted."""
    return from_values({row.name: node.get_parameter(row.name).value for row in table()})


def refuse(changes: list[Any]) -> str:
    """Why a change of parameters is not accepted; empty where it is.

    Each is looked at by itself: of two that go together, one is always set first.
    """
    try:
        for parameter in changes:
            check(parameter.name, parameter.value)
    except ValueError as error:
        return str(error)
    return ""


def own(changes: list[Any]) -> list[str]:
    """The names among these that are parameters of the table."""
    others = unknown_names({parameter.name: None for parameter in changes})
    return [parameter.name for parameter in changes if parameter.name not in others]


def unknown_overrides(node: Any) -> list[str]:
    """Names that the user gave a value for and that are no parameter of the node."""
    # rclpy offers no public way to see overrides of parameters that nobody declares.
    given = getattr(node, "_parameter_overrides", {})
    return [n for n in unknown_names(given) if not allowed_beside(n) and not node.has_parameter(n)]


class LabelSpaceParameters:
    """The label space as parameters that only the node sets, from its checkpoint."""

    def __init__(self, node: Any) -> None:
        self._node = node
        self._names: list[str] = []

    def publish(self, space: LabelSpace) -> None:
        """Declares ``label_space.{name,classes,colors,ignore}``, in place of earlier ones."""
        self.withdraw()
        values = {
            "name": (space.name, "name of the label space"),
            "classes": (list(space.classes), "class names, by id"),
            "colors": (
                ["#{:02x}{:02x}{:02x}".format(*colour) for colour in space.colours],
                "display colours, by id",
            ),
            "ignore": (space.ignore_id, "the id of a pixel without a label"),
        }
        for name, (value, description) in values.items():
            full = f"label_space.{name}"
            descriptor = ParameterDescriptor(description=f"{description}; from the checkpoint")
            self._node.declare_parameter(full, value, descriptor, ignore_override=True)
            self._names.append(full)
            self._node.describe_parameter(full).read_only = True

    def withdraw(self) -> None:
        """Takes them away, as the checkpoint is gone."""
        for name in self._names:
            self._node.describe_parameter(name).read_only = False  # else it would have to stay
            self._node.undeclare_parameter(name)
        self._names.clear()


def _descriptor(row: Parameter) -> ParameterDescriptor:
    limits = row.limits
    unit = f" [{limits.unit}]" if limits.unit else ""
    descriptor = ParameterDescriptor(
        description=limits.description + unit,
        read_only=limits.read_only,
        additional_constraints=", ".join(limits.choices),
    )
    if limits.minimum is not None and limits.maximum is not None:
        if isinstance(row.default, int):
            bounds = (int(limits.minimum), int(limits.maximum))
            descriptor.integer_range = [IntegerRange(from_value=bounds[0], to_value=bounds[1])]
        else:
            low, high = float(limits.minimum), float(limits.maximum)
            descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
    return descriptor
