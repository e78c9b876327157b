"""The demo in small: a drive of three seconds through the real node, with random weights."""

import io
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("rosbags")
pytest.importorskip("open3d")
pytest.importorskip("matplotlib")

from PIL import Image

from memorysam_core.architecture import Architecture
from memorysam_core.checkpoint import build_model, save_checkpoint
from memorysam_core.contract import InputContract, deliver_modalities
from memorysam_core.labels import DELIVER
from memorysam_ros import conversions
from memorysam_ros.bags import Bag
from memorysam_ros.demo.node_process import NodeEnded, running_node
from memorysam_training.demo.drive import DemoDrive, needed, simulated
from memorysam_training.demo.story import LABELS, LOG, PICTURE, REPORT, replaced
from memorysam_training.simulation.bag import Spec, schedule

ROOT = Path(__file__).resolve().parents[2]
SMALL = DemoDrive(seed=1, seconds=3.0, lidar_dies_s=1.0, lidar_lives_s=2.0, size=(96, 64))
# The command, but with the small drive.
COMMAND = f"""
import functools, sys
from memorysam_core.cli import main
from memorysam_training.demo import drive
drive.DemoDrive = functools.partial(
    drive.DemoDrive, seconds={SMALL.seconds}, lidar_dies_s={SMALL.lidar_dies_s},
    lidar_lives_s={SMALL.lidar_lives_s}, size={SMALL.size},
)
if __name__ == "__main__":
    sys.exit(main(["demo", *sys.argv[1:]]))
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    model = build_model(Architecture(size="nano", num_classes=25, memory_mask="confidence"))
    save_checkpoint(path, model, InputContract(deliver_modalities("log_depth"), DELIVER, (64, 96)))
    return path


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    simulated(SMALL, folder, 1)
    return folder


def start(folder: Path, checkpoint: Path, cache: Path, *first, stdout=subprocess.PIPE):
    """The command, whose Python looks for modules in ``first`` first."""
    script = folder / "demo.py"
    script.write_text(COMMAND)
    words = ["--checkpoint", checkpoint, "--cache", cache, "-o", folder / "out", "--seed", "1"]
    path = os.pathsep.join(map(str, [*first, ROOT, ROOT / "training"]))
    return subprocess.Popen(
        [sys.executable, script, *words],
        stdout=stdout,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
    )


def alive(word: str) -> list[str]:
    """Command lines that hold a word, of processes that run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode()
        except OSError:  # gone meanwhile
            continue
        if word in line and int(path.parent.name) != os.getpid():
            found.append(line)
    return found


SLOW_NODE = """
import sys, time
if "node" in sys.orig_argv:
    from memorysam_core.segmenter import Segmenter
    segment = Segmenter.segment
    Segmenter.segment = lambda *given, **more: time.sleep(0.3) or segment(*given, **more)
"""
"""What Python runs first, for a machine that cannot label four images a second."""


def test_the_demo_drives_the_real_node_and_tells_the_truth(tmp_path, checkpoint, cache):
    """On a slow machine, which is given the time that it needs."""
    (tmp_path / "sitecustomize.py").write_text(SLOW_NODE)
    process = start(tmp_path, checkpoint, cache, tmp_path)
    said, _ = process.communicate(timeout=240)
    assert process.returncode == 0, said
    busy_s, rate = map(
        float, re.search(r"a set in ([\d.]+) s: played at ([\d.]+) x", said).groups()
    )
    assert 0.3 <= busy_s < 60
    assert rate == pytest.approx(0.25 / 1.25 / busy_s, rel=0.05)
    assert "A set keeps the node busy for" in said
    assert "simulated before" in said
    out = tmp_path / "out"
    assert {p.name for p in out.iterdir()} == {REPORT, PICTURE, LABELS, LOG}
    assert [p.name for p in tmp_path.glob(".out*")] == []
    images, labelled = map(int, re.search(r"sets in / out\s+(\d+) / (\d+)", said).groups())
    assert images == 12 and labelled >= 11  # others may slow the machine down while it drives
    with Bag(out / LABELS) as bag:
        heard = [bag.deserialise(raw) for raw in bag.messages({"/segment_node/output/labels"})]
    with Bag(next(cache.glob("*.mcap"))) as bag:
        sent = [bag.deserialise(raw) for raw in bag.messages({"/camera/image"})]
    stamps = {conversions.stamp_ns(m) for m in heard}
    assert len(heard) == labelled == len(stamps)
    assert stamps <= {conversions.stamp_ns(m) for m in sent}
    assert all(conversions.label_ids(m).shape == (64, 96) for m in heard)
    page = (out / REPORT).read_text(encoding="utf-8")
    assert "LiDAR missing in" in page
    assert "dead from 1 s to 2 s" in page
    assert "lest sets are lost" in page
    assert Image.open(io.BytesIO((out / PICTURE).read_bytes())).width == 1600
    assert not alive(str(checkpoint))


