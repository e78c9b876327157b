import dataclasses

import numpy as np
import pytest

from memorysam_training.simulation.road import Road


@pytest.fixture(scope="module")
def road():
    built = Road.wind(3, 100.0, np.array([40.0]), np.array([30.0]))
    return dataclasses.replace(built, dashed=True, parking=False, half_width=4.0)


def painted(road, s, d):
    return road.painted(*np.broadcast_arrays(np.float32(s), np.float32(d)))


def test_dashes_edges_and_crossings_are_where_they_belong(road):
    s = np.float32([-6.9, 0.1, 3.5, 3.7, 6.9, 7.1])
    np.testing.assert_array_equal(painted(road, s, 0.0), [1, 1, 1, 0, 0, 1])
    assert painted(road, s, 3.65).all()
    assert painted(road, s, -3.65).all()
    assert not painted(road, s, 1.8).any()
    across = np.linspace(-3.9, 3.9, 400, dtype=np.float32)
    bars = painted(road, np.full(400, 40.0), across)
    assert 0.45 < bars.mean() < 0.6
    assert (np.diff(bars.astype(int)) == 1).sum() in (6, 7)
    beside = painted(road, np.full(400, 42.2), across)
    assert not beside.any()


def test_stop_lines_cross_one_lane_each(road):
    across = np.float32([-2, 2])
    np.testing.assert_array_equal(painted(road, [30, 30], across), [1, 0])
    np.testing.assert_array_equal(painted(road, [43.5, 43.5], across), [0, 1])
