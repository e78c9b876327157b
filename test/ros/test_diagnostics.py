"""Levels and figures of the diagnostics, and what is logged of them."""

from __future__ import annotations

import logging
import sys
import threading

import pytest

from memorysam_ros.diagnostics import MS, Circumstances, Diagnostics, StageTimes
from memorysam_ros.log_bridge import LogBridge
from memorysam_ros.sensor_health import Bounds, SensorHealth
from memorysam_ros.status import Level, S, StateLog

FACTS = {"checkpoint": "x"}


def feed(
    diagnostics: Diagnostics, begin_s: float, end_s: float, hz: float, *sensors: str, late_ms=20
) -> None:
    for k in range(int(begin_s * hz), int(end_s * hz)):
        for name in sensors:
            now = round(k / hz * S)
            diagnostics.sensors[name].arrived(now - late_ms * MS, now, now)


def report(diagnostics, at_s, counts=None, labels=True, **circumstances):
    """All statuses by name; ``labels``: whether some went out just now."""
    if labels:
        diagnostics.published(round(at_s * S))
    now = Circumstances(counts=counts or {}, **circumstances)
    statuses = diagnostics.report(round(at_s * S), FACTS, now)
    return {status.name: status for status in statuses}


def whole(*args, **circumstances) -> tuple[Level, str]:
    status = report(*args, **circumstances)["segmentation"]
    return status.level, status.message


@pytest.fixture
def running() -> Diagnostics:
    diagnostics = Diagnostics({"image": False, "lidar": False}, began_ns=0)
    feed(diagnostics, 0, 10, 10.0, "image", "lidar")
    return diagnostics


def test_all_well(running):
    found = report(running, 10, {"sets complete": 100})
    assert found["segmentation"].level is Level.OK
    assert found["segmentation"].message == "running on 2 of 2 sensors"
    assert found["segmentation"].values["sets complete"] == "100 (100 %), 100 in all"
    assert found["segmentation"].values["leader"] == "image"
    assert found["sensor lidar"].message == "10.0 Hz"
    assert found["sensor lidar"].values["latency (ms)"] == "20.0"


