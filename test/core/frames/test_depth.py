"""Depth: the published grey levels, and depth of another camera."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from memorysam_core.frames import depth
from memorysam_core.frames.camera import Camera
from memorysam_core.frames.readings import DepthReading
from memorysam_core.representations import LogDepth

COLOUR = Camera(320, 240, 200.0, 200.0, 160.0, 120.0)


@pytest.mark.parametrize(
    ("metres", "grey"),
    [(5, 18), (10, 49), (20, 80), (50, 121), (100, 152), (200, 183), (500, 224), (1000, 255)],
)
def test_grey_levels_are_delivers(metres, grey):
    assert depth.grey_from_metres(torch.tensor([float(metres)]), LogDepth()) == grey


@pytest.mark.parametrize("metres", [0.01, 1.0, 3.42])
def test_near_depth_is_drawn_as_one(metres):
    assert depth.grey_from_metres(torch.tensor([metres]), LogDepth()) == 1


@pytest.mark.parametrize("metres", [0.0, -1.0, float("nan"), float("inf"), -float("inf")])
def test_what_is_no_measurement_is_drawn_as_invalid(metres):
    assert depth.grey_from_metres(torch.tensor([metres]), LogDepth()) == 0
    assert depth.grey_from_metres(torch.tensor([metres]), LogDepth(invalid_level=255)) == 255


@given(st.floats(3.6, 999))
def test_grey_comes_back_within_half_a_level(metres):
    how = LogDepth()
    grey = depth.grey_from_metres(torch.tensor([metres]), how)
    back = float(depth.metres_from_grey(grey, how))
    levels = 255 * abs(np.log(back / metres)) / how.log_range
    assert levels <= 0.5 + 1e-3


def test_invalid_grey_comes_back_as_nan():
    assert torch.isnan(depth.metres_from_grey(torch.tensor([0], dtype=torch.uint8), LogDepth()))


def test_registered_depth_is_resized_by_nearest_neighbour():
    metres = np.array([[1, 2], [0, np.inf]], np.float32)
    got = depth.register(DepthReading(metres), Camera(4, 4, 2, 2, 2, 2)).numpy()
    assert got[:2].tolist() == [[1, 1, 2, 2]] * 2
    assert np.isnan(got[2:]).all()


def scene(camera, transform):
    """Depth of a floor 1.2 m below, a wall at 8 m and a box at 3 m, and what colour sees of it."""
    rays = camera.rays().reshape(-1, 3).astype(np.float64) @ transform[:3, :3].T
    origin = transform[:3, 3]
    with np.errstate(divide="ignore", invalid="ignore"):
        floor = (1.2 - origin[1]) / rays[:, 1]
        wall, box = (8 - origin[2]) / rays[:, 2], (3 - origin[2]) / rays[:, 2]
    at_box = origin + box[:, None] * rays
    in_box = (np.abs(at_box[:, 0] - 0.2) < 0.5) & (np.abs(at_box[:, 1]) < 0.4)
    z = np.minimum(np.where(floor > 0, floor, np.inf), wall)
    return np.where(in_box, np.minimum(z, box), z).reshape(camera.height, camera.width)


@pytest.mark.parametrize(
    "depth_camera",
    [
        Camera(320, 240, 150.0, 150.0, 160.0, 120.0),
        Camera(106, 80, 50.0, 50.0, 53.0, 40.0),
        Camera(640, 480, 300.0, 300.0, 320.0, 240.0),
        Camera(320, 240, 150.0, 150.0, 160.0, 120.0, "plumb_bob", (-0.1, 0.02, 0, 0, 0)),
    ],
    ids=["same size", "a third", "double", "distorted"],
)
def test_depth_of_another_camera_fills_the_colour_camera(depth_camera):
    camera_from_depth = np.eye(4)
    camera_from_depth[:3, 3] = 0.06, 0.0, -0.02
    metres = scene(depth_camera, camera_from_depth).astype(np.float32)
    truth = scene(COLOUR, np.eye(4))
    got = depth.register(DepthReading(metres, depth_camera, camera_from_depth), COLOUR).numpy()
    close = np.abs(got - truth) < 0.04 * truth
    # Inside the depth camera's view: no holes but the strip that the box hides from it.
    inner = np.s_[20:-20, 20:-20]
    assert np.isfinite(got[inner]).mean() > 0.985
    assert close[inner].mean() > 0.96
    # No row and no column pattern of empty pixels on the wall above the box.
    assert np.isfinite(got[30:60, 40:-40]).all()


@pytest.mark.parametrize(
    ("depth_camera", "place"),
    [
        (Camera(320, 240, 200.0, 200.0, 160.0, 120.0), (0.0, 0.0, -1.6)),
        (Camera(320, 240, 400.0, 400.0, 160.0, 120.0), (0.0, 0.0, -2.2)),
        (Camera(320, 240, 200.0, 200.0, 160.0, 120.0), (0.0, 0.75, 0.0)),
        (Camera(320, 240, 200.0, 200.0, 160.0, 120.0, "equidistant"), (0.1, 0.0, -1.2)),
    ],
    ids=["behind", "far behind, finer", "close above the floor", "fisheye behind"],
)
def test_what_the_colour_camera_sees_from_nearer_has_no_holes(depth_camera, place):
    """Near the camera, and where it looks down on what the depth camera sees at a grazing angle."""
    camera_from_depth = np.eye(4)
    camera_from_depth[:3, 3] = place
    metres = scene(depth_camera, camera_from_depth).astype(np.float32)
    got = depth.register(DepthReading(metres, depth_camera, camera_from_depth), COLOUR).numpy()
    # What the depth camera sees of it: the box, and the floor between them.
    truth = scene(COLOUR, np.eye(4))
    seen = COLOUR.rays() * truth[..., None] - place
    uv, inside = depth_camera.project(seen.reshape(-1, 3))
    column, row = np.where(inside[:, None], uv, 0).astype(int).T
    inside &= np.abs(metres[row, column] - seen[..., 2].ravel()) < 0.05 * seen[..., 2].ravel()
    inside = inside.reshape(truth.shape)
    assert inside.mean() > 0.2
    assert np.isfinite(got)[inside].mean() > 0.995
    assert (np.abs(got - truth) < 0.05 * truth)[inside].mean() > 0.97


def test_the_nearer_surface_wins():
    depth_camera = Camera(64, 48, 40.0, 40.0, 32.0, 24.0)
    metres = np.full((48, 64), 10.0, np.float32)
    metres[:, 32:] = 2.0
    camera_from_depth = np.eye(4)
    camera_from_depth[0, 3] = -0.5  # moves the near half by 10 pixels over the far one
    reading = DepthReading(metres, depth_camera, camera_from_depth)
    got = depth.register(reading, Camera(64, 48, 40.0, 40.0, 32.0, 24.0)).numpy()
    assert (got[24, 23:50] == 2).all()
    assert got[24, 15] == 10


def test_nothing_is_drawn_between_two_surfaces():
    depth_camera = Camera(64, 48, 40.0, 40.0, 32.0, 24.0)
    metres = np.full((48, 64), 10.0, np.float32)
    metres[:, 32:] = 2.0
    camera = Camera(256, 192, 160.0, 160.0, 128.0, 96.0)
    reading = DepthReading(metres, depth_camera, np.diag([1.0, 1, 1, 1]) + np.eye(4, k=3) * 0.01)
    got = depth.register(reading, camera)
    values = got[torch.isfinite(got)]
    assert set(np.unique(values.numpy().round(3))) == {2.0, 10.0}


def test_the_same_view_is_taken_as_it_is():
    camera = Camera(64, 48, 40.0, 40.0, 32.0, 24.0)
    metres = torch.rand(48, 64) + 1
    assert torch.equal(depth.register(DepthReading(metres, camera, np.eye(4)), camera), metres)


def test_depth_without_any_measurement_is_all_nan():
    reading = DepthReading(np.zeros((48, 64)), Camera(64, 48, 30, 30, 32, 24), np.eye(4))
    assert torch.isnan(depth.register(reading, COLOUR)).all()


def test_the_baseline_of_a_rectified_camera_counts_as_one_more_shift():
    depth_camera = Camera(64, 48, 40.0, 40.0, 32.0, 24.0)
    metres = np.random.default_rng(0).uniform(2, 9, (48, 64)).astype(np.float32)
    moved = np.eye(4)
    moved[0, 3] = 0.2 - 0.12
    stereo = Camera(96, 72, 60.0, 60.0, 48.0, 36.0, shift_m=(-0.12, 0.0))
    moved_by_p = np.eye(4)
    moved_by_p[0, 3] = 0.2
    plain = Camera(96, 72, 60.0, 60.0, 48.0, 36.0)
    got = depth.register(DepthReading(metres, depth_camera, moved_by_p), stereo)
    expected = depth.register(DepthReading(metres, depth_camera, moved), plain)
    assert torch.allclose(got, expected, equal_nan=True)
    assert torch.isfinite(got).float().mean() > 0.8


def test_depth_of_any_size_and_layout_is_drawn():
    metres = torch.full((512, 512), 10.0)
    metres[300:, :] = torch.nan
    metres[:, 500:] = 100.0
    grey = depth.grey_from_metres(metres.T, LogDepth())  # of any layout
    assert set(grey[:500, :300].unique().tolist()) == {49}
    assert set(grey[:500, 300:].unique().tolist()) == {0}
    assert set(grey[500:].unique().tolist()) == {152}
