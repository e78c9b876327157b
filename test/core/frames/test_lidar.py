"""LiDAR frames: which points are drawn, where, and what comes of odd clouds."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from memorysam_core.frames import lidar
from memorysam_core.frames.camera import Camera
from memorysam_core.frames.readings import PointsReading
from memorysam_core.representations import LidarRange

CAMERA = Camera(64, 48, 40.0, 40.0, 32.0, 24.0)
BENT = Camera(64, 48, 40.0, 40.0, 32.0, 24.0, "plumb_bob", (-0.2, 0, 0, 0, 0))
PLAIN = LidarRange(remove_occluded=False)
EYE = np.eye(4)


def cloud(count=3000, seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    return rng.uniform((-40, -20, -30), (40, 20, 90), (count, 3)).astype(dtype)


def drawn(xyz, how=PLAIN, transform=EYE, camera=CAMERA):
    reading = PointsReading(xyz, transform)
    view = lidar.look(reading, camera)
    frame, points = lidar.draw_lidar(view, how)
    index = lidar.find_points(view, how)
    assert (index >= 0).sum() <= points <= len(view.index)
    return frame.numpy(), index.numpy()


def slow_frame(xyz, how, camera=CAMERA):
    """The same, point by point."""
    frame = np.zeros((camera.height, camera.width), np.uint8)
    nearest = np.full(frame.shape, np.inf)
    for x, y, z in np.asarray(xyz, np.float64):
        if z <= 0:
            continue
        u, v = x / z * camera.fx + camera.cx, y / z * camera.fy + camera.cy
        if not (0 <= u < camera.width and 0 <= v < camera.height):
            continue
        distance = z if how.distance == "z" else np.sqrt(x * x + y * y + z * z)
        cell = int(v), int(u)
        if distance <= how.max_range_m and distance < nearest[cell]:
            nearest[cell] = distance
            frame[cell] = np.clip(distance / how.metres_per_level, 1, 255)
    return frame


@pytest.mark.parametrize("distance", ["euclidean", "z"])
@pytest.mark.parametrize("metres_per_level", [1.0, 0.25])
def test_frame_is_what_a_loop_over_the_points_draws(distance, metres_per_level):
    how = LidarRange(metres_per_level, 60.0, distance, remove_occluded=False)
    xyz = cloud(dtype=np.float64)
    frame, _ = drawn(xyz, how)
    assert np.array_equal(frame[..., 0], slow_frame(xyz, how))
    assert (frame[..., 0] == frame[..., 1]).all()
    assert (frame[..., 0] == frame[..., 2]).all()


def test_point_index_names_the_point_of_each_pixel():
    xyz = cloud()
    frame, index = drawn(xyz)
    assert ((index >= 0) == (frame[..., 0] > 0)).all()
    row, column = np.nonzero(index >= 0)
    points = xyz[index[row, column]]
    uv, inside = CAMERA.project(points)
    assert inside.all()
    assert np.array_equal(uv.astype(int), np.column_stack((column, row)))
    assert np.array_equal(frame[row, column, 0], np.linalg.norm(points, axis=1).astype(np.uint8))


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25)
def test_order_of_the_points_does_not_matter(seed):
    rng = np.random.default_rng(seed)
    xyz = rng.uniform((-3, -2, 4), (3, 2, 40), (4000, 3)).astype(np.float32)
    frame, index = drawn(xyz)
    shuffled, _ = drawn(rng.permutation(xyz))
    assert np.array_equal(frame, shuffled)
    assert 100 < (index >= 0).sum() < 3000  # many share a pixel


@given(
    st.lists(st.integers(4, 360), min_size=1, max_size=10, unique=True),
    st.integers(0, 63),
    st.integers(0, 47),
)
def test_nearest_return_wins(quarters, column, row):
    distances = [quarter / 4 for quarter in quarters]
    ray = CAMERA.rays()[row, column].astype(np.float64)
    xyz = np.array(distances)[:, None] * ray / np.linalg.norm(ray)
    frame, index = drawn(xyz)
    assert index[row, column] == np.argmin(distances)
    assert frame[row, column, 0] == pytest.approx(min(distances), abs=1)
    assert (index >= 0).sum() == 1


@given(arrays.arrays(np.float32, (30, 3), elements=st.floats(-100, 100, width=32)))
@settings(max_examples=50)
def test_nothing_behind_the_camera_is_drawn(xyz):
    xyz[:, 2] = -np.abs(xyz[:, 2])
    assert not drawn(xyz)[0].any()


def test_extrinsics_move_the_points():
    # REP-103: LiDAR x forward, y left, z up; 2 m above and 1 m behind the camera.
    camera_from_lidar = np.array([[0, -1, 0, 0], [0, 0, -1, -2], [1, 0, 0, -1], [0, 0, 0, 1.0]])
    frame, index = drawn(np.array([[11.0, 0, -2]]), transform=camera_from_lidar)
    assert index[24, 32] == 0  # straight ahead, 10 m away
    assert frame[24, 32, 0] == 10


def test_beyond_the_range_nothing_is_drawn_and_the_nearest_level_is_one():
    xyz = np.array([[0, 0, 0.3], [1.0, 0, 10], [-20, 0, 99], [20, 0, 99]])
    frame, _ = drawn(xyz, LidarRange(max_range_m=100, distance="euclidean", remove_occluded=False))
    assert sorted(frame[frame[..., 0] > 0, 0]) == [1, 10]


def read_only(xyz):
    xyz = xyz.copy()
    xyz.setflags(write=False)
    return xyz


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "odd",
    [
        read_only,
        lambda xyz: xyz[::-1].copy()[::-1],
        lambda xyz: xyz.astype(np.float64),
        lambda xyz: xyz.astype(">f4"),
        lambda xyz: xyz.astype(">f8"),
        lambda xyz: xyz.reshape(30, 100, 3),
        lambda xyz: np.asfortranarray(xyz),
        lambda xyz: np.repeat(xyz, 2, 0)[::2],
        lambda xyz: torch.from_numpy(xyz),
    ],
    ids=[
        "read-only",
        "backwards",
        "float64",
        "big-endian",
        "big-endian 64",
        "organised",
        "columns",
        "strided",
        "torch",
    ],
)
def test_any_layout_draws_the_same(odd):
    xyz = cloud()
    expected, expected_index = drawn(xyz)
    frame, index = drawn(odd(xyz))
    assert np.array_equal(frame, expected)
    assert np.array_equal(index, expected_index)


@pytest.mark.parametrize("order", ["<", ">"])
def test_structured_points_with_fields_anywhere(order):
    xyz = cloud()
    fields = [("intensity", f"{order}f4"), ("z", f"{order}f8"), ("ring", f"{order}u2")]
    rows = np.zeros(len(xyz), [*fields, ("x", f"{order}f8"), ("y", f"{order}f4")])
    rows["x"], rows["y"], rows["z"] = xyz.T
    assert np.array_equal(drawn(rows)[0], drawn(xyz)[0])
    assert np.array_equal(drawn(rows.reshape(30, 100))[0], drawn(xyz)[0])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("layout", ["C", "F"])
@pytest.mark.parametrize("camera", [CAMERA, BENT])
def test_rows_without_a_return_keep_their_index(layout, camera):
    xyz = cloud()
    expected, _ = drawn(xyz, camera=camera)
    gaps = np.insert(xyz, np.arange(0, len(xyz), 3), np.nan, axis=0)
    gaps[0] = np.inf
    frame, index = drawn(np.asarray(gaps, order=layout), camera=camera)
    assert np.array_equal(frame, expected)
    row, column = np.nonzero(index >= 0)
    assert np.isfinite(gaps[index[row, column]]).all()


@pytest.mark.parametrize("shape", [(0, 3), (0, 0, 3)])
def test_an_empty_scan_is_a_black_frame(shape):
    frame, index = drawn(np.zeros(shape, np.float32), LidarRange())
    assert frame.shape == (48, 64, 3)
    assert not frame.any()
    assert (index == -1).all()


def test_a_scan_all_behind_the_camera_is_a_black_frame():
    assert not drawn(-np.abs(cloud()), LidarRange())[0].any()


def test_distortion_moves_the_returns():
    point = np.array([[10.0, 0, 20]])
    _, straight = drawn(point)
    _, moved = drawn(point, camera=BENT)
    assert np.argwhere(straight == 0).tolist() == [[24, 52]]
    assert np.argwhere(moved == 0).tolist() == [[24, 51]]


def test_densified_returns_fill_empty_neighbours_only():
    xyz = np.array([[0, 0, 10.0], [1.0, 0, 10.0], [1.25, 0, 30.0]])
    sparse, index = drawn(xyz, LidarRange(remove_occluded=False))
    how = LidarRange(remove_occluded=False, densify_px=2)
    dense, dense_index = drawn(xyz, how)
    hit = sparse[..., 0] > 0
    assert np.array_equal(dense[hit], sparse[hit])
    assert np.array_equal(dense_index, index)  # labels go to points that were seen, not to filling
    assert dense[24 - 2 : 24 + 3, 32 - 2 : 32 + 3, 0].min() == 10
    assert (dense[..., 0] > 0).sum() > 20
    assert dense[24, 32 + 2, 0] == 10  # between two returns the nearer one
    assert not dense[24 + 3 :].any()


def test_labels_are_carried_back_to_the_points():
    # A wall 10 m away, sampled at every second pixel, and a return behind its middle.
    rays = CAMERA.rays()[8:40:2, 8:56:2].reshape(-1, 3)
    behind = CAMERA.rays()[25, 33] * 30
    xyz = np.vstack((rays * 10, behind, [[0, 0, -5]]))
    camera_from_lidar = np.eye(4)
    lidar_place = np.array([0.0, -3.0, 0.0])
    camera_from_lidar[:3, 3] = lidar_place
    view = lidar.look(PointsReading(xyz - lidar_place, camera_from_lidar), CAMERA)
    assert len(view.index) == len(xyz) - 1
    assert view.visible[:-1].all()
    assert not view.visible[-1]

    labels = torch.arange(96 * 128, dtype=torch.int32).view(96, 128)  # twice the camera's size
    carried = lidar.carry_back(view, labels, unlabelled=255).numpy()
    uv, _ = CAMERA.project(xyz[:-2])
    expected = labels.numpy()[uv[:, 1].astype(int) * 2, uv[:, 0].astype(int) * 2]
    assert np.array_equal(carried[:-1], expected)
    assert carried[-1] == 255