def test_a_set_that_closed_before_the_window_is_no_more_than_all(running):
    running.count("sets published", 8)
    assert report(running, 10, {"sets complete": 8})["segmentation"].values["sets published"] == (
        "9 (100 %), 9 in all"
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


def test_before_any_message_nothing_is_said_to_run():
    diagnostics = Diagnostics({"image": False, "lidar": False}, began_ns=0)
    assert whole(diagnostics, 1, labels=False) == (
        Level.OK,
        "waiting for the first message of image, lidar",
    )
    feed(diagnostics, 1, 2, 10.0, "image")
    assert whole(diagnostics, 2) == (Level.OK, "running on 1 of 2 sensors, waiting for lidar")
    assert report(diagnostics, 10, labels=False)["segmentation"].level is Level.STALE


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


def test_missing_readings_warn_from_a_tenth_of_the_sets_on_and_say_why(running):
    few = {"sets partial": 5, "sets complete": 95, "lidar: missing": 5}
    assert report(running, 10, few)["sensor lidar"].level is Level.OK
    many = {"sets partial": 60, "sets complete": 140, "lidar: missing": 60, "lidar: late": 7}
    reason = "nearest is +83 ms away, tolerance 50 ms"
    found = report(running, 10, many, reasons={"lidar": reason})
    status = found["sensor lidar"]
    assert status.level is Level.WARN
    assert status.message == (
        f"missing in 60 of 200 sets, 7 of its readings came too late: {reason}"
    )
    assert status.values["last missing"] == reason
    assert found["segmentation"].level is Level.WARN
    assert found["segmentation"].message == (
        "running on 1 of 2 sensors: lidar (missing in 60 of 200 sets)"
    )


def test_shares_are_those_of_the_last_ten_seconds(running):
    for second in range(21):
        feed(running, second, second + 1, 10.0, "image", "lidar")
        good = min(second, 10) * 10
        counts = {"sets complete": good, "sets dropped: no lidar": max(0, second - 10) * 10}
        found = report(running, second + 1, counts)
    values = found["segmentation"].values
    assert values["sets dropped: no lidar"] == "100 (100 %), 100 in all"
    assert values["sets complete"] == "0 (0 %), 100 in all"


def test_what_was_counted_before_does_not_count():
    before = {"sets complete": 500, "lidar: missing": 400}
    diagnostics = Diagnostics({"image": False, "lidar": False}, began_ns=0, counted=before)
    feed(diagnostics, 0, 5, 10.0, "image", "lidar")
    found = report(diagnostics, 5, {"sets complete": 510, "lidar: missing": 400})
    assert found["segmentation"].values["sets complete"] == "10 (100 %), 510 in all"
    assert found["sensor lidar"].level is Level.OK


# No labels though somebody wants them


@pytest.mark.parametrize(
    ("counts", "why"),
    [
        ({"sets dropped: no lidar": 90}, "sets dropped: no lidar (nearest is +400 ms away)"),
        ({"sets complete": 90}, "sets close, and none comes back"),
        ({"image: out of order": 80}, "80 messages of image are stamped earlier than the last one"),
        ({}, "no set has closed"),
    ],
)
def test_where_no_labels_come_it_is_an_error_with_the_reason(running, counts, why):
    circumstances = {"reasons": {"lidar": "nearest is +400 ms away"}}
    level, message = whole(running, 10, counts, labels=False, **circumstances)
    assert (level, message) == (Level.ERROR, f"no labels for 10 s: {why}")


def test_the_reason_is_that_since_there_were_labels(running):
    assert whole(running, 10, {"sets dropped: no lidar": 900})[0] is Level.OK
    feed(running, 10, 14, 10.0, "image", "lidar")
    for _ in range(40):
        running.unusable("image: encoding 'x'")
    level, message = whole(running, 14, {"sets dropped: no lidar": 901}, labels=False)
    assert (level, message) == (Level.ERROR, "no labels for 4 s: image: encoding 'x'")
    # As soon as labels come again, it is over.
    assert whole(running, 14, {"sets dropped: no lidar": 901}) == (
        Level.OK,
        "running on 2 of 2 sensors",
    )


def test_a_short_while_without_labels_is_no_error_nor_is_one_in_which_nobody_wants_any(running):
    assert whole(running, 9.9)[0] is Level.OK
    assert whole(running, 10, labels=False)[0] is Level.OK
    feed(running, 10, 20, 10.0, "image", "lidar")
    level, message = whole(running, 20, labels=False, wanted=False)
    assert (level, message) == (Level.OK, "running on 2 of 2 sensors; idle, nobody subscribes")
    feed(running, 20, 21, 10.0, "image", "lidar")
    assert whole(running, 21, labels=False)[0] is Level.OK  # it was only just asked for them


def test_a_silent_camera_for_which_nobody_can_stand_in_is_an_error(running):
    feed(running, 10, 20, 10.0, "lidar")
    level, message = whole(running, 20, labels=False, led=False)
    assert level is Level.ERROR
    assert message == "no labels: image leads (silent for 10.1 s), and no other sensor can"
    assert whole(running, 20, leader="lidar") == (
        Level.WARN,
        "running on 1 of 2 sensors: image (silent for 10.1 s)",
    )


def test_a_camera_that_comes_back_has_time_for_its_first_labels(running):
    feed(running, 10, 31, 10.0, "lidar")
    feed(running, 30, 31, 10.0, "image")
    assert whole(running, 31, labels=False)[0] is Level.OK


def test_a_model_that_hangs_is_told_and_one_that_is_slow_is_not(running):
    hangs = {"labels": False, "working_ns": 12 * S}
    feed(running, 10, 13, 10.0, "image", "lidar")
    assert whole(running, 13, **hangs) == (
        Level.ERROR,
        "the model has worked on one set for 12 s",
    )
    running.stages.add("model", 5 * S)
    assert whole(running, 13, **hangs)[0] is Level.OK


@pytest.mark.parametrize(
    ("counts", "labels", "level", "says"),
    [
        ({"sets failed: RuntimeError": 3}, True, Level.WARN, "3 of 10 sets failed"),
        ({"sets failed: RuntimeError": 10}, False, Level.ERROR, "all of 10 sets failed in the"),
        ({"sets closed early": 2}, True, Level.WARN, "raise matching.queue_depth"),
    ],
)
def test_sets_that_fail_in_the_model_or_close_early_are_told(running, counts, labels, level, says):
    for what, times in counts.items():
        running.count(what, times)
    found = whole(running, 10, {"sets complete": 10}, labels)
    assert found[0] is level
    assert says in found[1]


def test_what_blocks_everything_comes_first(running):
    assert whole(running, 10, blocked="/clock says nothing") == (
        Level.ERROR,
        "/clock says nothing",
    )


def test_a_sensor_of_which_nobody_wants_anything_does_not_count(running):
    feed(running, 10, 14, 10.0, "image")
    found = report(running, 14, resting=["lidar"])
    assert found["segmentation"].message == "running on 1 of 1 sensors"
    assert found["sensor lidar"].message == "nobody subscribes to what is made of it"


# Sensors


def with_bounds(*sensors: str) -> Diagnostics:
    return Diagnostics(dict.fromkeys(sensors, False), 0, Bounds(S, 150 * MS, S))


def test_a_held_sensor_may_pause_for_as_long_as_it_is_held():
    diagnostics = with_bounds("image", "lidar")
    diagnostics.sensors["lidar"].may_pause(3 * S)
    feed(diagnostics, 0, 10, 10.0, "image")
    feed(diagnostics, 0, 10, 0.5, "lidar")
    assert report(diagnostics, 10)["sensor lidar"].level is Level.OK
    feed(diagnostics, 10, 12, 10.0, "image")
    assert report(diagnostics, 12)["sensor lidar"].message.startswith("silent for 4")


def test_packets_that_dds_and_their_numbers_both_miss_are_lost_once():
    diagnostics = with_bounds("event")
    feed(diagnostics, 0, 10, 20.0, "event")
    lost = {"event: packets lost": 13}
    diagnostics.count("event: lost on the way", 13)
    assert report(diagnostics, 10, lost)["sensor event"].level is Level.OK  # 6 %
    diagnostics.count("event: lost on the way", 20)
    told = report(diagnostics, 10, lost)["sensor event"].message
    assert told.startswith("33 messages lost on the way")


@pytest.mark.parametrize(
    ("late_ms", "says"),
    [
        (-3_600_000, "its stamps are 3600.0 s ahead of the node's clock"),
        (-200, "its stamps are 0.2 s ahead of the node's clock"),
        (-100, ""),
        (800, ""),  # a slow sensor on a slow network
        (5_000, "its stamps are 5.0 s behind the node's clock"),
    ],
)
def test_a_camera_whose_clock_is_off_is_named(late_ms, says):
    diagnostics = with_bounds("image", "depth", "lidar")
    feed(diagnostics, 0, 10, 10.0, "depth", "lidar")
    feed(diagnostics, 0, 10, 10.0, "image", late_ms=late_ms)
    found = report(diagnostics, 10)
    assert found["sensor image"].message.startswith(says or "10.0 Hz")
    assert found["sensor image"].level is (Level.WARN if says else Level.OK)
    assert found["sensor lidar"].level is Level.OK
    assert ("image (clock" in found["segmentation"].message) == bool(says)


def test_where_all_clocks_are_off_alike_it_is_said_once_of_all():
    diagnostics = with_bounds("image", "lidar")
    feed(diagnostics, 0, 10, 10.0, "image", "lidar", late_ms=86_400_000)
    found = report(diagnostics, 10)
    assert found["sensor image"].level is found["sensor lidar"].level is Level.OK
    assert found["segmentation"].level is Level.WARN
    assert found["segmentation"].message.startswith(
        "running on 2 of 2 sensors; of all of them, its stamps are 86400.0 s behind"
    )


def test_why_a_sensor_is_missing_is_its_clock_where_that_is_off():
    diagnostics = with_bounds("image", "lidar")
    feed(diagnostics, 0, 10, 10.0, "image")
    feed(diagnostics, 0, 10, 10.0, "lidar", late_ms=-3_600_000)
    counts = {"sets partial": 100, "lidar: missing": 100}
    status = report(diagnostics, 10, counts, reasons={"lidar": "nearest is +3600000 ms away"})
    assert status["sensor lidar"].message.startswith(
        "missing in 100 of 100 sets: its stamps are 3600.0 s ahead of the node's clock"
    )


def test_zero_stamps_say_nothing_of_a_clock():
    health = SensorHealth("lidar", False, 0, Bounds())
    health.arrived(0, 10**18, S)
    assert (health.latency_ns, health.clock_error_ns) == (None, 0)


@pytest.mark.parametrize(
    ("counts", "says"),
    [
        ({"lidar: lost on the way": 30}, "30 messages lost on the way"),
        ({"lidar: lost on the way": 3}, ""),
    ],
)
def test_messages_that_are_lost_warn(running, counts, says):
    status = report(running, 10, counts)["sensor lidar"]
    assert status.level is (Level.WARN if says else Level.OK)
    assert says in status.message
    ((key, value),) = counts.items()
    assert status.values[key.removeprefix("lidar: ")] == str(value)


def test_what_is_set_up_wrongly_is_told_of_a_sensor_that_is_heard(running):
    running.sensors["image"].obstacle = "a publisher of /info offers an incompatible RELIABILITY"
    status = report(running, 10)["sensor image"]
    assert (status.level, status.message) == (Level.WARN, running.sensors["image"].obstacle)


def test_rate_of_a_sensor_that_stopped_or_has_just_begun_is_not_known():
    health = SensorHealth("lidar", False, 0, Bounds())
    for k in range(100):
        health.arrived(0, 0, k * 50 * MS)
    assert health.rate_hz(5 * S) == pytest.approx(20.0)
    assert health.rate_hz(20 * S) is None
    diagnostics = Diagnostics({"image": False}, began_ns=0)
    diagnostics.sensors["image"].arrived(0, 0, 0)
    status = report(diagnostics, 0.1)["sensor image"]
    assert (status.message, status.logged) == ("heard", False)


# Bookkeeping


@pytest.mark.parametrize("attempt", range(8))  # it takes some luck to be wrong at all
def test_counting_beside_a_report_is_safe(attempt):
    """A dictionary to which another thread adds keys cannot be iterated over."""
    diagnostics = Diagnostics({"image": False}, began_ns=0)

    def count() -> None:
        for number in range(20_000):
            diagnostics.count(f"sets failed: Error{number}")

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread = threading.Thread(target=count)
    thread.start()
    seconds = 0
    try:
        while thread.is_alive():
            seconds += 20
            report(diagnostics, seconds)
    finally:
        thread.join()
        sys.setswitchinterval(interval)


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


class Ear:
    """A logger of ROS."""

    def __init__(self) -> None:
        self.lines = []
        self.info, self.warning, self.error = (
            lambda text, level=level: self.lines.append((level, text))
            for level in ("info", "warning", "error")
        )


def test_what_the_libraries_log_goes_to_ros_until_the_bridge_is_closed():
    ear = Ear()
    bridge = LogBridge(ear)
    logging.getLogger("memorysam_core.engines").info("graph in %d s", 3)
    logging.getLogger("memorysam_ros.conversions").warning("depth says mono16")
    try:
        raise RuntimeError("no\ncompiler")
    except RuntimeError:
        logging.getLogger("memorysam_core.engines").exception("cannot prepare")
    assert ear.lines == [
        ("info", "graph in 3 s"),
        ("warning", "depth says mono16"),
        ("error", "cannot prepare: RuntimeError: no compiler"),
    ]
    assert bridge.last_warning.startswith("cannot prepare")
    bridge.close()
    logging.getLogger("memorysam_ros").warning("not any more")
    assert len(ear.lines) == 3
