"""`memorysam replay`: what it is given, what it says, and what it leaves behind."""

import json

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from memorysam_core.cli import main
from memorysam_core.labels import DELIVER
from memorysam_core.metrics import ConfusionMatrix
from memorysam_ros import conversions
from memorysam_ros.bags import Bag, BagWriter
from memorysam_ros.bags.dropping import TAKEN_AWAY

from .conftest import MAKE, MS, START_NS, stamps, truth_at, write_drive

COMMAND = ["--topic", "events:=/event_camera/events_image", "--device", "cpu"]


def read_labels(path) -> dict[int, np.ndarray]:
    with Bag(path) as bag:
        messages = [bag.deserialise(r) for r in bag.messages({"/segment_node/output/labels"})]
    assert all(conversions.frame_id(m) == "camera" for m in messages)
    return {conversions.stamp_ns(m): conversions.label_ids(m) for m in messages}


def check_video(path, labels) -> None:
    """A picture for each set, at its time: the labels, below them four sensors and the truth."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    stamps_s = np.array(list(labels)) / 1e9
    times_s = np.array([frame.time for frame in frames])
    np.testing.assert_allclose(np.diff(times_s), np.diff(stamps_s), atol=0.0015)
    pixels = np.stack([frame.to_ndarray(format="rgb24") for frame in frames]).astype(int)
    assert pixels.shape[1:] == (720 + 144, 1200, 3)
    rows = slice(720 + 20, 720 + 144)  # below the names
    truths = np.stack([DELIVER.colourise(truth_at(stamp)) for stamp in labels]).astype(int)
    centres = (2 * np.arange(144) + 1) * 96 // 288, (2 * np.arange(240) + 1) * 160 // 480
    sought = truths[:, centres[0][20:, None], centres[1]]
    apart = np.abs(pixels[:, None, rows, 4 * 240 :] - sought[None]).mean((2, 3, 4))
    assert list(apart.argmin(axis=1)) == list(range(len(labels)))
    dots = pixels[:, rows, 3 * 240 : 4 * 240].max(3).std((1, 2))
    gone = [1.0 <= at_s - START_NS / 1e9 < 2.0 for at_s in stamps_s]  # the LiDAR, dropped
    assert list(dots < dots.max() / 10) == gone, dots


def test_the_command(drive, checkpoint, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    command = ["replay", checkpoint, str(drive), *COMMAND]
    drops = ["--drop", "lidar@1-2", "--drop", "depth@77-88"]
    labels = ["--labels", "/truth/labels"]
    assert main([*command, *labels, *drops, "--video", "--every", "3"]) == 0
    told = capsys.readouterr()
    assert "drop depth@77-88 takes nothing away" in told.err
    told = told.out
    assert "10 of 30 sets labelled (--every 3)" in told and "mIoU" in told
    assert f"3 x {TAKEN_AWAY}" in told
    found = read_labels("drive_labels/bag")
    assert list(found) == stamps("image", 3.0)[::3]

    summary = json.loads((tmp_path / "drive_labels" / "replay.json").read_text())
    confusion = ConfusionMatrix(25)
    for stamp, labels in found.items():
        confusion.update(labels, truth_at(stamp))
    assert summary["metrics"]["miou"] == pytest.approx(confusion.scores().miou, abs=1e-12)
    assert summary["metrics"]["pixels"] == 10 * 91 * 160
    assert sum(v["pixels"] for v in summary["metrics"]["by_sensors"].values()) == 10 * 91 * 160
    assert summary["sensors"]["lidar"]["sets"] == 7
    assert summary["sensors"]["lidar"]["why_not"] == {TAKEN_AWAY: 3}
    assert summary["sensors"]["image"]["topic"] == "/front/image_raw"
    assert summary["truth"] == {"topic": "/truth/labels", "sets": 10, "why_none": ""}
    speed = summary["sets_per_second"]
    assert speed == pytest.approx(10 / summary["seconds"])
    # 30 sets in 3 s are real time.
    assert summary["real_time_factor"] == pytest.approx(speed / 10, rel=0.02)

    lines = (tmp_path / "drive_labels" / "sets.jsonl").read_text().splitlines()
    sets = [json.loads(line) for line in lines]
    assert [one["stamp_ns"] for one in sets] == list(found)
    assert [("lidar" in one["sensors"]) for one in sets] == [True] * 4 + [False] * 3 + [True] * 3
    median = np.median([one["ms"]["model"] for one in sets])
    assert summary["milliseconds"]["model"]["p50"] == pytest.approx(median)

    with Bag("drive_labels/bag") as bag:
        counts = {name.removeprefix("/segment_node/"): t.count for name, t in bag.topics.items()}
    images = ("output/labels", "output/confidence", "output/color", "output/overlay")
    assert {counts[name] for name in (*images, "debug/depth_frame")} == {10}
    assert counts["output/points"] == counts["debug/lidar_frame"] == 7
    assert counts["/tf_static"] == counts["output/label_info"] == 1
    page = (tmp_path / "drive_labels" / "report.html").read_text()
    assert "Replay of drive" in page and "LiDAR" in page
    strip = Image.open(tmp_path / "drive_labels" / "filmstrip.png")
    assert strip.width == 6 * 324 + 4 and strip.height == 30 + 6 * (192 + 4)
    headings = np.asarray(strip)[:30, 4 : 4 + 6 * 324].reshape(30, 6, -1)
    assert (headings.max((0, 2)) > 200).all()  # each has its time
    check_video(tmp_path / "drive_labels" / "video.mp4", found)

    assert main([*command, "-o", "again", "--every", "6"]) == 0
    assert main([*command, "-o", "once_more", "--every", "6"]) == 0
    again, once_more = read_labels("again/bag"), read_labels("once_more/bag")
    assert all((again[stamp] == once_more[stamp]).all() for stamp in again)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again", "drive_labels", "once_more"]


def test_an_interrupted_replay_leaves_nothing(drive, checkpoint, tmp_path, stopped_at_third_set):
    output = tmp_path / "out"
    assert main(["replay", checkpoint, str(drive), *COMMAND, "-o", str(output)]) == 130
    assert len(stopped_at_third_set) == 3 and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--topic", "image:=/nowhere"], "no topic /nowhere for image"),
        (["--topic", "/front"], "INPUT:=TOPIC"),
        (["--drop", "radar"], "lidar@8-12"),
        (["--labels", "/nowhere"], "no topic /nowhere of label images"),
        (["--every", "0"], "every is 0"),
        (["--start", "99"], "start is 99 s, but"),
        (["-o", "/"], "exists already"),
    ],
)
def test_errors_of_the_command(drive, checkpoint, tmp_path, monkeypatch, capsys, words, complaint):
    monkeypatch.chdir(tmp_path)
    assert main(["replay", checkpoint, str(drive), *COMMAND, *words]) == 2
    assert complaint in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_bag_without_sensors(checkpoint, tmp_path, capsys):
    with BagWriter(tmp_path / "bag") as writer:
        writer.write("/a", writer.messages.header(0, ""), 0)
    assert main(["replay", checkpoint, str(tmp_path / "bag"), "-o", str(tmp_path / "out")]) == 2
    assert "no topic of a sensor; it has /a (std_msgs/msg/Header)" in capsys.readouterr().err


def test_truth_by_condition(checkpoint, tmp_path, capsys):
    text = MAKE("std_msgs/msg/String", data="night")
    other = MAKE("std_msgs/msg/String", data="fog")
    conditions = [
        (START_NS, "/sim/condition", text),
        (START_NS + 1500 * MS, "/sim/condition", other),
    ]
    path = write_drive(tmp_path / "drive", 3.0, extra=conditions)
    words = ["--labels", "/truth/labels", "-o", str(tmp_path / "out")]
    assert main(["replay", checkpoint, str(path), *COMMAND, *words]) == 0
    metrics = json.loads((tmp_path / "out" / "replay.json").read_text())["metrics"]
    assert set(metrics["by_condition"]) == {"night", "fog"}
    assert metrics["by_condition"]["night"]["pixels"] == 15 * 91 * 160
    assert "night: 0." in capsys.readouterr().out


def with_truth(drive, path, change):
    """A copy of the drive, whose labels are what ``change`` makes of (message, time)."""
    with Bag(drive) as bag, BagWriter(path) as writer:
        for raw in bag.messages():
            if raw.topic != "/truth/labels":
                writer.write_raw(raw.topic, raw.msgtype, raw.data, raw.time_ns)
            elif (message := change(bag.deserialise(raw), raw.time_ns)) is not None:
                writer.write(raw.topic, message, raw.time_ns)
    return path


def shifted(ns: int):
    def change(message, time_ns):
        message.header = BagWriter("unused").messages.header(time_ns + ns, "camera")
        return message

    return change


def replay_with_truth(checkpoint, path, output) -> dict:
    words = ["--labels", "/truth/labels", "--every", "5", "-o", str(output)]
    assert main(["replay", checkpoint, str(path), *COMMAND, *words]) == 0
    return json.loads((output / "replay.json").read_text())


def test_truth_need_not_have_exactly_the_stamp_of_its_image(drive, checkpoint, tmp_path, capsys):
    moved = with_truth(drive, tmp_path / "moved", shifted(-1000))
    exact = replay_with_truth(checkpoint, drive, tmp_path / "a")
    rounded = replay_with_truth(checkpoint, moved, tmp_path / "b")
    assert rounded["truth"]["sets"] == 6
    assert rounded["metrics"] == exact["metrics"]
    assert not capsys.readouterr().err


def test_truth_of_which_none_belongs_to_an_image_is_said(drive, checkpoint, tmp_path, capsys):
    moved = with_truth(drive, tmp_path / "moved", shifted(40 * MS))
    summary = replay_with_truth(checkpoint, moved, tmp_path / "out")
    why = "no labels on /truth/labels are within 5 ms of an image's stamp; the nearest are 40 ms"
    assert summary["metrics"] == {} and summary["truth"]["why_none"].startswith(why)
    told = capsys.readouterr()
    assert f"no scores: {why}" in told.err
    assert f"0 of 6 sets have ground truth: {why}" in told.out
    page = (tmp_path / "out" / "report.html").read_text()
    assert "the nearest are 40 ms away, so nothing can be scored" in page
    assert "No ground truth was given" not in page


def test_some_sets_without_truth_are_counted(drive, checkpoint, tmp_path, capsys):
    sparse = with_truth(
        drive, tmp_path / "sparse", lambda m, t: m if (t - START_NS) % 1_000_000_000 == 0 else None
    )
    summary = replay_with_truth(checkpoint, sparse, tmp_path / "out")
    assert summary["truth"] == {"topic": "/truth/labels", "sets": 3, "why_none": ""}
    assert summary["metrics"]["pixels"] == 3 * 91 * 160
    told = capsys.readouterr()
    assert "  3 of 6 sets have ground truth\n" in told.out
    assert not told.err


def test_truth_may_be_packed_as_png(drive, checkpoint, tmp_path):
    def packed(message, _):
        data = cv2.imencode(".png", conversions.label_ids(message))[1].reshape(-1)
        kind = "sensor_msgs/msg/CompressedImage"
        return MAKE(kind, header=message.header, format="mono8; png compressed ", data=data)

    path = with_truth(drive, tmp_path / "packed", packed)
    small = replay_with_truth(checkpoint, path, tmp_path / "a")
    plain = replay_with_truth(checkpoint, drive, tmp_path / "b")
    assert small["metrics"] == plain["metrics"] != {}


def test_moving_and_static_transforms_are_in_the_written_bag(checkpoint, tmp_path):
    outputs = BagWriter("unused").messages
    moving = [
        (t, "/tf", outputs.transforms([(t, "odom", "base", np.eye(4))]))
        for t in range(START_NS, START_NS + 2000 * MS, 20 * MS)
    ]
    path = write_drive(tmp_path / "drive", 2.0, extra=moving)
    words = ["--start", "0.5", "--duration", "1", "-o", str(tmp_path / "out")]
    assert main(["replay", checkpoint, str(path), *COMMAND, *words]) == 0
    with Bag(tmp_path / "out" / "bag") as bag:
        times = [raw.time_ns for raw in bag.messages({"/tf"})]
        assert bag.topics["/tf_static"].count == 1
        everything = [raw.time_ns for raw in bag.messages()]
    expected = [t for t, *_ in moving if 500 * MS <= t - START_NS <= 1500 * MS]
    assert times == expected
    assert everything == sorted(everything)
