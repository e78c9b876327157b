import pytest

from memorysam_ros.demo.pace import MARGIN, SLOWEST, Pace, busy_s

LATENCY = {
    "matching p50/p95/max (ms)": "60.0 / 90.0 / 100.0",
    "queue p50/p95/max (ms)": "900.0 / 990.0 / 999.0",
    "convert p50/p95/max (ms)": "1.5 / 2.0 / 9.0",
    "draw p50/p95/max (ms)": "8.5 / 9.0 / 30.0",
    "model p50/p95/max (ms)": "180.0 / 200.0 / 3000.0",
    "publish p50/p95/max (ms)": "10.0 / 12.0 / 13.0",
    "camera to labels p50/p95/max (ms)": "1160.0 / 1200.0 / 3400.0",
}


def test_busy_is_what_keeps_the_node_from_its_next_set():
    assert busy_s(LATENCY) == pytest.approx(0.200)
    assert busy_s({}) is None
    assert busy_s({"camera to labels p50/p95/max (ms)": "5.0 / 5.0 / 5.0"}) is None


@pytest.mark.parametrize(
    ("busy", "rate"),
    [
        (0.05, 1.0),
        (0.2, 1.0),  # a node that keeps up
        (0.25, 0.8),
        (2.0, 0.1),
        (20.0, SLOWEST),
    ],
)
def test_a_drive_is_played_no_faster_than_the_node_can_take_it(busy, rate):
    assert Pace.of(busy, 0.25) == Pace(busy, pytest.approx(rate))


def test_the_node_has_its_margin_whenever_it_is_slowed_down_for():
    for busy in (0.21, 0.4, 1.0, 2.3):
        assert 0.25 / Pace.of(busy, 0.25).rate == pytest.approx(MARGIN * busy)
