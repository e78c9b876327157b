import numpy as np
import pytest

from memorysam_training.simulation.conditions import (
    FAILURES,
    WEATHERS,
    Fault,
    Schedule,
    active,
    blend,
)
from memorysam_training.simulation.drive import Drive
from memorysam_training.simulation.rig import Rig
from memorysam_training.simulation.sensors import lidar

T = 1.0


def readings(drive):
    """Bytes of what each sensor says, by DELIVER's names."""
    events, scan = drive.events(T), drive.lidar(T, 1.0)
    parts = {
        "image": [drive.camera(T).image],
        "depth": [drive.depth(T)],
        "event": [events.t_ns, events.x, events.y, events.p],
        "lidar": [scan.xyz, scan.intensity, scan.ring, scan.time_s],
    }
    return {name: b"".join(a.tobytes() for a in arrays) for name, arrays in parts.items()}


def changed(drive, before):
    after = readings(drive)
    return {name for name in after if after[name] != before[name]}


@pytest.fixture(scope="module")
def clear(drive):
    return readings(drive)


@pytest.mark.parametrize(
    ("failure", "sensors"),
    [
        ("motionblur", {"image"}),
        ("overexposure", {"image"}),
        ("underexposure", {"image"}),
        ("lidarjitter", {"lidar"}),
        ("eventlowres", {"event"}),
    ],
)
def test_a_failure_degrades_its_sensor_and_no_other(drive, clear, failure, sensors, monkeypatch):
    monkeypatch.setattr(drive, "faults", (Fault(failure),))
    assert changed(drive, clear) == sensors


@pytest.mark.parametrize(
    ("condition", "sensors"),
    [
        ("sun", {"image", "event"}),
        ("night", {"image", "event"}),
        ("fog", {"image", "depth", "event", "lidar"}),
        ("rain", {"image", "depth", "event", "lidar"}),
    ],
)
def test_a_condition_changes_what_the_table_says(drive, clear, condition, sensors, monkeypatch):
    monkeypatch.setattr(drive, "schedule", Schedule((condition,), 2.0))
    assert changed(drive, clear) == sensors


def test_weather_and_failures_change_the_sensors_in_the_right_direction(drive, monkeypatch):
    def under(condition, *failures):
        monkeypatch.setattr(drive, "schedule", Schedule((condition,), 2.0))
        monkeypatch.setattr(drive, "faults", tuple(Fault(f) for f in failures))
        return drive

    day = under("cloud").camera(T).image.mean()
    assert under("night").camera(T).image.mean() < 0.6 * day
    assert under("cloud", "underexposure").camera(T).image.mean() < 0.5 * day
    assert under("cloud", "overexposure").camera(T).image.mean() > 1.3 * day
    holes = {name: np.isnan(under(name).depth(T)).mean() for name in ("cloud", "fog")}
    assert holes["fog"] > 2 * holes["cloud"]
    returns = {name: len(under(name).lidar(T, 1.0).xyz) for name in ("cloud", "rain", "fog")}
    assert returns["fog"] < returns["rain"] < returns["cloud"]
    fine, coarse = under("cloud").events(T), under("cloud", "eventlowres").events(T)
    assert (coarse.width, coarse.height) == (fine.width // 4, fine.height // 4)
    sharp = under("cloud").camera(T).image.astype(float)
    blurred = under("cloud", "motionblur").camera(T).image.astype(float)
    assert np.abs(np.diff(blurred, axis=1)).mean() < 0.8 * np.abs(np.diff(sharp, axis=1)).mean()


def test_conditions_turn_into_each_other_without_a_jump():
    schedule = Schedule(("cloud", "fog"), 20.0)
    fog = [schedule.weather(t).fog for t in np.arange(0, 20, 0.1)]
    assert fog[0] == WEATHERS["cloud"].fog
    assert fog[-1] == pytest.approx(WEATHERS["fog"].fog)
    assert (np.diff(fog) >= 0).all()
    assert np.diff(fog).max() < 0.003
    assert [schedule.name(t) for t in (0.0, 9.9, 10.1, 20.0)] == ["cloud", "cloud", "fog", "fog"]


def test_blending_is_exact_at_both_ends():
    sun, night = WEATHERS["sun"], WEATHERS["night"]
    assert blend(sun, night, 0.0).exposure == pytest.approx(sun.exposure)
    assert blend(sun, night, 1.0).sun == pytest.approx(night.sun)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gps@1-2", "known are motionblur"),
        ("lidar@8", "write lidar@8-12"),
        ("lidar@9-4", "ends before it starts"),
    ],
)
def test_a_wrong_fault_says_what_is_accepted(text, message):
    with pytest.raises(ValueError, match=message):
        Fault.parse(text)


def test_a_fault_holds_from_its_start_to_its_end():
    faults = (Fault.parse("lidar@8-12"), Fault.parse("motionblur"))
    assert active(faults, 7.9) == {"motionblur"}
    assert active(faults, 8.0) == {"motionblur", "lidar"}
    assert active(faults, 12.0) == {"motionblur"}


def test_an_unknown_condition_lists_the_known_ones():
    with pytest.raises(ValueError, match="cloud, fog, night, rain, sun"):
        Schedule(("snow",), 1.0)


def test_every_condition_and_failure_has_its_line_in_the_table():
    import memorysam_training.simulation.conditions as module

    for name in (*WEATHERS, *FAILURES):
        assert name in module.__doc__


def test_drives_of_one_seed_and_another_condition_share_their_world(drive, rig):
    other = Drive(5, 2.0, ("night",), (), rig)
    np.testing.assert_array_equal(other.camera(T).labels, drive.camera(T).labels)


@pytest.mark.parametrize("weather", ["rain", "fog"])
def test_drops_echo_from_before_what_the_beam_would_meet(weather, monkeypatch):
    """With every return kept, beams in clear air and in weather can be compared one by one."""
    monkeypatch.setattr(lidar, "_chance", lambda distance, *_: np.ones_like(distance))
    rig = Rig(rings=32, columns=128)
    clear, thick = (Drive(5, 2.0, (name,), (), rig).lidar(1.0) for name in ("cloud", weather))
    ranges = {}
    for name, scan in (("clear", clear), (weather, thick)):
        far = np.linalg.norm(scan.xyz, axis=1)
        ranges[name] = dict(zip(zip(scan.ring, scan.time_s, strict=True), far, strict=True))
    both = ranges["clear"].keys() & ranges[weather].keys()
    farther = [ranges[weather][k] - ranges["clear"][k] for k in both]
    nearer = sum(f < -1 for f in farther)
    assert len(both) > 1000 and nearer > 5
    assert max(farther) < 0.5  # noise, and the way that the LiDAR moves in a turn
