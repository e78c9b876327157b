import numpy as np
import pytest

from memorysam_core.frames.camera import Camera
from memorysam_training.simulation.mesh import cylinder
from memorysam_training.simulation.scene import Scene
from memorysam_training.simulation.sensors import lidar
from memorysam_training.simulation.sensors.view import boxed_pixels, look
from memorysam_training.simulation.world import build_world


@pytest.fixture(scope="module")
def busy():
    """A world with a bus beside the vehicle at 3.4 s, whose box reaches behind the camera."""
    return Scene(build_world(1, 4.0))


@pytest.mark.parametrize("t", [0.5, 2.0, 3.4])
def test_a_view_meets_the_same_movers_as_if_every_ray_were_tried(busy, rig, t):
    snapshot = busy.at(t)
    pose = busy.world.ego.pose(busy.world.road, t) @ rig.vehicle_from_camera
    view = look(snapshot, rig.camera, pose)
    every = snapshot.cast(view.hits.origin, view.hits.direction)
    np.testing.assert_array_equal(view.hits.triangle, every.triangle)
    np.testing.assert_array_equal(view.hits.distance, every.distance)
    assert (every.triangle >= busy.standing).sum() > 50
    assert view.crossed.mean() < 0.8


def test_a_box_half_behind_the_camera_reaches_to_the_edge_of_the_image():
    camera = Camera(100, 60, 50.0, 50.0, 50.0, 30.0)
    low, high = (1.0, -1.0, -4.0), (2.0, 1.0, 5.0)  # optical axes: right of it, from behind to 5 m
    box = np.array([[(x, y, z) for x in (low[0], high[0]) for y in (low[1], high[1])
                     for z in (low[2], high[2])]])  # fmt: skip
    mask = boxed_pixels(box, camera, np.eye(4))
    columns = np.flatnonzero(mask.any(0))
    assert 57 <= columns[0] <= 60  # u = 50 * 1 / 5 + 50 at its far end, and a pixel more
    assert columns[-1] == 99
    assert mask[:, 99].all()
    assert not boxed_pixels(box - (0, 0, 6.0), camera, np.eye(4)).any()


@pytest.mark.parametrize("t", [0.5, 3.4])
def test_slices_of_a_turn_leave_out_only_movers_that_no_beam_meets(busy, rig, t, monkeypatch):
    def ranges():
        azimuth = np.linspace(np.pi, -np.pi, 64, endpoint=False)
        when = -azimuth / (2 * np.pi) * 0.1
        beam = lidar._unit(azimuth, np.linspace(-0.3, 0.1, 32))
        poses = lidar._poses(busy, rig, t, when)
        distance, _, _ = lidar._range(busy, rig, t, when, beam, poses)
        return np.minimum(distance, lidar.MAX_RANGE_M)

    few = ranges()
    built = []
    monkeypatch.setattr(
        lidar,
        "_met",
        lambda fleet, at, *_: built.append(len(fleet.in_reach(at))) or fleet.in_reach(at),
    )
    np.testing.assert_array_equal(few, ranges())
    assert len(built) == 5
    assert min(built) > 20


def test_a_mover_is_where_its_box_is(busy):
    movers = busy.fleet.in_reach(2.0)
    boxes = busy.fleet.boxes(2.0, movers)
    for k, box in zip(movers, boxes, strict=True):
        vertices, triangles, places = busy.fleet.posed(2.0, np.array([k]))
        assert (vertices.min(0) >= box.min(0) - 1e-3).all()
        assert (vertices.max(0) <= box.max(0) + 1e-3).all()
        assert triangles.max() < len(vertices)
        assert np.ptp(places) + 1 == len(triangles)


def test_movers_move_as_fast_as_they_say(busy):
    fleet, road = busy.fleet, busy.world.road
    there, before = (road.place(*fleet.coordinates(t)[:2]) for t in (2.0, 1.9))
    np.testing.assert_allclose((there - before) / 0.1, fleet.velocity(2.0), atol=0.2)


@pytest.mark.filterwarnings("error")
def test_movers_are_somewhere_before_the_start_too(busy):
    """Exposures, velocities and event windows reach back from the first moment."""
    before, start, after = (busy.fleet.coordinates(t) for t in (-0.05, 0.0, 0.05))
    onward = np.array([not mover.period for mover in busy.world.movers])
    assert onward.any() and not onward.all()
    first, middle, last = (d[onward] for _, d, _ in (before, start, after))
    np.testing.assert_allclose(first + last, 2 * middle, atol=1e-9)
    assert all(np.isfinite(values).all() for values in before)
    np.testing.assert_allclose(before[0], start[0], atol=3)


def test_triangles_without_area_are_left_out():
    pole = cylinder((0, 0, 0), (0, 0, 1), 0.1, 0, 0, sides=8)
    assert len(pole.triangles) == 8 * 2 + 2 * 8  # sides of two triangles each, caps of one
    a, b, c = (pole.vertices[pole.triangles[:, k]] for k in range(3))
    assert np.linalg.norm(np.cross(b - a, c - a), axis=1).min() > 1e-4
