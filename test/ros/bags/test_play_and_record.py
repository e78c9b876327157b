"""Over real DDS, in processes of their own."""

import errno
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest

from memorysam_core.cli import main
from memorysam_ros.bags import Bag, BagWriter, play, record

from .conftest import MAKE

SECOND_NS = 1_000_000_000


@pytest.fixture
def start(repository):
    """Starts a sub-command; whatever still runs at the end is killed."""
    processes = []

    def start(*words: str) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", "memorysam_core.cli", *map(str, words)],
            cwd=repository,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    """Large and small messages at 50 Hz, a latched topic, and a type that PyPI does not have."""
    path = tmp_path_factory.mktemp("played") / "drive.mcap"
    local = np.random.default_rng(1)
    with BagWriter(path) as writer:
        outputs = writer.messages
        pose = (0, "camera", "lidar", np.eye(4))
        writer.write("/tf_static", outputs.transforms([pose]), SECOND_NS, latched=True)
        latched = MAKE("std_msgs/msg/String", data="the map")
        writer.write("/map_name", latched, SECOND_NS, latched=True)
        for number in range(50):
            time_ns = SECOND_NS + number * 20_000_000
            header = outputs.header(time_ns, "camera")
            pixels = local.integers(0, 256, (480, 640, 3), np.uint8)
            writer.write("/image", outputs.rgb(header, pixels), time_ns)
            xyz = local.normal(size=(2000, 3))
            writer.write("/points", outputs.points(header, xyz), time_ns + 1_000_000)
    return path


def contents(path) -> dict[str, list[bytes]]:
    with Bag(path) as bag:
        found: dict[str, list[bytes]] = {}
        for raw in bag.messages():
            found.setdefault(raw.topic, []).append(raw.data)
    return found


def stop(process: subprocess.Popen, how: int = signal.SIGINT) -> tuple[str, str]:
    process.send_signal(how)
    return process.communicate(timeout=120)


def test_a_bag_is_played_and_recorded_byte_for_byte(bag, start, tmp_path):
    recorder = start("record", "-o", tmp_path / "copy.db3")
    assert "recording into" in recorder.stdout.readline()
    player = start("play", bag, "--wait", "20")
    told, complaints = player.communicate(timeout=120)
    assert player.returncode == 0, complaints
    assert "played 101 messages" in told
    assert "/tf_static is left out: tf2_msgs/msg/TFMessage is not installed" in complaints
    assert not list(tmp_path.glob("*.db3"))  # not before it is whole
    told, complaints = stop(recorder)
    assert recorder.returncode == 0, complaints
    expected = contents(bag)
    del expected["/tf_static"]
    assert contents(tmp_path / "copy.db3") == expected
    assert "50 /image" in told


def test_rate_loop_and_interruption(bag, start):
    words = ["--rate", "10", "--loop", "--clock", "--wait", "0", "--topics", "/points"]
    player = start("play", bag, *words)
    told_s = []
    for _ in range(9):
        assert "played 50 messages" in player.stdout.readline()
        told_s.append(time.monotonic())
    rounds_s = np.diff(told_s)  # 0.98 s each, ten times as fast
    assert rounds_s.sum() > 0.4 and rounds_s.min() < 0.5
    _, complaints = stop(player)
    assert player.returncode == 130 and "interrupted" in complaints
    assert "nobody listens to /points, /clock" in complaints


def test_a_part_of_a_bag_with_what_is_latched_before(bag, start, tmp_path):
    recorder = start("record", "-o", tmp_path / "part", "--duration", "60")
    recorder.stdout.readline()
    words = ["--rate", "0.05", "--start", "0.9", "--duration", "0.05"]
    told, _ = start("play", bag, "--wait", "20", *words).communicate(timeout=120)
    assert "played 6 messages" in told
    stop(recorder)
    expected, found = contents(bag), contents(tmp_path / "part")
    assert found["/map_name"] == expected["/map_name"]
    assert found["/image"] == expected["/image"][45:48]
    with Bag(tmp_path / "part") as part:
        times_ns = [raw.time_ns for raw in part.messages({"/points"})]
    # 0.04 s at a twentieth of the speed, on a machine that may be busy.
    assert 0.5 < (times_ns[-1] - times_ns[0]) / SECOND_NS < 3


def test_clock_follows_the_bag(bag, start, tmp_path):
    recorder = start("record", "/clock", "/points", "/nothing", "-o", tmp_path / "clock")
    recorder.stdout.readline()
    player = start("play", bag, "--clock", "50", "--wait", "20", "--topics", "/points")
    player.communicate(timeout=120)
    _, complaints = stop(recorder, signal.SIGTERM)
    assert recorder.returncode == 0 and "nobody published /nothing" in complaints
    with Bag(tmp_path / "clock") as recorded:
        times = [recorded.deserialise(raw).clock for raw in recorded.messages({"/clock"})]
    times_ns = [t.sec * SECOND_NS + t.nanosec for t in times]
    steps = np.diff(times_ns)
    assert len(times_ns) > 30 and set(steps) == {20_000_000}
    assert times_ns[-1] <= SECOND_NS + 980_000_000


