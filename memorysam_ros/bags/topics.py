"""Which topics of a bag are the node's inputs: as given, else told by type and name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from memorysam_ros.bags.reader import BagError, Topic

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED = "sensor_msgs/msg/CompressedImage"
INFO = "sensor_msgs/msg/CameraInfo"
CLOUD = "sensor_msgs/msg/PointCloud2"
PACKET = "event_camera_msgs/msg/EventPacket"
TRANSFORMS = "tf2_msgs/msg/TFMessage"


@dataclass(frozen=True)
class Input:
    """One input of the node."""

    sensor: str
    """The sensor of the pipeline that it feeds."""
    types: tuple[str, ...]
    """Types that it may have, the best first."""
    words: tuple[str, ...]
    """One of these must be in the topic's name, unless it has a type of its own; the best first."""
    excluded: tuple[str, ...] = ()
    """None of these may be."""


# What our own node and other people's write is no input, whatever its type.
_OUTPUTS = ("output", "debug", "label", "semantic", "segmentation", "overlay", "mask", "confidence")
_NOT_COLOUR = (*_OUTPUTS, "depth", "disparity", "event", "infra", "thermal", "lidar", "normal")

INPUTS = {
    "image": Input(
        "image",
        (IMAGE, COMPRESSED),
        ("rgb", "color", "colour", "front", "left", "image", "camera"),
        _NOT_COLOUR,
    ),
    "camera_info": Input("image", (INFO,), ("camera_info",), _NOT_COLOUR),
    "depth": Input("depth", (IMAGE, COMPRESSED), ("aligned_depth", "depth"), _OUTPUTS),
    "depth_camera_info": Input("depth", (INFO,), ("depth",), _OUTPUTS),
    "events": Input("event", (PACKET, IMAGE), ("event",), ("output", "debug")),
    "points": Input(
        "lidar",
        (CLOUD,),
        ("lidar", "velodyne", "ouster", "os_cloud", "livox", "scan", "points", "cloud"),
        (*_OUTPUTS, "depth", "camera", "stereo"),
    ),
}
"""By the names of the node's topics, ``~/input/<name>``."""


def find(topics: Iterable[Topic], given: Mapping[str, str]) -> dict[str, str]:
    """The topic of each input that the bag has, by the input's name.

    ``given`` has precedence; an empty topic there turns an input off. A camera_info belongs to the
    images beside it (``/front/image_raw`` and ``/front/camera_info``). Raises BagError for inputs
    and topics that do not exist, and for topics of a type that the input does not take.
    """
    available = {topic.name: topic for topic in topics if topic.count}
    found = {name: _given(name, topic, available) for name, topic in given.items()}
    for name, wanted in INPUTS.items():
        if name in found:
            continue
        if INFO in wanted.types:
            images = found.get("image" if name == "camera_info" else "depth")
            topic = _beside(images, available) or _best(wanted, available)
            # A lone camera_info is the colour camera's, whatever its name; depth that lies beside
            # that camera's images is registered to them.
            taken = name != "camera_info" and (not images or topic == found.get("camera_info"))
            found[name] = None if taken else topic
        else:
            found[name] = _best(wanted, available)
    return {name: found[name] for name in INPUTS if found.get(name)}  # type: ignore[misc]


def _given(name: str, topic: str, available: Mapping[str, Topic]) -> str | None:
    if name not in INPUTS:
        raise BagError(f"there is no input {name!r}; known are {', '.join(INPUTS)}")
    if not topic:
        return None
    if topic not in available:
        raise BagError(
            f"the bag has no topic {topic} for {name}; it has {', '.join(sorted(available))}"
        )
    if available[topic].msgtype not in INPUTS[name].types:
        raise BagError(
            f"topic {topic} is a {available[topic].msgtype}; {name} takes "
            f"{' or '.join(INPUTS[name].types)}"
        )
    return topic


def _best(wanted: Input, available: Mapping[str, Topic]) -> str | None:
    """The topic of the best type and the best word; of equals the fullest, then the shortest."""
    ranked = []
    for topic in available.values():
        name = topic.name.lower()
        if topic.msgtype not in wanted.types or any(word in name for word in wanted.excluded):
            continue
        words = [place for place, word in enumerate(wanted.words) if word in name]
        if not words and topic.msgtype != PACKET:
            continue
        kind = wanted.types.index(topic.msgtype)
        word = words[0] if words else len(wanted.words)
        ranked.append((kind, word, -topic.count, len(name), topic.name))
    return min(ranked)[-1] if ranked else None


def _beside(images: str | None, available: Mapping[str, Topic]) -> str | None:
    """The camera_info of an image topic: in its namespace, or in the one around it."""
    while images and "/" in images:
        images = images.rpartition("/")[0]
        topic = available.get(f"{images}/camera_info")
        if topic is not None and topic.msgtype == INFO:
            return topic.name
        if not re.search(r"/(image|compressed|depth|rgb|color|left|right)[^/]*$", images):
            return None
    return None
