"""What a checkpoint and the parameters make of the sensors: who feeds what, by which rules."""

from __future__ import annotations

import dataclasses

from memorysam_core.contract import InputContract
from memorysam_ros.calibration import Calibration, parse_transform
from memorysam_ros.matching_rules import MatchingRules, SensorRule
from memorysam_ros.parameters import FROM_TF, Parameters

SENSORS = ("image", "depth", "event", "lidar")
"""The node's sensors; the camera is the first."""
_SENSOR_OF = {"image": "image", "depth": "depth", "events": "event", "points": "lidar"}


def fed_by(contract: InputContract, parameters: Parameters) -> dict[str, str]:
    """For each modality of a checkpoint that a sensor of the node feeds, that sensor."""
    feeds = {}
    for modality in contract.modalities:
        reading = modality.representation.reading
        sensor = modality.name if reading == "rendered" else _SENSOR_OF[reading]
        if sensor in SENSORS and getattr(parameters, sensor).policy != "unused":
            feeds[modality.name] = sensor
    return feeds


def listened_to(contract: InputContract, parameters: Parameters) -> tuple[str, ...]:
    """The sensors that feed a checkpoint, and those of which labelled clouds can be made."""
    fed = fed_by(contract, parameters).values()
    clouds = [s for s in ("depth", "lidar") if getattr(parameters, s).policy != "unused"]
    return tuple(sensor for sensor in SENSORS if sensor in fed or sensor in clouds)


def matching_rules(contract: InputContract, parameters: Parameters) -> MatchingRules:
    """The rules of matching for the sensors that are listened to."""
    feeds, listened = fed_by(contract, parameters), listened_to(contract, parameters)
    windows = [
        round(contract.modality(name).representation.window_s * 1e9)  # type: ignore[union-attr]
        for name, sensor in feeds.items()
        if sensor == "event" and parameters.event.source == "packets"
    ]
    followers = []
    for sensor in SENSORS[1:]:
        if sensor in listened:
            own = getattr(parameters, sensor)
            followers.append(
                SensorRule(
                    sensor,
                    own.policy,
                    offset_ns=round(own.offset * 1e9),
                    tolerance_ns=round(own.tolerance * 1e9),
                    max_age_ns=round(own.max_age * 1e9),
                    window_ns=max(windows, default=0) if sensor == "event" else 0,
                    extra=sensor not in feeds.values() and own.policy != "required",
                )
            )
    matching = parameters.matching
    return MatchingRules(
        SensorRule("image", parameters.image.policy),  # type: ignore[arg-type]
        tuple(followers),
        deadline_ns=round(matching.deadline * 1e9),
        silent_after_ns=round(matching.silent_after * 1e9),
        jump_ns=round(matching.jump * 1e9),
        queue_depth=matching.queue_depth,
        max_open=matching.queue_depth,
    )


def calibration_of(parameters: Parameters) -> Calibration:
    """What the user gives in the file, and, before it, in parameters. Raises CalibrationError."""
    path = parameters.calibration_file
    given = Calibration.from_file(path) if path else Calibration()
    poses = {
        "depth": parameters.depth.camera_from_depth,
        "lidar": parameters.lidar.camera_from_lidar,
    }
    named = {name: parse_transform(pose) for name, pose in poses.items() if pose != FROM_TF}
    return dataclasses.replace(given, extrinsics={**given.extrinsics, **named})