def test_a_recording_that_fills_the_disk_is_kept(tmp_path, monkeypatch, capsys):
    def run(recorder, stopped, duration_s):
        signal.raise_signal(signal.SIGINT)  # ends it, and a second one does not break it off
        assert stopped.is_set()
        writer = recorder._writer
        for number in range(5):
            writer.write("/header", writer.messages.header(number, "a"), number)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(record.Recorder, "run", run)
    assert main(["record", "-o", str(tmp_path / "drive.mcap")]) == 2
    kept = tmp_path / "drive.unfinished.mcap"
    complaint = capsys.readouterr().err
    assert "No space left on device; what was recorded until then is in" in complaint
    assert str(kept) in complaint and list(tmp_path.iterdir()) == [kept]
    assert len(contents(kept)["/header"]) == 5


class Heard:
    """A node whose publishers say what they were given, and ask whom they have."""

    def __init__(self, **subscribers: int) -> None:
        self.published: list[tuple[str, object]] = []
        self.subscribers = subscribers

    def create_publisher(self, kind, topic: str, profile):
        return SimpleNamespace(
            publish=lambda data: self.published.append((topic, data)),
            get_subscription_count=lambda: self.subscribers[topic[1:]],
        )


def test_all_static_transforms_from_before_the_start_are_given(tmp_path, monkeypatch):
    """Each driver tells of its own; of a map only the latest counts."""
    monkeypatch.setattr(play, "ros_class", lambda name: object)
    with BagWriter(tmp_path / "drive.mcap") as writer:
        for number, frame in enumerate(("camera", "lidar")):
            pose = (0, "base", frame, np.eye(4))
            writer.write("/tf_static", writer.messages.transforms([pose]), number, latched=True)
            said = MAKE("std_msgs/msg/String", data=frame)
            writer.write("/map_name", said, number, latched=True)
        writer.write("/late", MAKE("std_msgs/msg/String", data="late"), 2 * SECOND_NS)
    node = Heard()
    with Bag(tmp_path / "drive.mcap") as bag:
        assert play.Player(node, bag).play(rate=100, start_s=1.0) == 1
        told = [(raw.topic, raw.data) for raw in bag.messages()]
    expected = [told[0], told[2], told[3], told[4]]  # without the first name of the map
    assert sorted(node.published, key=repr) == sorted(expected, key=repr)
    assert node.published[-1] == told[4]


def test_a_clock_of_its_own_takes_the_place_of_the_bags(tmp_path):
    with BagWriter(tmp_path / "drive.mcap") as writer:
        time = MAKE("builtin_interfaces/msg/Time", sec=7, nanosec=0)
        writer.write("/clock", MAKE("rosgraph_msgs/msg/Clock", clock=time), 0)
        writer.write("/header", writer.messages.header(1, "a"), 1)
    with Bag(tmp_path / "drive.mcap") as bag:
        plain, simulated = play.Player(Heard(), bag), play.Player(Heard(), bag, clock_hz=100)
    assert plain.skipped == {}
    assert simulated.skipped == {"/clock": "the bag's own time is published in its place"}


def test_nothing_is_played_before_somebody_has_found_the_clock(bag, monkeypatch):
    node, slept = Heard(points=1, clock=0), []

    def sleep(seconds):
        slept.append(seconds)
        node.subscribers["clock"] = len(slept) >= 3

    monkeypatch.setattr(play.time, "sleep", sleep)
    with Bag(bag) as opened:
        player = play.Player(node, opened, ["/points"], clock_hz=100)
        assert player.wait_for_subscribers(0) == ["/clock"] and slept == []
        assert player.wait_for_subscribers(60) == []
        assert len(slept) == 4 and slept[-1] > slept[0]  # until the other side knows as well
        node.subscribers["clock"] = 0
        assert play.Player(node, opened, ["/points"]).wait_for_subscribers(0) == []


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["play", "/nowhere.mcap"], "there is no bag /nowhere.mcap"),
        (["play", "BAG", "--topics", "/nowhere"], "no topic /nowhere; it has /image"),
        (["play", "BAG", "--rate", "0"], "rates above 0"),
        (["record", "-o", "BAG"], "exists already"),
    ],
)
def test_errors(bag, capsys, words, complaint):
    assert main([str(bag) if word == "BAG" else word for word in words]) == 2
    assert complaint in capsys.readouterr().err
