"""Matching in time: examples of each rule, and invariants under random arrivals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memorysam_ros.matching import Matcher
from memorysam_ros.matching_rules import MS, MatchingRules, SensorRule

S = 1_000 * MS


def rules(*followers: SensorRule, **changes) -> MatchingRules:
    return MatchingRules(SensorRule("image", **changes.pop("image", {})), followers, **changes)


def lidar(**changes) -> SensorRule:
    return SensorRule("lidar", **changes)


def names(sets) -> list[tuple[int, frozenset]]:
    return [(s.stamp_ns // MS, frozenset(s.readings)) for s in sets]


def test_the_nearest_reading_is_chosen_and_may_serve_twice():
    matcher = Matcher(rules(lidar()))
    matcher.add("lidar", 95 * MS, "old", 100 * MS)
    assert matcher.add("image", 100 * MS, "a", 101 * MS) == []  # a nearer one may still come
    (first,) = matcher.add("lidar", 104 * MS, "near", 106 * MS)
    assert first.readings["lidar"][0].payload == "near"
    assert first.readings["image"][0].payload == "a"
    matcher.add("image", 130 * MS, "b", 131 * MS)
    (second,) = matcher.add("lidar", 204 * MS, "far", 206 * MS)
    assert second.readings["lidar"][0].payload == "near"
    assert matcher.counts["sets complete"] == 2


def test_a_reading_outside_the_tolerance_is_left_out_and_the_distance_said():
    matcher = Matcher(rules(lidar(tolerance_ns=20 * MS)))
    matcher.add("image", 100 * MS, None, 100 * MS)
    (out,) = matcher.add("lidar", 121 * MS, None, 130 * MS)
    assert set(out.readings) == {"image"}
    assert out.missing["lidar"] == "nearest is +21 ms away, tolerance 20 ms"


def test_the_offset_shifts_a_sensors_clock():
    matcher = Matcher(rules(lidar(tolerance_ns=1 * MS, offset_ns=-40 * MS)))
    matcher.add("image", 100 * MS, None, 100 * MS)
    (out,) = matcher.add("lidar", 140 * MS, None, 141 * MS)
    assert out.readings["lidar"][0].stamp_ns == 100 * MS


def test_the_deadline_sends_what_arrived_and_a_required_sensor_stops_the_set():
    for policy, count in (("optional", 1), ("required", 0)):
        matcher = Matcher(rules(lidar(policy=policy), deadline_ns=80 * MS))
        assert matcher.add("image", 100 * MS, None, 110 * MS) == []
        assert matcher.next_deadline_ns == 190 * MS
        assert matcher.tick(189 * MS) == []
        assert len(matcher.tick(190 * MS)) == count
        assert matcher.next_deadline_ns is None
    assert matcher.counts["sets dropped: no lidar"] == 1


def test_hold_takes_the_last_reading_at_once_until_it_is_too_old():
    matcher = Matcher(rules(lidar(policy="hold", max_age_ns=300 * MS), deadline_ns=50 * MS))
    matcher.add("lidar", 0, "held", 0)
    (out,) = matcher.add("image", 200 * MS, None, 200 * MS)
    assert out.held == {"lidar"} and out.readings["lidar"][0].payload == "held"
    assert matcher.add("image", 301 * MS, None, 301 * MS) == []
    (out,) = matcher.tick(351 * MS)
    assert out.held == frozenset() and "lidar" in out.missing


def test_a_sensor_known_to_be_silent_is_not_waited_for():
    matcher = Matcher(rules(lidar(), silent_after_ns=1 * S))
    matcher.add("lidar", 0, None, 0)
    matcher.add("image", 500 * MS, None, 500 * MS)
    assert len(matcher.tick(600 * MS)) == 1
    (out,) = matcher.add("image", 1500 * MS, None, 1500 * MS)
    assert out.missing["lidar"] == "silent for 2 s"


def test_a_steady_sensor_stamped_just_before_the_camera_does_not_cost_a_period():
    matcher = Matcher(rules(lidar()))
    for k in range(12):
        matcher.add("lidar", (100 * k - 5) * MS, k, 100 * k * MS)
        out = matcher.add("image", 100 * k * MS, k, 100 * k * MS)
    (last,) = out
    assert last.readings["lidar"][0].payload == 11


def test_after_a_set_only_what_later_ones_may_take_is_kept():
    matcher = Matcher(rules(lidar(), SensorRule("event", window_ns=30 * MS)))
    for k in range(10):
        matcher.add("lidar", k * 10 * MS, None, k * 10 * MS)
        matcher.add("event", k * 10 * MS, None, k * 10 * MS, end_ns=(k + 1) * 10 * MS)
    assert matcher.queued == 20
    matcher.add("image", 75 * MS, None, 100 * MS)
    # LiDAR's 70, 80 and 90 ms; of the stream, the pieces that end after 45 ms.
    assert matcher.queued == 3 + 6


@pytest.mark.parametrize("policy", ["optional", "hold"])
@pytest.mark.parametrize("rate", [10, 15, 30, 50])
def test_what_is_expected_to_be_in_a_set_mostly_is(policy, rate):
    """Camera at 15 Hz with 30 ms of latency and a sensor that is faster or slower than it."""
    camera = [(k * 66 * MS, "image", 30 * MS) for k in range(60)]
    other = [(int(S / rate) * k + 7 * MS, "lidar", 10 * MS) for k in range(4 * rate)]
    matcher = Matcher(rules(lidar(policy=policy)))
    expected, used, closed = set(), set(), 0
    for stamp, sensor, latency in sorted(camera + other, key=lambda m: m[0] + m[2]):
        sets = matcher.add(sensor, stamp, None, stamp + latency)
        closed += len(sets)
        used |= {r.stamp_ns for matched in sets for r in matched.readings.get("lidar", ())}
        if sensor == "lidar" and (stamp in used or matcher.expects(sensor, stamp)):
            expected.add(stamp)
    assert closed > 55
    assert len(expected & used) > 0.85 * len(used)
    assert len(expected) < (1.2 if policy == "optional" else 4) * len(used)


def test_the_leaders_reading_is_expected_while_its_set_is_open():
    matcher = Matcher(rules(lidar(), SensorRule("event", window_ns=30 * MS)))
    matcher.add("image", 100 * MS, None, 100 * MS)
    assert matcher.expects("image", 100 * MS)
    matcher.add("event", 99 * MS, None, 100 * MS, end_ns=101 * MS)
    assert not matcher.expects("event", 99 * MS)  # only one of many
    matcher.tick(S)
    assert not matcher.expects("image", 100 * MS)


def test_a_stream_gives_every_piece_that_touches_the_window():
    events = SensorRule("event", window_ns=50 * MS, tolerance_ns=5 * MS)
    matcher = Matcher(rules(events))
    for k in range(4):  # pieces (0, 20], (20, 40], (40, 60], (60, 80]
        matcher.add("event", 20 * k * MS, k, 100 * MS, end_ns=20 * (k + 1) * MS)
    assert matcher.add("image", 90 * MS, None, 100 * MS) == []
    (out,) = matcher.add("event", 80 * MS, 4, 110 * MS, end_ns=100 * MS)
    assert [piece.payload for piece in out.readings["event"]] == [2, 3, 4]


def test_a_stream_that_stops_before_the_window_ends_is_missing():
    events = SensorRule("event", window_ns=50 * MS, tolerance_ns=5 * MS)
    matcher = Matcher(rules(events))
    matcher.add("event", 20 * MS, None, 60 * MS, end_ns=40 * MS)
    matcher.add("image", 60 * MS, None, 60 * MS)
    (out,) = matcher.tick(160 * MS)
    assert "event" in out.missing
    matcher.add("event", 60 * MS, None, 165 * MS, end_ns=96 * MS)
    matcher.add("image", 100 * MS, None, 170 * MS)
    (out,) = matcher.tick(270 * MS)
    assert len(out.readings["event"]) == 1  # 4 ms short of the stamp, within the tolerance


def test_old_sets_never_overtake():
    matcher = Matcher(rules(lidar()))
    matcher.add("image", 100 * MS, None, 100 * MS)
    matcher.add("image", 133 * MS, None, 133 * MS)
    matcher.add("image", 120 * MS, None, 134 * MS)
    assert matcher.counts["image: out of order"] == 1
    assert names(matcher.add("lidar", 140 * MS, None, 140 * MS)) == [
        (100, {"image", "lidar"}),
        (133, {"image", "lidar"}),
    ]


def test_a_late_reading_is_counted():
    matcher = Matcher(rules(lidar(), deadline_ns=50 * MS))
    matcher.add("image", 100 * MS, None, 100 * MS)
    assert len(matcher.tick(150 * MS)) == 1
    matcher.add("lidar", 101 * MS, None, 160 * MS)
    assert matcher.counts["lidar: late"] == 1


def test_a_fast_sensor_that_comes_late_is_told_as_late():
    """Not as one whose clock is off, which an offset would pair with images of another moment."""
    matcher = Matcher(rules(lidar()))
    arrivals = [(t + 20, "image", t) for t in range(0, 4000, 33)]
    arrivals += [(t + 900, "lidar", t) for t in range(5, 3000, 33)]
    for now, sensor, stamp in sorted(arrivals):
        matcher.add(sensor, stamp * MS, None, now * MS)
    assert matcher.counts["lidar: late"] > 80


def drive(matcher, *streams, until_ms: int):
    """``(sensor, period, latency, silent from, silent to)`` in ms; the sets that come of them."""
    arrivals = [
        (stamp + latency, sensor, stamp)
        for sensor, period, latency, begin, end in streams
        for stamp in range(7000, until_ms, period)
        if not begin <= stamp < end
    ]
    out = []
    for now, sensor, stamp in sorted(arrivals):
        out += matcher.add(sensor, stamp * MS, None, now * MS)
    return out


def test_a_camera_that_returns_with_more_latency_than_its_stand_in_is_no_jump():
    matcher = Matcher(rules(SensorRule("depth"), lidar()))
    sets = drive(
        matcher,
        ("image", 67, 600, 9000, 12_000),
        ("depth", 50, 20, 0, 0),
        ("lidar", 100, 20, 0, 0),
        until_ms=15_000,
    )
    assert matcher.flushes == 0
    stamps = [s.stamp_ns for s in sets]
    assert stamps == sorted(stamps)
    leaders = [s.leader for s in sets]
    assert leaders[0] == leaders[-1] == "image" and "depth" in leaders
    assert matcher.counts["depth: missing"] < 5


def test_a_camera_whose_stand_in_has_a_clock_far_ahead_is_used_again():
    matcher = Matcher(rules(SensorRule("depth")))
    sets = []
    for t in range(0, 8000, 50):
        if not 1000 <= t < 4000:
            sets += matcher.add("image", t * MS, None, t * MS)
        sets += matcher.add("depth", (t + 3_600_000) * MS, None, t * MS)
    assert [s.leader for s in sets][-1] == "image" and matcher.flushes == 0


def test_a_slow_camera_leads_all_the_same():
    matcher = Matcher(rules(SensorRule("depth")))
    sets = drive(matcher, ("image", 1250, 120, 0, 0), ("depth", 33, 20, 0, 0), until_ms=27_000)
    led = [s for s in sets if s.leader == "image"]
    assert len(led) >= 13 and matcher.counts["image: out of order"] <= 2
    matcher = Matcher(rules(SensorRule("depth")))
    stamps = [*range(0, 2000, 50), *range(4000, 5000, 50), *range(7000, 8000, 50)]
    for t in range(0, 10_000, 50):  # a camera that stalls is no slow one
        if t in stamps:
            matcher.add("image", t * MS, None, t * MS)
        matcher.add("depth", t * MS, None, t * MS)
        if t in (3500, 6500, 9500):
            assert matcher.leader(t * MS) == "depth"


def test_a_stream_without_a_leader_is_kept_for_a_while_only():
    """Decoded events of a minute are gigabytes."""
    event = SensorRule("event", window_ns=50 * MS)
    matcher = Matcher(rules(event, image={"policy": "required"}))
    for t in range(0, 60_000, 50):
        matcher.add("event", t * MS, None, (t + 50) * MS, end_ns=(t + 49) * MS)
    assert matcher.queued <= 1 + (50 + 100 + 1000) / 50 + 1
    sets = []  # the camera comes back, as late as it may be without being silent
    for t in range(59_000, 60_000, 50):
        sets += matcher.add("image", t * MS, None, (t + 950) * MS)
    assert sets and all("event" in s.readings for s in sets)


def test_an_extra_sensor_that_is_not_wanted_any_more_is_not_missing():
    matcher = Matcher(rules(lidar(extra=True)))
    for t in range(0, 1000, 100):
        matcher.add("image", t * MS, None, t * MS)
        matcher.add("lidar", t * MS, None, t * MS)
    matcher.stop_expecting("lidar")
    (out,) = matcher.add("image", 1000 * MS, None, 1000 * MS)  # at once
    assert out.missing == {}
    matcher.tick(50 * S)
    matcher.add("image", 50 * S, None, 50 * S)
    assert matcher.counts["lidar: missing"] == 0


def test_a_bag_that_starts_over_flushes_everything():
    matcher = Matcher(rules(lidar()))
    matcher.add("lidar", 10 * S, "first round", 1 * S)
    matcher.add("image", 10 * S + 50 * MS, "first round", 1 * S)
    matcher.add("lidar", 1 * MS, "second round", 1050 * MS)  # the LiDAR comes round first
    (out,) = matcher.add("image", 0, "second round", 1050 * MS)
    assert out.stamp_ns == 0
    assert {r[0].payload for r in out.readings.values()} == {"second round"}
    assert matcher.counts["sets flushed"] == 1


def test_a_clock_that_jumps_back_flushes_everything():
    matcher = Matcher(rules(lidar()))
    matcher.add("lidar", 10 * S, None, 10 * S)
    matcher.add("image", 10 * S + 50 * MS, None, 10 * S)
    assert matcher.tick(0) == []
    assert (matcher.open_sets, matcher.queued) == (0, 0)
    matcher.add("image", 10 * MS, None, 10 * MS)
    assert len(matcher.add("lidar", 11 * MS, None, 12 * MS)) == 1
    assert matcher.counts["flush: the clock jumped back"] == 1


def test_one_reading_from_the_future_does_not_derail_a_sensor():
    matcher = Matcher(rules(lidar()))
    matcher.add("lidar", 3600 * S, "wrong", 0)
    (out,) = matcher.add("image", 0, None, 1 * MS)
    assert "lidar" in out.missing
    matcher.add("lidar", 95 * MS, "right", 96 * MS)
    matcher.add("image", 100 * MS, None, 100 * MS)
    (out,) = matcher.tick(200 * MS)
    assert out.readings["lidar"][0].payload == "right"
    assert matcher.counts["lidar: stamps jumped back"] == 1


def test_a_calibrated_sensor_leads_while_the_camera_is_silent():
    followers = (SensorRule("depth"), lidar())
    matcher = Matcher(rules(*followers, silent_after_ns=1 * S))
    matcher.allow_lead("depth", False)
    matcher.add("image", 0, None, 0)
    out = []
    for ms in range(100, 2500, 100):
        out += matcher.add("depth", ms * MS, None, ms * MS)
        out += matcher.add("lidar", (ms + 5) * MS, None, (ms + 5) * MS)
    out += matcher.tick(2600 * MS)
    assert [s.stamp_ns // MS for s in out[:2]] == [0, 1205]  # the first without an image for 1 s
    last = out[-1]
    assert last.leader == "lidar"
    assert set(last.readings) == {"depth", "lidar"}
    assert last.missing == {"image": "silent; lidar leads"}
    matcher.add("depth", 2700 * MS, None, 2700 * MS)
    matcher.add("image", 2700 * MS, None, 2700 * MS)
    (back,) = matcher.add("lidar", 2701 * MS, None, 2702 * MS)
    assert back.leader == "image"
    assert len(back.readings) == 3


def test_where_nobody_is_known_to_be_calibrated_the_first_leads_until_another_is():
    followers = (SensorRule("depth"), lidar(), SensorRule("event", window_ns=50 * MS))
    matcher = Matcher(rules(*followers, silent_after_ns=1 * S))
    for name in ("depth", "lidar"):
        matcher.allow_lead(name, False)
    for ms in range(0, 2500, 100):
        for name in ("depth", "lidar", "event"):
            matcher.add(name, ms * MS, None, ms * MS, end_ns=ms * MS)
    now = 2500 * MS
    assert matcher.leader(now) == "depth"
    matcher.allow_lead("lidar")
    assert matcher.leader(now) == "lidar"
    matcher.allow_lead("depth")
    assert matcher.leader(now) == "depth"
    assert matcher.leader(10 * S) == "image"  # now that all are silent
    assert matcher.silent("image", 10 * S)


def test_an_extra_sensor_is_not_waited_for_before_it_is_heard_and_never_leads():
    matcher = Matcher(rules(lidar(extra=True), silent_after_ns=1 * S))
    (alone,) = matcher.add("image", 100 * MS, None, 100 * MS)
    assert (set(alone.readings), alone.missing) == ({"image"}, {})
    matcher.add("lidar", 200 * MS, None, 201 * MS)
    assert matcher.add("image", 240 * MS, None, 240 * MS) == []
    (both,) = matcher.add("lidar", 300 * MS, None, 301 * MS)
    assert set(both.readings) == {"image", "lidar"}
    matcher.add("image", 500 * MS, None, 500 * MS)
    (out,) = matcher.tick(600 * MS)
    assert set(out.missing) == {"lidar"}
    assert matcher.counts["sets complete"] == 3
    for ms in range(600, 3000, 100):
        assert matcher.add("lidar", ms * MS, None, ms * MS) == []
    assert matcher.leader(3 * S) == "image"


def test_why_a_sensor_was_missing_is_kept_of_dropped_sets_too():
    matcher = Matcher(rules(lidar(policy="required", tolerance_ns=20 * MS)))
    matcher.add("image", 100 * MS, None, 100 * MS)
    assert matcher.add("lidar", 140 * MS, None, 141 * MS) == []
    assert matcher.reasons == {"lidar": "nearest is +40 ms away, tolerance 20 ms"}


def test_readings_that_had_to_make_room_are_told_where_a_set_lacks_them():
    matcher = Matcher(rules(lidar(), queue_depth=3))
    for k in range(10):
        matcher.add("lidar", 100 * k * MS, k, 100 * k * MS)
    (out,) = matcher.add("image", 400 * MS, None, 910 * MS)  # a camera with half a second's delay
    assert "raise matching.queue_depth" in out.missing["lidar"]
    assert matcher.counts["lidar: queue overflow"] == 1
    assert len(matcher.add("image", 800 * MS, None, 920 * MS)) == 1  # here, nothing is lacking
    matcher.add("image", 2000 * MS, None, 930 * MS)
    (out,) = matcher.tick(1500 * MS)
    assert out.missing["lidar"] == "nearest is -1100 ms away, tolerance 50 ms"
    assert matcher.counts["lidar: queue overflow"] == 1


def test_sets_that_close_early_are_counted():
    matcher = Matcher(rules(lidar(), deadline_ns=S, max_open=2))
    for k in range(4):
        matcher.add("image", (100 + k) * MS, k, (100 + k) * MS)
    assert matcher.counts["sets closed early"] == 2
    assert matcher.counts["sets partial"] == 2


def test_after_a_pause_of_all_sensors_the_camera_leads_though_it_comes_last():
    matcher = Matcher(rules(lidar(), silent_after_ns=1 * S))
    matcher.add("lidar", 0, None, 0)
    matcher.add("image", 0, None, 0)
    matcher.add("lidar", 5000 * MS, None, 5000 * MS)
    matcher.add("lidar", 5100 * MS, None, 5100 * MS)
    (out,) = matcher.add("image", 5090 * MS, None, 5120 * MS)
    assert out.leader == "image"
    assert len(out.readings) == 2


def test_nobody_stands_in_for_a_required_camera():
    matcher = Matcher(rules(lidar(), image={"policy": "required"}))
    matcher.add("image", 0, None, 0)
    matcher.tick(1 * S)
    for k in range(30, 40):
        assert matcher.add("lidar", k * 100 * MS, None, k * 100 * MS) == []
    assert matcher.open_sets == 0


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: SensorRule("lidar", policy="perhaps"), "required, optional, hold"),
        (lambda: SensorRule("lidar", tolerance_ns=-1), "must not be negative"),
        (lambda: SensorRule("event", policy="hold", window_ns=5), "cannot be held"),
        (lambda: rules(SensorRule("image")), "named twice"),
        (lambda: rules(image={"policy": "hold"}), "required or optional"),
        (lambda: rules(queue_depth=0), "at least 1"),
    ],
)
def test_contradictory_rules_are_refused(make, says):
    with pytest.raises(ValueError, match=says):
        make()


# Invariants

DEADLINE, TOLERANCE = 100 * MS, 40 * MS


@st.composite
def drives(draw, most=80):
    """Phases of a drive; in each, some sensors live. Lists alone would be of a handful."""
    arrivals = []
    while len(arrivals) < most and (not arrivals or draw(st.integers(0, 4))):
        living = draw(st.sets(st.sampled_from(["image", "depth", "lidar", "event"]), min_size=1))
        names = st.sampled_from(sorted(living))
        # Time since the last arrival, and latency, by which the stamp is earlier; ms.
        one = st.tuples(names, st.integers(0, 60), st.integers(0, 90))
        count = draw(st.integers(1, 45))
        arrivals += draw(st.lists(one, min_size=count, max_size=count))
    return arrivals[:most]


def replay(arrivals, make=Matcher, **changes):
    """Feeds arrivals in order and ticks every 5 ms; (sets, stamps by sensor with arrival)."""
    followers = (
        SensorRule("depth", tolerance_ns=TOLERANCE),
        SensorRule("lidar", tolerance_ns=TOLERANCE, policy=changes.pop("policy", "optional")),
        SensorRule("event", tolerance_ns=TOLERANCE, window_ns=30 * MS),
    )
    matcher = make(rules(*followers, deadline_ns=DEADLINE, **changes))
    now, out, seen = 10 * S, [], []
    for sensor, wait, latency in arrivals:
        for _ in range(wait // 5):
            now += 5 * MS
            out += matcher.tick(now)
        now += wait % 5 * MS
        stamp = now - latency * MS
        seen.append((sensor, stamp, now))
        out += matcher.add(sensor, stamp, (sensor, stamp, now), now)
        assert matcher.open_sets <= matcher.rules.max_open
        assert matcher.queued <= 2 * matcher.rules.queue_depth + matcher.rules.stream_depth
    for _ in range(DEADLINE // (5 * MS) + 1):
        now += 5 * MS
        out += matcher.tick(now)
    assert matcher.open_sets == 0
    return out, seen, matcher


@settings(max_examples=200)
@given(drives())
def test_each_camera_frame_goes_out_at_most_once_in_order_and_in_time(arrivals):
    sets, seen, matcher = replay(arrivals)
    stamps = [s.stamp_ns for s in sets]
    assert stamps == sorted(set(stamps))
    images = [stamp for sensor, stamp, _ in seen if sensor == "image"]
    accepted = {s for k, s in enumerate(images) if s > max(images[:k], default=0)}
    led = [s.stamp_ns for s in sets if s.leader == "image"]
    assert set(led) <= accepted
    assert len(accepted) - len(led) <= matcher.counts["image: out of order"]
    for matched in sets:
        assert matched.closed_ns - matched.opened_ns <= DEADLINE + 5 * MS
    counts = matcher.counts
    assert counts["sets complete"] + counts["sets partial"] == len(sets)


@settings(max_examples=200)
@given(drives())
def test_readings_are_within_tolerance_and_the_nearest_of_those_that_arrived(arrivals):
    sets, seen, _ = replay(arrivals)
    for matched in sets:
        for sensor in ("depth", "lidar"):
            arrived = [
                abs(stamp - matched.stamp_ns)
                for s, stamp, at in seen
                if s == sensor and at < matched.closed_ns
            ]
            recent = arrived[-16:]  # the queue's depth
            if sensor in matched.readings:
                ((reading,), best) = (matched.readings[sensor], min(recent, default=None))
                distance = abs(reading.stamp_ns - matched.stamp_ns)
                assert distance <= TOLERANCE
                assert best is None or distance <= best
            elif recent:
                assert min(recent) > TOLERANCE


@settings(max_examples=100)
@given(drives(60))
def test_a_required_sensor_is_in_every_set(arrivals):
    sets, _, _ = replay(arrivals, policy="required")
    assert all("lidar" in matched.readings for matched in sets)


@settings(max_examples=50)
@given(drives(120), st.integers(1, 4), st.integers(1, 3))
def test_memory_is_bounded_whatever_arrives(arrivals, depth, open_sets):
    _, _, matcher = replay(arrivals, queue_depth=depth, stream_depth=depth, max_open=open_sets)
    assert matcher.queued <= 3 * depth


class Hoarder(Matcher):
    """Keeps whatever no set has taken yet."""

    def _forget(self, lead_ns: int) -> None: ...


@settings(max_examples=100)
@given(drives())
def test_what_is_forgotten_after_a_set_was_of_no_use(arrivals):
    sets, _, matcher = replay(arrivals, queue_depth=100)
    same, _, hoarder = replay(arrivals, Hoarder, queue_depth=100)
    assert sets == same
    assert matcher.queued <= hoarder.queued


@settings(max_examples=30)
@given(
    st.floats(12, 31), st.floats(0, 0.06), st.floats(5, 25), st.floats(0, 0.08), st.integers(0, 99)
)
def test_with_steady_sensors_the_nearest_of_the_whole_stream_is_chosen(
    camera_hz, camera_latency, lidar_hz, lidar_latency, seed
):
    """The closing before the deadline never gives up a nearer reading of a steady sensor."""
    rng = np.random.default_rng(seed)
    phase = rng.uniform(0, 0.1, 2)
    cameras = (phase[0] + np.arange(40) / camera_hz) * 1e9
    lidars = (phase[1] + np.arange(int(40 * lidar_hz / camera_hz)) / lidar_hz) * 1e9
    messages = [(s + camera_latency * 1e9, "image", int(s)) for s in cameras]
    messages += [(s + lidar_latency * 1e9, "lidar", int(s)) for s in lidars]
    matcher = Matcher(rules(lidar(tolerance_ns=S), deadline_ns=2 * S, silent_after_ns=5 * S))
    sets = []
    for at, sensor, stamp in sorted(messages):
        sets += matcher.add(sensor, stamp, None, int(at))
    for matched in sets:
        distance = abs(matched.readings["lidar"][0].stamp_ns - matched.stamp_ns)
        assert distance <= np.abs(lidars.astype(int) - matched.stamp_ns).min()
