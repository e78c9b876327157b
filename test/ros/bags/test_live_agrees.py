"""What is played to the live node and recorded from it is what replay says of the same bag."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rig

from memorysam_core.metrics import ConfusionMatrix
from memorysam_ros import conversions
from memorysam_ros.bags import Bag, BagWriter
from memorysam_ros.bags.topics import find

from .conftest import truth_at, write_drive
from .test_replay import replayed

ROOT = Path(__file__).resolve().parents[3]
RENAMED = {
    "/front/image_raw": "/segment_node/input/image",
    "/front/camera_info": "/segment_node/input/camera_info",
    "/front/depth/image_raw": "/segment_node/input/depth",
    "/event_camera/events_image": "/segment_node/input/events",
    "/lidar/points": "/segment_node/input/points",
}
LABELS = "/segment_node/output/labels"
PARAMETERS = {"matching.deadline": 1.0, "matching.silent_after": 5.0}
"""A busy machine may be late, but not that late."""


def start(*words, **options) -> subprocess.Popen:
    """One of our commands."""
    return subprocess.Popen(
        [sys.executable, "-u", "-m", "memorysam_core.cli", *map(str, words)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        **options,
    )


def test_labels_of_node_and_replay_and_the_score_of_them(tmp_path, checkpoint):
    drive = write_drive(tmp_path / "plain", seconds=2.0)
    with Bag(drive) as bag, BagWriter(tmp_path / "drive.mcap") as writer:
        for raw in bag.messages():
            if raw.topic in (*RENAMED, "/tf_static", "/truth/labels"):
                name = RENAMED.get(raw.topic, raw.topic)
                writer.write_raw(name, raw.msgtype, raw.data, raw.time_ns)
    with Bag(tmp_path / "drive.mcap") as bag:
        sensors = (topic for topic in bag.topics.values() if topic.name != "/truth/labels")
        assert sorted(find(sensors, {}).values()) == sorted(RENAMED.values())

    node = rig.NodeProcess(tmp_path, **PARAMETERS)
    recorder = start("record", LABELS, "-o", tmp_path / "labels")
    scorer = start(
        "score", checkpoint, tmp_path / "drive.mcap", "--labels", "/truth/labels",
        "-o", tmp_path / "scores", "--ros-args", "-p", "use_sim_time:=true",
    )  # fmt: skip
    try:
        recorder.stdout.readline()
        scorer.stdout.readline()
        player = start(
            "play", tmp_path / "drive.mcap", "--wait", "30", "--clock",
            "--topics", *RENAMED.values(),
        )  # fmt: skip
        player.communicate(timeout=120)
        recorder.send_signal(signal.SIGINT)
        told, _ = recorder.communicate(timeout=30)
        scorer.send_signal(signal.SIGINT)
        scored, _ = scorer.communicate(timeout=30)
    finally:
        recorder.kill()
        scorer.kill()
        node.stop()
    with Bag(tmp_path / "labels") as bag:
        messages = [bag.deserialise(raw) for raw in bag.messages({LABELS})]
    live = {conversions.stamp_ns(m): conversions.label_ids(m) for m in messages}

    moments, _ = replayed(
        tmp_path / "drive.mcap", {"events": RENAMED["/event_camera/events_image"]}, PARAMETERS
    )
    offline = {m.matched.stamp_ns: m.result.segmentation.labels for m in moments}
    assert set(live) <= set(offline) and len(offline) == 20
    assert len(live) >= 15, (told, node.log[-2000:])
    assert list(live) == sorted(live)
    for stamp, labels in live.items():
        np.testing.assert_array_equal(labels, offline[stamp], str(stamp))

    assert scorer.returncode == 0, scored
    scores = json.loads((tmp_path / "scores" / "scores.json").read_text())
    confusion = ConfusionMatrix(25)
    for stamp, labels in live.items():
        confusion.update(labels, truth_at(stamp))
    assert (scores["sets_in"], scores["sets_out"]) == (20, len(live))
    whole = scores["metrics"]["all"]["all sets"]
    assert whole["miou"] == pytest.approx(confusion.scores().miou, abs=1e-12)
    together = {tuple(m.result.frames) for m in moments if m.matched.stamp_ns in live}
    assert len(scores["metrics"]["sensors"]) == len(together)
    assert 0 < scores["milliseconds"]["camera to labels"]["p50"] < 1100
    page = (tmp_path / "scores" / "report.html").read_text()
    assert "The live node on drive.mcap" in page and "Hz" in page


@pytest.mark.parametrize("wrong", ["/nowhere", ""])
def test_a_score_of_nothing_leaves_nothing(drive, checkpoint, tmp_path, wrong):
    output = tmp_path / "scores"
    words = ["--labels", wrong or "/truth/labels", "-o", output]
    scorer = start("score", checkpoint, drive, *words, stderr=subprocess.PIPE)
    if not wrong:
        assert "listening to /segment_node" in scorer.stdout.readline()
        scorer.send_signal(signal.SIGINT)
    _, complaint = scorer.communicate(timeout=60)
    assert scorer.returncode == 2
    assert ("no topic /nowhere of label images" if wrong else "published no labels") in complaint
    assert list(tmp_path.iterdir()) == []
