"""Arguments of commands: which part of a bag they want, and where its sensors are."""

from __future__ import annotations

import argparse
from typing import Any

from memorysam_ros.bags.dropping import Drop
from memorysam_ros.bags.reader import Bag, BagError
from memorysam_ros.bags.replay import Selection
from memorysam_ros.bags.topics import IMAGE, find
from memorysam_ros.parameter_files import allowed_beside, values_of
from memorysam_ros.parameters import Parameters, from_values


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Declares what :func:`selection`, :func:`inputs` and :func:`parameters` read."""
    add_beside(parser)
    parser.add_argument(
        "--topic",
        action="append",
        default=[],
        metavar="INPUT:=TOPIC",
        help="where an input is: image, camera_info, depth, depth_camera_info, events or points; "
        "nothing after := turns it off (default: by type and name)",
    )
    parser.add_argument("--labels", metavar="TOPIC", help="ground truth, an Image of class ids")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="every N-th set only")
    parser.add_argument("--start", type=float, default=0.0, metavar="S", help="seconds to skip")
    parser.add_argument(
        "--duration", type=float, default=float("inf"), metavar="S", help="seconds to read"
    )
    parser.add_argument(
        "--drop",
        action="append",
        default=[],
        metavar="SENSOR@FROM-TO",
        help="take a sensor away for these seconds, to see what its failure would do",
    )
    parser.add_argument("--calibration", metavar="FILE", help="extrinsics and intrinsics, as YAML")
    parser.add_argument("--params-file", metavar="FILE", help="the node's parameters")


def add_beside(parser: argparse.ArgumentParser) -> None:
    """Declares what lets several bags be read as one."""
    parser.add_argument(
        "--beside",
        action="append",
        default=[],
        metavar="BAG",
        help="another bag of the same time, such as that of a sensor recorded on its own",
    )


def selection(args: argparse.Namespace) -> Selection:
    """Which part of the bag. Raises ValueError."""
    drops = tuple(Drop.parse(drop) for drop in args.drop)
    return Selection(args.every, args.start, args.duration, drops)


def inputs(args: argparse.Namespace, bag: Bag) -> dict[str, str]:
    """Topics by input. Raises BagError or ValueError, also where the bag has no sensor."""
    named = {}
    for text in args.topic:
        name, separator, topic = text.partition(":=")
        if not separator:
            raise ValueError(f"--topic {text!r} is no INPUT:=TOPIC such as image:=/front/image_raw")
        named[name] = topic
    found = find((topic for topic in bag.topics.values() if topic.name != args.labels), named)
    if not {"image", "depth", "events", "points"} & set(found):
        listed = ", ".join(f"{t.name} ({t.msgtype})" for t in bag.topics.values()) or "nothing"
        raise BagError(f"{bag.path} has no topic of a sensor; it has {listed}")
    return found


def parameters(
    args: argparse.Namespace, bag: Bag, found: dict[str, str], **given: Any
) -> Parameters:
    """As the node's, but for what bag, command line and ``given`` say. Raises ValueError."""
    values = values_of(args.params_file) if args.params_file else {}
    values = {name: value for name, value in values.items() if not allowed_beside(name)}
    values |= {name: value for name, value in given.items() if value is not None}
    if args.calibration:
        values["calibration_file"] = args.calibration
    if "events" in found:
        is_image = bag.topics[found["events"]].msgtype == IMAGE
        values["event.source"] = "image" if is_image else "packets"
    return from_values(values)
