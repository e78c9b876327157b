"""Occlusion removal, against the truth of a ray cast."""

import numpy as np
import pytest
import torch

from memorysam_core.bench.street import Lidar, Street, front_camera, mounted
from memorysam_core.frames import lidar, occlusion
from memorysam_core.frames.camera import Camera
from memorysam_core.frames.readings import PointsReading

RINGS_64 = Lidar()
RINGS_32 = Lidar(32, -25, 15)


def shares(street, sensor, transform, camera):
    """Of all points in view: how many are occluded; of these removed; of the others lost."""
    scan = street.scan(sensor, transform)
    view = lidar.look(PointsReading(scan.xyz, transform), camera)
    occluded, removed = scan.occluded[view.index.numpy()], ~view.visible.numpy()
    return occluded.mean(), removed[occluded].mean(), removed[~occluded].mean()


@pytest.fixture(scope="module")
def streets():
    return [Street(seed) for seed in range(3)]


@pytest.mark.parametrize(
    ("sensor", "transform", "camera"),
    [
        (RINGS_64, mounted(1.2, 1.2), front_camera(1024, 1024)),
        (RINGS_64, mounted(1.2, 1.2), front_camera(640, 384)),
        (RINGS_64, mounted(1.2, 1.2), front_camera(1920, 1080)),
        (RINGS_64, mounted(0.3, 0.5, 0.8), front_camera(1024, 1024)),
        (RINGS_64, mounted(1.2, 1.2, pitch_deg=8), front_camera(1024, 1024)),
        (RINGS_32, mounted(1.2, 1.2), front_camera(1024, 1024)),
        (Lidar(64, -22.5, 22.5, 1024), mounted(1.2, 1.2), front_camera(1024, 1024)),
        (Lidar(128, -25, 15), mounted(1.2, 1.2), front_camera(1024, 1024)),
    ],
    ids=["64", "64 small", "64 full HD", "64 beside", "64 tilted", "32", "64 coarse", "128"],
)
def test_most_occluded_points_go_and_most_visible_ones_stay(streets, sensor, transform, camera):
    results = np.array([shares(street, sensor, transform, camera) for street in streets])
    occluded, removed, lost = results.mean(0)
    assert occluded > 0.05
    assert removed >= 0.9
    assert lost <= 0.02


def test_sensors_in_one_place_hide_nothing_from_each_other(streets):
    scan = streets[0].scan(RINGS_64, mounted(0, 0))
    assert lidar.look(PointsReading(scan.xyz, mounted(0, 0)), front_camera()).visible.all()


def test_bare_ground_stays_whole_up_to_the_horizon():
    # Rings on a plane 1.6 m below the camera: the hardest grazing angle there is.
    elevation = np.deg2rad(np.linspace(-25, -1.6, 60))[:, None]
    azimuth = np.deg2rad(np.arange(-60, 60, 0.2))
    distance = 2.8 / np.tan(-elevation)
    xyz = np.stack(np.broadcast_arrays(
        distance * np.cos(azimuth), distance * np.sin(azimuth), np.full_like(distance, -2.8)
    ), -1)  # fmt: skip
    view = lidar.look(PointsReading(xyz, mounted(1.2, 1.2)), front_camera())
    assert len(view.index) > 10_000
    assert view.visible.float().mean() > 0.985


@pytest.mark.parametrize("angle_deg", [0, 30, 60, 80])
def test_walls_at_any_angle_stay_whole(angle_deg):
    wall_u, wall_v = np.meshgrid(np.arange(-6, 6, 0.05), np.arange(-2, 1.5, 0.12))
    c, s = np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))
    xyz = np.stack((wall_u * c + 3.0, wall_v, 9 + wall_u * s), -1).reshape(-1, 3)
    transform = np.eye(4)
    transform[:3, 3] = 0.4, -1.2, -1.2
    points = xyz - transform[:3, 3]
    view = lidar.look(PointsReading(points, transform), front_camera())
    assert view.visible.float().mean() > 0.995


