"""Readings refuse what could only be drawn wrongly."""

import numpy as np
import pytest

from memorysam_core.frames import (
    Camera,
    DepthReading,
    EventsReading,
    ImageReading,
    PointsReading,
    RenderedReading,
)

EYE = np.eye(4)


@pytest.mark.parametrize("kind", [ImageReading, RenderedReading])
@pytest.mark.parametrize(
    "pixels",
    [np.zeros((4, 5), np.uint8), np.zeros((4, 5, 4), np.uint8), np.zeros((4, 5, 3), np.float32)],
)
def test_pixels_are_bytes_in_three_channels(kind, pixels):
    with pytest.raises(ValueError, match=r"give uint8 \(H, W, 3\)"):
        kind(pixels)


def test_depth_and_its_camera_have_one_size():
    with pytest.raises(ValueError, match="4 x 5 pixels .* comes with a camera of 5 x 4"):
        DepthReading(np.zeros((4, 5)), Camera(4, 5, 3, 3, 2, 2))
    with pytest.raises(ValueError, match="camera_from_depth but no camera"):
        DepthReading(np.zeros((4, 5)), None, EYE)
    with pytest.raises(ValueError, match=r"shape \(4, 5, 1\)"):
        DepthReading(np.zeros((4, 5, 1)))


def test_points_have_three_coordinates_and_a_transform():
    with pytest.raises(ValueError, match=r"give \(N, 3\) or \(H, W, 3\)"):
        PointsReading(np.zeros((7, 4)), EYE)
    with pytest.raises(ValueError, match="fields a, b; x, y and z are needed"):
        PointsReading(np.zeros(3, [("a", "f4"), ("b", "f4")]), EYE)
    with pytest.raises(ValueError, match="camera_from_lidar has the shape"):
        PointsReading(np.zeros((7, 3)), np.eye(3))


def test_events_are_of_one_length():
    three, two = np.zeros(3, int), np.zeros(2, int)
    with pytest.raises(ValueError, match=r"lengths \[2, 3\]"):
        EventsReading(three, three, two, three, 8, 6)
    with pytest.raises(ValueError, match="give its resolution"):
        EventsReading(two, two, two, two, 0, 6)
