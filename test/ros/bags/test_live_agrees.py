"""What is played to the live node and recorded from it is what replay says of the same bag."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import rig
import scene

from memorysam_core.checkpoint import SHIPPED
from memorysam_core.metrics import ConfusionMatrix
from memorysam_ros import conversions
from memorysam_ros.bags import Bag, BagWriter
from memorysam_ros.bags.topics import find

from .conftest import MAKE, MS, SENSORS, START_NS, stamps, truth_at, write_drive
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
QUEUES = {
    f"qos_overrides.{topic}.{end}.{policy}": value
    for end, topics in {"subscription": RENAMED.values(), "publisher": [LABELS]}.items()
    for topic in topics
    for policy, value in {"reliability": "reliable", "depth": 100}.items()
}
"""Nor may it lose a reading: the node would rightly label the image with another one."""


def start(*words, packages=(), **options) -> subprocess.Popen:
    """One of our commands, which finds more Python packages in ``packages``."""
    path = os.pathsep.join(map(str, [ROOT, *packages]))
    return subprocess.Popen(
        [sys.executable, "-u", "-m", "memorysam_core.cli", *map(str, words)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path},
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

    node = rig.NodeProcess(tmp_path, **PARAMETERS, **QUEUES)
    robot = rig.Rig()
    robot.subscribe_output("output/labels")
    recorder = start("record", LABELS, "-o", tmp_path / "labels")
    scorer = start(
        "score", checkpoint, tmp_path / "drive.mcap", "--labels", "/truth/labels",
        "-o", tmp_path / "scores", "--ros-args", "-p", "use_sim_time:=true",
    )  # fmt: skip
    try:
        # We, a recorder of the labels, and a scorer that looks at what the model saw as well.
        robot.wait(
            lambda: robot.status("outputs").message == "6 subscribers",
            lambda: robot.status("outputs").message,
        )
        robot.settle()  # they learn of the node as well
        player = start(
            "play", tmp_path / "drive.mcap", "--wait", "30", "--clock",
            "--topics", *RENAMED.values(),
        )  # fmt: skip
        player.communicate(timeout=120)
        robot.settle(3.0)  # the last set is still being labelled, and heard by all
        recorder.send_signal(signal.SIGINT)
        told, _ = recorder.communicate(timeout=120)
        scorer.send_signal(signal.SIGINT)
        scored, _ = scorer.communicate(timeout=120)
    finally:
        recorder.kill()
        scorer.kill()
        node.stop()
        robot.close()
    with Bag(tmp_path / "labels") as bag:
        messages = [bag.deserialise(raw) for raw in bag.messages({LABELS})]
    live = {conversions.stamp_ns(m): conversions.label_ids(m) for m in messages}

    moments, _ = replayed(
        tmp_path / "drive.mcap", {"events": RENAMED["/event_camera/events_image"]}, PARAMETERS
    )
    offline = {m.matched.stamp_ns: m.result.segmentation.labels for m in moments}
    assert set(live) <= set(offline) and len(offline) == 20
    assert len(live) >= 10, (told, node.log[-2000:])
    assert list(live) == sorted(live)
    for stamp, labels in live.items():
        assert_same(labels, offline[stamp])

    assert scorer.returncode == 0, scored
    assert "listening to /segment_node" in scored
    scores = json.loads((tmp_path / "scores" / "scores.json").read_text())
    confusion = ConfusionMatrix(25)
    for stamp, labels in live.items():
        confusion.update(labels, truth_at(stamp))
    assert (scores["sets_in"], scores["sets_out"]) == (20, len(live))
    whole = scores["metrics"]["all"]["all sets"]
    assert whole["miou"] == pytest.approx(confusion.scores().miou, abs=1e-12)
    together = {tuple(m.result.frames) for m in moments if m.matched.stamp_ns in live}
    assert len(scores["metrics"]["sensors"]) == len(together)
    assert 0 < scores["milliseconds"]["camera to labels"]["p50"] < 60_000
    page = (tmp_path / "scores" / "report.html").read_text()
    assert "The live node on drive.mcap" in page and "Hz" in page


def assert_same(live: np.ndarray, offline: np.ndarray) -> None:
    """Equal, but for one tie or two: the two need not have held the same frames from set to set,
    and what is encoded alone differs in rounding from what is encoded with others.
    """
    assert live.shape == offline.shape and (live != offline).sum() <= 2


SETS = 12


def write_real_drive(path: Path) -> None:
    """Event packets instead of pictures of them, and a LiDAR on a mast that moves."""
    rng = np.random.default_rng(3)
    end_ns = START_NS + SETS * 100 * MS
    lines = []
    for sensor in ("image", "depth", "lidar"):
        _, _, latency, topic = SENSORS[sensor]
        for stamp in stamps(sensor, SETS / 10):
            message = scene.message_at(sensor, stamp, MAKE)
            lines.append((stamp + latency * MS, RENAMED[topic], message))
    with BagWriter(path) as writer:
        outputs = writer.messages
        for stamp in stamps("image", SETS / 10):
            info = outputs.camera_info(outputs.header(stamp, "camera"), scene.CAMERA)
            lines.append((stamp, RENAMED["/front/camera_info"], info))
        for seq, begin in enumerate(range(START_NS - 100 * MS, end_ns, 10 * MS)):
            words = np.sort(rng.integers(0, 10_000, 300)).astype(np.uint64) * np.uint64(1000)
            for most, shift in ((40, 32), (24, 48), (2, 63)):  # x, y, polarity
                words |= rng.integers(0, most, 300).astype(np.uint64) << np.uint64(shift)
            packet = MAKE(
                "event_camera_msgs/msg/EventPacket", header=outputs.header(begin, "events"),
                height=24, width=40, seq=seq, time_base=0, encoding="mono", is_bigendian=False,
                events=words.view(np.uint8),
            )  # fmt: skip
            lines.append((begin + 11 * MS, RENAMED["/event_camera/events_image"], packet))
        for stamp in range(START_NS - 200 * MS, end_ns + 200 * MS, 20 * MS):
            sway = scene.POSE.copy()
            sway[0, 3] += 0.5 * np.sin((stamp - START_NS) / 1e8)
            lines.append((stamp + MS, "/tf", outputs.transforms([(stamp, "base", "lidar", sway)])))
        still = outputs.transforms([(0, "base", "camera", np.eye(4))])
        writer.write("/tf_static", still, START_NS - 200 * MS, latched=True)
        for time_ns, topic, message in sorted(lines, key=lambda line: line[0]):
            writer.write(topic, message, time_ns)


def test_the_shipped_weights_say_the_same_live_and_offline(tmp_path, distribution):
    """Every label image that came is that of replay, with all four sensors and what moves."""
    bag, parameters = tmp_path / "drive.mcap", tmp_path / "parameters.yaml"
    write_real_drive(bag)
    parameters.write_text(
        "/**:\n  ros__parameters:\n    matching: {deadline: 1.0, silent_after: 5.0}\n"
    )
    words = ["--params-file", parameters, "-o", tmp_path / "out"]
    replay = start("replay", SHIPPED, bag, *words)
    assert "12 of 12 sets labelled" in replay.communicate(timeout=200)[0]
    sets = [json.loads(line) for line in (tmp_path / "out" / "sets.jsonl").open()]
    assert sum(len(one["sensors"]) == 4 for one in sets) >= 10, sets
    with Bag(tmp_path / "out" / "bag") as written:
        messages = [written.deserialise(raw) for raw in written.messages({LABELS})]
    offline = {conversions.stamp_ns(m): conversions.label_ids(m) for m in messages}

    from_tf = {"lidar.camera_from_lidar": [0.0] * 7, "event.source": "packets"}
    given = {**PARAMETERS, **QUEUES, **from_tf, "use_sim_time": True}
    node = rig.NodeProcess(tmp_path, str(SHIPPED), packages=distribution, **given)
    recorder = start("record", LABELS, "-o", tmp_path / "labels")
    try:
        recorder.stdout.readline()
        words = ["--clock", "--rate", "0.1", "--wait", "60"]
        player = start("play", bag, *words, packages=distribution)
        player.communicate(timeout=200)
        time.sleep(3.0)  # the last set is still being labelled
        recorder.send_signal(signal.SIGINT)
        told, _ = recorder.communicate(timeout=120)
    finally:
        recorder.kill()
        node.stop()
    with Bag(tmp_path / "labels") as heard:
        messages = [heard.deserialise(raw) for raw in heard.messages({LABELS})]
    live = {conversions.stamp_ns(m): conversions.label_ids(m) for m in messages}
    assert len(live) == len(messages) >= SETS // 3, (told, node.log[-3000:])
    for stamp, labels in live.items():
        assert_same(labels, offline[stamp])
    complete = {one["stamp_ns"] for one in sets if len(one["sensors"]) == 4}
    assert len(complete & set(live)) >= SETS // 4


@pytest.mark.parametrize("wrong", ["/nowhere", ""])
def test_a_score_of_nothing_leaves_nothing(drive, checkpoint, tmp_path, wrong):
    output = tmp_path / "scores"
    words = ["--labels", wrong or "/truth/labels", "-o", output]
    scorer = start("score", checkpoint, drive, *words, stderr=subprocess.PIPE)
    if not wrong:
        assert "waiting for /segment_node to publish labels" in scorer.stdout.readline()
        scorer.send_signal(signal.SIGINT)
    _, complaint = scorer.communicate(timeout=120)
    assert scorer.returncode == 2
    assert ("no topic /nowhere of label images" if wrong else "published no labels") in complaint
    assert list(tmp_path.iterdir()) == []
