"""Levels and figures of the diagnostics, and what is logged of them."""

from __future__ import annotations

import pytest

from memorysam_ros.diagnostics import MS, Diagnostics, Level, S, SensorHealth, StageTimes, StateLog

FACTS = {"checkpoint": "x"}


def feed(diagnostics: Diagnostics, begin_s: float, end_s: float, hz: float, *sensors: str) -> None:
    for k in range(int(begin_s * hz), int(end_s * hz)):
        for name in sensors:
            now = round(k / hz * S)
            diagnostics.sensors[name].arrived(now - 20 * MS, now, now)


def report(diagnostics, at_s, matched=None, idle=False):
    statuses = diagnostics.report(round(at_s * S), matched or {}, FACTS, idle)
    return {status.name: status for status in statuses}


@pytest.fixture
def running() -> Diagnostics:
    diagnostics = Diagnostics({"image": False, "lidar": False}, began_ns=0)
    feed(diagnostics, 0, 10, 10.0, "image", "lidar")
    return diagnostics


def test_all_well(running):
    found = report(running, 10, {"sets complete": 100})
    assert found["segmentation"].level is Level.OK
    assert found["segmentation"].message == "running on 2 of 2 sensors"
    assert found["segmentation"].values["sets complete"] == "100 (100 %)"
    assert found["sensor lidar"].message == "10.0 Hz"
    assert found["sensor lidar"].values["latency (ms)"] == "20.0"


def test_a_set_that_closed_before_the_window_is_no_more_than_all(running):
    running.counts["sets published"] = 9
    assert report(running, 10, {"sets complete": 8})["segmentation"].values["sets published"] == (
        "9 (100 %)"
    )


def test_a_silent_sensor_is_stale_and_named(running):
    feed(running, 10, 14, 10.0, "image")
    running.sensors["lidar"].note = "nobody publishes /points"
    found = report(running, 14)
    assert found["sensor lidar"].level is Level.STALE
    assert found["sensor lidar"].message == "silent for 4.1 s: nobody publishes /points"
    assert found["segmentation"].level is Level.WARN
    assert found["segmentation"].message.startswith("running on 1 of 2 sensors: lidar (silent")


def test_a_silent_required_sensor_is_an_error():
    diagnostics = Diagnostics({"image": False, "lidar": True}, began_ns=0)
    feed(diagnostics, 0, 5, 10.0, "image")
    found = report(diagnostics, 5)
    assert found["sensor lidar"].level is Level.ERROR
    assert found["segmentation"].level is Level.ERROR
    assert found["segmentation"].message == "cannot run: lidar (nothing ever arrived)"


def test_without_any_message_it_waits_and_then_is_stale():
    diagnostics = Diagnostics({"image": False}, began_ns=0)
    assert report(diagnostics, 1)["sensor image"].level is Level.OK
    assert report(diagnostics, 10)["segmentation"].level is Level.STALE


def test_a_trouble_lasts_until_the_sensor_works_again(running):
    running.sensors["lidar"].failed("no extrinsics")
    found = report(running, 10)
    assert (found["sensor lidar"].level, found["sensor lidar"].message) == (
        Level.ERROR,
        "no extrinsics",
    )
    assert found["segmentation"].level is Level.WARN
    running.sensors["lidar"].worked()
    found = report(running, 10)
    assert found["sensor lidar"].level is Level.OK
    assert found["sensor lidar"].values["last error"] == "no extrinsics"


def test_missing_and_late_readings_warn_from_a_tenth_of_the_sets_on(running):
    few = {"sets partial": 5, "sets complete": 95, "lidar: missing": 5}
    assert report(running, 10, few)["sensor lidar"].level is Level.OK
    many = {"sets partial": 60, "sets complete": 140, "lidar: missing": 60, "lidar: late": 7}
    status = report(running, 10, many)["sensor lidar"]
    assert status.level is Level.WARN
    assert "missing in 55 of 100 sets, 7 of its readings came too late" in status.message


def test_shares_are_those_of_the_last_ten_seconds(running):
    for second in range(21):
        feed(running, second, second + 1, 10.0, "image", "lidar")
        good = min(second, 10) * 10
        counts = {"sets complete": good, "sets dropped: no lidar": max(0, second - 10) * 10}
        found = report(running, second + 1, counts)
    assert found["segmentation"].values["sets dropped: no lidar"] == "100 (100 %)"
    assert "sets complete" not in found["segmentation"].values


@pytest.mark.parametrize(
    ("counts", "level", "says"),
    [
        ({"sets failed: RuntimeError": 3, "sets published": 7}, Level.WARN, "3 of 10 sets failed"),
        ({"sets failed: RuntimeError": 10}, Level.ERROR, "all of 10 sets failed in the model"),
    ],
)
def test_sets_that_fail_in_the_model_are_told(running, counts, level, says):
    running.counts.update(counts)
    status = report(running, 10, {"sets complete": 10})["segmentation"]
    assert status.level is level
    assert says in status.message


def test_what_blocks_everything_comes_first(running):
    running.blocked = "no labels: image: encoding"
    status = report(running, 10)["segmentation"]
    assert (status.level, status.message) == (Level.ERROR, "no labels: image: encoding")


def test_idle_is_no_trouble(running):
    status = report(running, 10, idle=True)["segmentation"]
    assert status.level is Level.OK
    assert "nobody subscribes" in status.message


def test_rate_of_a_sensor_that_stopped_is_zero():
    health = SensorHealth("lidar", required=False)
    for k in range(100):
        health.arrived(0, 0, k * 50 * MS)
    assert health.rate_hz(5 * S) == pytest.approx(20.0)
    assert health.rate_hz(20 * S) == 0.0


def test_stage_times_are_those_of_the_last_runs():
    stages = StageTimes(kept=100)
    for k in range(200):
        stages.add("model", k * MS)
    p50, p95, largest = stages.summary_ms()["model"]
    assert (p50, largest) == (149.5, 199.0)
    assert p95 == pytest.approx(194.05)


def test_each_state_is_said_once_and_repeats_only_after_a_while():
    log = StateLog(again_ns=60 * S)
    said = [log.enter("lidar", state, t * S) for t, state in enumerate(["silent"] * 3)]
    assert said == [True, False, False]
    flapping = [log.enter("lidar", ("ok", "silent")[t % 2], t * S) for t in range(3, 63)]
    assert sum(flapping) == 2  # each once: the silence of 0 s is not repeated before 60 s
    assert log.enter("depth", "silent", 63 * S)
