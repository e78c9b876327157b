from memorysam_ros.bags.tally import Reasons, Tally


def test_reasons_that_differ_in_figures_are_one():
    reasons = Reasons()
    for at in range(3):
        reasons.add(f"no transform from 'lidar' at {at}.25 s")
    for ms in (120, 130, 140, 150):
        reasons.add(f"nearest is {ms} ms away")
    reasons.add("no camera")
    told = reasons.most()
    assert told == {"out of tolerance": 4, "no transform from 'lidar' at 0.25 s": 3, "no camera": 1}
    assert list(told) == sorted(told, key=lambda why: -told[why])


def test_attendance_and_durations():
    tally = Tally(("image", "lidar"))
    tally.add(("image", "lidar"), {}, {}, {"model": 10.0, "draw": 1.0})
    tally.add(("image",), {"lidar": "silent for 2 s"}, {}, {"model": 30.0, "draw": 1.0})
    tally.add(("image",), {}, {"lidar": "no z"}, {"model": 20.0, "draw": 1.0})
    tally.add_unusable("lidar: no z")
    assert (tally.sets, tally.labelled, tally.unusable.most()) == (4, 3, {"lidar: no z": 1})
    assert tally.attendance({"image": "/camera", "points": "/scan"}) == {
        "image": {"topic": "/camera", "sets": 3, "why_not": {}},
        "lidar": {"topic": "/scan", "sets": 1, "why_not": {"silent": 1, "no z": 1}},
    }
    assert tally.milliseconds()["model"] == {"p50": 20.0, "p95": 29.0, "max": 30.0}