STAGES = {
    "simulating": lambda folder: any((folder / "empty").glob("*")),
    "starting": lambda folder: alive(f"{sys.executable} -m memorysam_core.cli node {folder}"),
    "driving": lambda folder: "played at" in (folder / "said").read_text(),
}
"""How to tell that the demo has come so far."""


def test_a_signal_while_the_node_is_being_started_ends_it(tmp_path, checkpoint, monkeypatch):
    started = []

    def interrupted(*words, start=subprocess.Popen, **options):
        started.append(start(*words, **options))
        signal.raise_signal(signal.SIGINT)
        return started[0]

    monkeypatch.setattr(subprocess, "Popen", interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), running_node(checkpoint, tmp_path / "log"):
            pytest.fail("it goes on")
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert started[0].poll() is not None


@pytest.mark.parametrize(
    ("stage", "number"),
    [("simulating", signal.SIGINT), ("starting", signal.SIGTERM), ("driving", signal.SIGINT)],
)
def test_ending_it_early_leaves_nothing_behind(tmp_path, checkpoint, cache, stage, number):
    own = tmp_path / checkpoint.name  # whose name tells our node from others
    own.symlink_to(checkpoint)
    with (tmp_path / "said").open("w") as said:
        used = tmp_path / "empty" if stage == "simulating" else cache
        process = start(tmp_path, own, used, stdout=said)
        end = time.monotonic() + 120
        while not STAGES[stage](tmp_path):
            assert process.poll() is None and time.monotonic() < end, stage
            time.sleep(0.02)
        process.send_signal(number)
        process.send_signal(number)
        process.wait(120)
    told = (tmp_path / "said").read_text()
    assert process.returncode == 130, told
    assert "Traceback" not in told
    left = {p.name for p in tmp_path.iterdir()} - {"demo.py", "said", own.name}
    assert left <= {"empty"}
    assert list((tmp_path / "empty").glob("*")) == []
    wait_for(lambda: not alive(str(tmp_path)))


def wait_for(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.05)


def check_for(process, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        process.check()
        time.sleep(0.1)


def interrupted(target: Path) -> None:
    with replaced(target) as scratch:
        (scratch / REPORT).write_text("half")
        raise KeyboardInterrupt


def test_a_node_that_cannot_start_says_why(tmp_path):
    with running_node(tmp_path / "nowhere.safetensors", tmp_path / "log") as process:
        with pytest.raises(NodeEnded, match=r"nowhere\.safetensors"):
            check_for(process, seconds=60)


def test_a_drive_is_simulated_once_and_old_ones_go(cache, tmp_path):
    path, known = simulated(SMALL, cache, 1)
    assert known
    assert path.name == f"drive-{SMALL.key()}.mcap"
    assert SMALL.key() != DemoDrive(seed=2, seconds=3.0, size=(96, 64)).key()
    with Bag(path) as bag:
        lidar_s = [(raw.time_ns - bag.start_ns) / 1e9 for raw in bag.messages({"/lidar/points"})]
        counts = {name: topic.count for name, topic in bag.topics.items()}
    assert not [t for t in lidar_s if 1.1 < t < 2.0]
    assert counts["/camera/image"] == counts["/ground_truth/labels"] == 12
    assert counts["/events/image"] == 12


def test_each_image_keeps_its_nearest_event_window_and_no_other():
    all_ = schedule(Spec(3, 5.0, ("sun",), (), SMALL.rig()))
    kept = needed(all_)
    images = [m.t for m in kept if m.sensor == "camera"]
    windows = [m.t for m in kept if m.sensor == "events"]
    every = np.array([m.t for m in all_ if m.sensor == "events"])
    assert windows == sorted({every[np.abs(every - t).argmin()] for t in images})
    assert len(every) > 4 * len(windows)
    others = [m for m in all_ if m.sensor != "events"]
    assert others == [m for m in kept if m.sensor != "events"]


def test_the_folder_is_replaced_whole_and_a_foreign_one_is_refused(tmp_path):
    target = tmp_path / "demo"
    with replaced(target) as scratch:
        (scratch / REPORT).write_text("1")
    with pytest.raises(KeyboardInterrupt):
        interrupted(target)
    assert (target / REPORT).read_text() == "1"
    with replaced(target) as scratch:
        (scratch / REPORT).write_text("2")
    assert (target / REPORT).read_text() == "2"
    assert [p.name for p in tmp_path.iterdir()] == ["demo"]
    (target / "mine.txt").write_text("keep me")
    with pytest.raises(ValueError, match="other things"), replaced(target):
        pass
    assert (target / "mine.txt").read_text() == "keep me"
