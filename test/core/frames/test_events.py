"""Event frames: windows, last event wins, resolutions and lenses."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memorysam_core.frames.camera import Camera
from memorysam_core.frames.events import draw_events
from memorysam_core.frames.readings import EventsReading
from memorysam_core.representations import EventPolarity, EventTimeSurface

STAMP = 1_700_000_000_123_456_789
MS = 1_000_000
RED, BLUE, BLACK = [255, 0, 0], [0, 0, 255], [0, 0, 0]


def reading(rows, width=8, height=6, **more):
    """Events from (milliseconds before the stamp, x, y, p)."""
    age, x, y, p = (np.array(c) for c in zip(*rows, strict=True)) if rows else [np.zeros(0)] * 4
    t = STAMP - (age * MS).astype(np.int64)
    return EventsReading(
        t, x.astype(np.uint16), y.astype(np.uint16), p.astype(np.uint8), width, height, **more
    )


def frame(rows, how=EventPolarity(), size=(6, 8)):  # noqa: B008 (it is frozen)
    return draw_events(reading(rows), how, None, size, STAMP).numpy()


def test_polarity_is_red_or_blue():
    got = frame([(1, 2, 3, 1), (1, 4, 3, 0)])
    assert got[3, 2].tolist() == RED
    assert got[3, 4].tolist() == BLUE
    assert np.count_nonzero(got.any(-1)) == 2
    swapped = frame([(1, 2, 3, 1), (1, 4, 3, 0)], EventPolarity(positive="blue"))
    assert np.array_equal(swapped, got[..., ::-1])


def test_the_last_event_of_a_pixel_wins_in_any_order_of_arrival():
    assert frame([(5, 1, 1, 1), (2, 1, 1, 0), (9, 1, 1, 1)])[1, 1].tolist() == BLUE


def test_of_events_at_one_time_the_later_of_the_stream_wins():
    assert frame([(5, 1, 1, 1), (5, 1, 1, 0)])[1, 1].tolist() == BLUE
    assert frame([(5, 1, 1, 0), (5, 1, 1, 1)])[1, 1].tolist() == RED


def test_the_window_ends_at_the_stamp():
    how = EventPolarity(window_s=0.05)
    rows = [(0, 0, 0, 1), (49.999, 1, 0, 1), (50, 2, 0, 1), (-0.001, 3, 0, 1), (1000, 4, 0, 1)]
    assert frame(rows, how)[0, :5].any(-1).tolist() == [True, True, False, False, False]


@pytest.mark.parametrize("how", [EventPolarity(), EventTimeSurface()])
def test_no_events_are_a_black_frame(how):
    assert not frame([], how).any()
    assert frame([], how).shape == (6, 8, 3)


def test_events_outside_the_sensor_are_left_out():
    assert not frame([(1, 8, 0, 1), (1, 0, 6, 1), (1, 60000, 60000, 1)]).any()


ROWS = st.lists(
    st.tuples(st.integers(0, 120), st.integers(0, 7), st.integers(0, 5), st.integers(0, 1)),
    max_size=60,
)


@given(ROWS, st.integers(-(10**18), 10**18), st.sampled_from([EventPolarity(), EventTimeSurface()]))
def test_a_shift_in_time_changes_nothing(rows, shift, how):
    here = reading(rows)
    there = EventsReading(here.t_ns + shift, here.x, here.y, here.p, here.width, here.height)
    expected = draw_events(here, how, None, (6, 8), STAMP)
    assert np.array_equal(draw_events(there, how, None, (6, 8), STAMP + shift), expected)


@given(ROWS)
def test_frame_is_what_a_loop_over_the_events_draws(rows):
    expected = np.zeros((6, 8, 3), np.uint8)
    for age, x, y, p in sorted(rows, key=lambda row: -row[0]):  # stable: the stream's order
        if age < 50:
            expected[y, x] = RED if p else BLUE
    assert np.array_equal(frame(rows), expected)


def test_windows_of_seconds_keep_the_order():
    how = EventPolarity(window_s=20.0)
    assert frame([(15000, 1, 1, 1), (14999, 1, 1, 0)], how)[1, 1].tolist() == BLUE


def test_time_surface_fades_by_its_constant():
    how = EventTimeSurface(window_s=0.1, decay_s=0.03)
    got = frame([(0, 0, 0, 1), (30, 1, 0, 1), (30, 2, 0, 0), (90, 2, 0, 1), (101, 3, 0, 1)], how)
    assert got[0, 0].tolist() == [255, 0, 0]
    assert got[0, 1].tolist() == [round(255 / np.e), 0, 0]
    assert got[0, 2].tolist() == [round(255 * np.exp(-3)), 0, round(255 / np.e)]
    assert got[0, 3].tolist() == BLACK


def test_a_coarser_frame_gathers_the_events_of_several_pixels():
    got = frame([(5, 2, 2, 1), (1, 3, 3, 0), (1, 7, 5, 1)], size=(3, 4))
    assert got[1, 1].tolist() == BLUE
    assert got[2, 3].tolist() == RED
    assert np.count_nonzero(got.any(-1)) == 2


def test_a_finer_frame_repeats_each_pixel():
    rows = [(1, 2, 3, 1), (1, 7, 5, 0)]
    got = frame(rows, size=(12, 16))
    assert np.array_equal(got, frame(rows).repeat(2, 0).repeat(2, 1))


@pytest.mark.parametrize("scale", [1, 3], ids=["coarser frame", "finer frame"])
def test_a_calibrated_event_camera_is_turned_into_the_colour_camera(scale):
    event_camera = Camera(160, 120, 120.0, 120.0, 80.0, 60.0, "plumb_bob", (-0.1, 0, 0, 0, 0))
    colour = Camera(128 * scale, 96 * scale, 90.0 * scale, 90.0 * scale, 64.0 * scale, 48.0 * scale)
    angle = np.deg2rad(5)
    camera_from_event = np.eye(4)
    camera_from_event[0, 0] = camera_from_event[2, 2] = np.cos(angle)
    camera_from_event[0, 2], camera_from_event[2, 0] = np.sin(angle), -np.sin(angle)
    events = reading(
        [(1, 100, 30, 1)], 160, 120, camera=event_camera, camera_from_event=camera_from_event
    )
    size = colour.height, colour.width
    got = draw_events(events, EventPolarity(), colour, size, STAMP).numpy()
    ray = event_camera.unproject(np.array([[100.5, 30.5]]), np.ones(1))
    ray = ray @ camera_from_event[:3, :3].T
    (u, v), _ = (part[0] for part in colour.project(ray))
    lit = np.argwhere(got.any(-1))
    assert got[int(v), int(u)].tolist() == RED
    assert np.abs(lit - (v - 0.5, u - 0.5)).max() <= scale
    assert 1 <= len(lit) <= (scale + 1) ** 2


def test_a_calibrated_event_camera_needs_the_colour_camera():
    own = Camera(8, 6, 5, 5, 4, 3)
    with pytest.raises(ValueError, match="needs the colour camera's"):
        draw_events(reading([], camera=own), EventPolarity(), None, (6, 8), STAMP)