def test_a_camera_turned_on_its_side_sees_the_same(streets):
    scan = streets[0].scan(RINGS_64, mounted(1.2, 1.2))
    turn = np.array([[0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    view = lidar.look(PointsReading(scan.xyz, turn @ scan.camera_from_lidar), front_camera())
    occluded, removed = scan.occluded[view.index.numpy()], ~view.visible.numpy()
    assert removed[occluded].mean() >= 0.9
    assert removed[~occluded].mean() <= 0.02


def test_order_of_the_points_does_not_matter(streets):
    scan = streets[1].scan(RINGS_64, mounted(1.2, 1.2))
    order = np.random.default_rng(0).permutation(len(scan.xyz))
    view = lidar.look(PointsReading(scan.xyz, scan.camera_from_lidar), front_camera())
    other = lidar.look(PointsReading(scan.xyz[order], scan.camera_from_lidar), front_camera())
    visible = set(view.index[view.visible].tolist())
    assert visible == set(order[other.index[other.visible].numpy()].tolist())


@pytest.mark.parametrize("sensor", [RINGS_64, RINGS_32, Lidar(16, -15, 15, 1800)])
@pytest.mark.parametrize("size", [(1024, 1024), (640, 384)])
def test_gaps_along_some_lines_are_those_along_all(streets, sensor, size, monkeypatch):
    scan = streets[0].scan(sensor, mounted(1.2, 1.2))
    gaps, measure = [], occlusion._gaps
    monkeypatch.setattr(occlusion, "_gaps", lambda *point: gaps.append(measure(*point)) or gaps[-1])
    for lines in (occlusion._LINES, 10**6):
        monkeypatch.setattr(occlusion, "_LINES", lines)
        lidar.look(PointsReading(scan.xyz, scan.camera_from_lidar), front_camera(*size))
    some, every = map(np.array, gaps)
    assert every.min() >= 2
    assert np.abs(some - every).max() <= 1


def test_one_stray_return_in_front_hides_nothing():
    wall = np.stack(np.meshgrid(np.arange(-5, 5, 0.1), np.arange(-3, 3, 0.2), [15.0]), -1)
    xyz = np.vstack((wall.reshape(-1, 3), [[0.03, 0.03, 3.0]]))
    transform = np.eye(4)
    transform[:3, 3] = 0, -1.2, -1.2
    view = lidar.look(PointsReading(xyz - transform[:3, 3], transform), front_camera())
    assert (~view.visible).sum() <= 4


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_handful_of_points_is_no_trouble(count):
    xyz = np.array([[0.1 * k, 0.0, 5 + k] for k in range(count)])
    transform = np.eye(4)
    transform[1, 3] = -1
    view = lidar.look(PointsReading(xyz, transform), Camera(32, 24, 20, 20, 16, 12))
    assert view.visible.dtype == torch.bool
    assert view.visible.all()


def test_nearness_keeps_its_order_in_8_bits_and_loses_3_percent():
    nearness = 1 / torch.logspace(np.log10(1.001), np.log10(255.9), 2000)
    short = occlusion._short(nearness)
    assert (short.int().diff() <= 0).all() and short.unique().numel() == 255
    lost = 1 - occlusion._long(short) / nearness
    assert lost.min() >= 0 and lost.max() <= 1 / 32
    beyond = occlusion._short(torch.tensor([1 / 0.001, 1 / 5000]))
    assert beyond.tolist() == [255, 1]
    assert occlusion._long(torch.zeros(1, dtype=torch.uint8)) < 1 / 256


def test_a_wall_hides_nothing_of_itself_however_far_it_is():
    """Farther than nearness is told apart, and where the sensors' distance counts for little."""
    u, v = np.meshgrid(np.arange(-0.1, 0.1, 0.002), np.arange(-0.1, 0.1, 0.004))
    transform = np.eye(4)
    transform[:3, 3] = 0, -1.2, -1.2
    for z in (200.0, 255.0, 257.0, 400.0, 2000.0):
        points = np.stack((u * z, v * z, np.full_like(u, z)), -1).reshape(-1, 3) - transform[:3, 3]
        for focal in (500, 5000):
            camera = Camera(1000, 1000, focal, focal, 500, 500)
            view = lidar.look(PointsReading(points, transform), camera)
            assert len(view.index) > 1000 and view.visible.all(), (z, focal)
