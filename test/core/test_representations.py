"""Representations: every value survives the checkpoint's header, and nothing wrong gets in."""

import dataclasses

import pytest

from memorysam_core import representations
from memorysam_core.representations import (
    BY_NAME,
    EventPolarity,
    Hha,
    LidarRange,
    LogDepth,
    from_dict,
    to_dict,
)

CHANGED = [
    LogDepth(far_m=200.0, invalid_level=3),
    Hha(levels_per_metre=5.0),
    LidarRange(0.5, 80.0, "z", False, 2),
    EventPolarity(0.02, "blue"),
]


@pytest.mark.parametrize("representation", [kind() for kind in BY_NAME.values()] + CHANGED)
def test_there_and_back(representation):
    assert from_dict(to_dict(representation)) == representation


def test_defaults_are_the_published_ones():
    assert LogDepth() == LogDepth(1000.0, 5.70378, 0.005, 0)
    assert LidarRange().metres_per_level == 1.0
    assert LidarRange().max_range_m == 100.0
    assert from_dict({"name": "hha"}) == Hha()


def test_all_are_frozen_and_say_what_they_are_drawn_from():
    for kind in BY_NAME.values():
        assert kind.reading in ("image", "depth", "points", "events", "rendered")
        with pytest.raises(dataclasses.FrozenInstanceError):
            kind().name = "other"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "lidar"}, "no representation 'lidar'; known are .*lidar_range"),
        ({}, "no representation None"),
        ({"name": "hha", "version": representations.VERSION + 1}, "use the release that wrote"),
        ({"name": "hha", "offset": 1.0}, "no parameter offset; known are .*angle_offset"),
        ({"name": "rgb", "offset": 1.0}, "known are none"),
        ({"name": "hha", "far_m": "far"}, "give a float such as 1000.0"),
        ({"name": "hha", "far_m": True}, "give a float"),
        ({"name": "lidar_range", "remove_occluded": 1}, "give a bool"),
        ({"name": "lidar_range", "distance": "manhattan"}, "accepted are euclidean, z"),
        ({"name": "event_polarity", "positive": "green"}, "accepted are red, blue"),
        ({"name": "log_depth", "far_m": 0.0}, "give a number above 0"),
        ({"name": "event_polarity", "window_s": -0.1}, "give a number above 0"),
        ({"name": "lidar_range", "metres_per_level": 0}, "give a number above 0"),
        (
            {"name": "lidar_range", "metres_per_level": 0.25},
            "grey levels end at 64 m, and max_range_m is 100: .* give max_range_m up to 64",
        ),
        ({"name": "lidar_range", "densify_px": -1}, "give a number from 0"),
        ({"name": "lidar_range", "densify_px": 1.5}, "give a whole number"),
        ({"name": "log_depth", "invalid_level": 256}, "give a level from 0 to 255"),
    ],
)
def test_wrong_values_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        from_dict(values)
