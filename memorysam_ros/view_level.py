"""Stands clouds upright in a viewer where nobody tells how the camera stands.

A camera's optical frame looks along z, with y down (REP-103). Viewers take z for up, so that a
cloud in that frame stands on end, unless transforms say otherwise.
"""

from __future__ import annotations

import struct

import foxglove
import numpy as np

from memorysam_ros.bags.types import typestore
from memorysam_ros.conversions import Outputs, bag_messages

TOPIC, PARENT = "/memorysam_view/tf_static", "memorysam_view"
_TYPE = "tf2_msgs/msg/TFMessage"
_LEVEL_FROM_OPTICAL = np.array([[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]], float)
"""z forward, x right, y down becomes x forward, y left, z up."""
_HEADER = struct.Struct("<4xiII")
"""In CDR: its own header, then seconds, nanoseconds and the length of the frame's name."""


class Level:
    """A channel that tells of level cameras; there is nothing on it before :meth:`heard`."""

    def __init__(self, context: foxglove.Context) -> None:
        definition, _ = typestore().generate_msgdef(_TYPE, ros_version=2)
        schema = foxglove.Schema(name=_TYPE, encoding="ros2msg", data=definition.encode())
        self._channel = foxglove.Channel(
            TOPIC, schema=schema, message_encoding="cdr", context=context
        )
        self._outputs = Outputs(bag_messages(typestore()))
        self.frames: set[str] = set()
        """The optical frames that are taken to be level."""

    def heard(self, cloud: bytes) -> None:
        """A cloud in an optical frame goes to the viewer, in CDR."""
        length = _HEADER.unpack_from(cloud)[2]
        name = cloud[_HEADER.size : _HEADER.size + length - 1].decode("utf-8", "replace")
        if name not in self.frames:
            self.frames.add(name)
            self.tell()

    def tell(self) -> None:
        """Once more, for viewers that came since."""
        edges = [(0, PARENT, name, _LEVEL_FROM_OPTICAL) for name in sorted(self.frames)]
        if edges:
            message = self._outputs.transforms(edges)
            self._channel.log(bytes(typestore().serialize_cdr(message, _TYPE)))

    def close(self) -> None:
        """Withdraws the channel."""
        self._channel.close()
