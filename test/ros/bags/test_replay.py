import re

import fake_model
import numpy as np
import pytest
import scene

from memorysam_core.cli import main
from memorysam_core.frames import lidar
from memorysam_ros.bags import Bag, BagError, BagWriter
from memorysam_ros.bags.dropping import TAKEN_AWAY, Drop
from memorysam_ros.bags.replay import Replay, Selection
from memorysam_ros.bags.topics import find
from memorysam_ros.bags.transforms import BagTransforms
from memorysam_ros.bench import replay as bench_replay
from memorysam_ros.parameters import from_values
from memorysam_ros.pipeline import Pipeline

from .conftest import MAKE, MS, SENSORS, START_NS, stamps, write_drive


def replayed(path, given=(), values=(), **selection):
    """The moments of a bag, or of several beside each other, under the fake model."""
    paths = path if isinstance(path, tuple) else (path,)
    parameters = from_values({"event.source": "image", **dict(values)})
    with Bag(*paths) as bag, BagTransforms(bag, parameters.tf_timeout) as transforms:
        given = {"events": SENSORS["event"][3], **dict(given)}
        inputs = find((t for t in bag.topics.values() if "truth" not in t.name), given)
        pipeline = Pipeline(fake_model.FakeModel(), parameters, transforms)
        replay = Replay(bag, inputs, pipeline, transforms, Selection(**selection))
        return list(replay), replay


def nearest(sensor: str, stamp: int, seconds: float = 3.0) -> int:
    return min(stamps(sensor, seconds), key=lambda other: abs(other - stamp))


def test_every_image_is_labelled_once_in_order_as_the_model_alone_would(drive):
    moments, _ = replayed(drive)
    assert [m.matched.stamp_ns for m in moments] == stamps("image", 3.0)
    model = fake_model.FakeModel()
    for moment in moments:
        used = {name: r[0].stamp_ns for name, r in moment.matched.readings.items()}
        assert used == {name: nearest(name, used["image"]) for name in SENSORS}
        frames = scene.frames_at(model.contract, model.size, used)
        expected = model.segment(frames, (scene.CAMERA.height, scene.CAMERA.width))
        np.testing.assert_array_equal(moment.result.segmentation.labels, expected.labels)


def test_the_same_bag_gives_the_same_labels_whatever_its_storage(drive, tmp_path):
    other = write_drive(tmp_path / "drive.db3", storage="sqlite3")
    runs = [replayed(path)[0] for path in (drive, drive, other)]
    bytes_of = [[m.result.segmentation.labels.tobytes() for m in run] for run in runs]
    assert bytes_of[0] == bytes_of[1] == bytes_of[2]
    assert [m.time_ns for m in runs[0]] == [m.time_ns for m in runs[2]]


def test_every_start_and_duration(drive):
    all_stamps = stamps("image", 3.0)
    some, _ = replayed(drive, every=4)
    assert [m.matched.stamp_ns for m in some] == all_stamps[::4]
    part, _ = replayed(drive, start_s=1.0, duration_s=1.0)
    assert [m.matched.stamp_ns for m in part] == all_stamps[10:20]
    assert all(m.result is not None for m in part)


def test_a_dropped_sensor_is_missing_while_it_is_dropped(drive):
    moments, _ = replayed(drive, drops=(Drop("lidar", 1.0, 2.0), Drop("depth")))
    for moment in moments:
        at_s = (moment.matched.stamp_ns - START_NS) / 1e9
        # The scan of 2.013 s comes too late for 2.0 s, which does not wait for a silent sensor.
        assert ("lidar" in moment.result.frames) == (not 0.95 < at_s < 2.05), at_s
        assert "depth" not in moment.result.frames and "event" in moment.result.frames
        assert set(moment.matched.missing.values()) == {TAKEN_AWAY}


def test_a_sensor_that_would_be_missing_anyway_was_not_taken_away(tmp_path):
    """A scan each 0.7 s, recorded at 0.073 s and so on; that of 1.413 s is dropped."""
    path = write_drive(tmp_path / "drive", seconds=4.0)
    with Bag(path) as bag, BagWriter(tmp_path / "slow") as writer:
        for raw in bag.messages():
            if raw.topic != "/lidar/points" or (raw.time_ns - START_NS) // MS % 700 < 100:
                writer.write_raw(raw.topic, raw.msgtype, raw.data, raw.time_ns)
    moments, _ = replayed(tmp_path / "slow", drops=(Drop("lidar", 1.3, 1.6),))
    why = {
        round((m.matched.stamp_ns - START_NS) / 1e9, 1): m.matched.missing["lidar"]
        for m in moments
        if "lidar" in m.matched.missing
    }
    taken = [t for t, reason in why.items() if reason == TAKEN_AWAY]
    # Its own set, and those for which it is by then silent.
    assert taken == [1.4, 1.7, 1.8, 1.9, 2.0, 2.1]
    assert all(why[t].startswith("nearest is") for t in (0.3, 1.2, 1.5, 3.2))


def test_the_times_of_sets_are_those_of_their_stamps(drive):
    moments, _ = replayed(drive)
    with Bag(drive) as bag:
        expected = [(stamp - bag.start_ns) / 1e9 for stamp in stamps("image", 3.0)]
    assert [m.time_s for m in moments] == pytest.approx(expected, abs=1e-9)
    assert all(m.time_ns > m.matched.stamp_ns for m in moments)


def test_stamps_of_another_clock_count_from_the_first_set(tmp_path):
    path = write_drive(tmp_path / "drive", seconds=1.0)
    with Bag(path) as bag, BagWriter(tmp_path / "later") as writer:
        for raw in bag.messages():
            writer.write_raw(raw.topic, raw.msgtype, raw.data, raw.time_ns + 10**18)
    moments, _ = replayed(tmp_path / "later")
    assert -0.1 < moments[0].time_s < 0.3
    assert np.diff([m.time_s for m in moments]) == pytest.approx(np.full(9, 0.1), abs=1e-6)


def test_what_a_selection_asks_in_vain_is_said(drive):
    with Bag(drive) as bag:
        assert bag.seconds == pytest.approx(2.98, abs=0.1)
        with pytest.raises(BagError, match=r"start is 99 s, but .*drive is 3\.0 s long"):
            Selection(start_s=99).idle_parts(bag)
        (told,) = Selection(drops=(Drop("lidar", 8, 12), Drop("depth", 1, 9))).idle_parts(bag)
        assert told == "drop lidar@8-12 takes nothing away: second 0 to 3.0 is replayed"
        (told,) = Selection(start_s=2, drops=(Drop("event", 0, 1),)).idle_parts(bag)
        assert "drop event@0-1" in told
        assert not Selection(start_s=1, duration_s=1, drops=(Drop("event"),)).idle_parts(bag)


def test_a_dropped_camera_is_stood_in_for(tmp_path):
    path = write_drive(tmp_path / "drive", seconds=5.0)
    moments, _ = replayed(path, drops=(Drop("image", 1.0),))
    leaders = {m.matched.leader for m in moments if m.time_s > 2.5}
    assert leaders == {"depth"}
    assert all(m.result is not None for m in moments)


@pytest.mark.parametrize(
    ("text", "drop"),
    [
        ("lidar@8-12", Drop("lidar", 8, 12)),
        ("image@1.5-", Drop("image", 1.5)),
        ("event", Drop("event")),
    ],
)
def test_drops(text, drop):
    assert Drop.parse(text) == drop


@pytest.mark.parametrize("text", ["radar@1-2", "lidar@", "lidar@2-1", "lidar@a-b", "lidar@1-1.2.3"])
def test_wrong_drops(text):
    with pytest.raises(ValueError, match=r"lidar@8-12.*image, depth, event, lidar"):
        Drop.parse(text)


@pytest.mark.parametrize("wrong", [{"every": 0}, {"start_s": -1}, {"duration_s": 0}])
def test_wrong_selections(wrong):
    with pytest.raises(ValueError, match="give a whole number"):
        Selection(**wrong)


# --- quirks of the field


def test_zero_stamps_are_taken_for_the_time_of_recording(tmp_path):
    with BagWriter(tmp_path / "bag") as writer:
        for number in range(5):
            time_ns = START_NS + number * 100 * MS
            image = scene.message_at("image", time_ns, MAKE)
            image.header.stamp = writer.messages.header(0, "").stamp
            writer.write("/front/image_raw", image, time_ns)
            depth = scene.message_at("depth", time_ns, MAKE)
            writer.write("/front/depth/image_raw", depth, time_ns + 3 * MS)
    moments, replay = replayed(tmp_path / "bag", {"events": ""})
    assert [m.matched.stamp_ns for m in moments] == [START_NS + n * 100 * MS for n in range(5)]
    assert all({"image", "depth"} == set(m.result.frames) for m in moments)
    assert replay.pipeline.matcher.counts["image: zero stamp"] == 5


def test_garbage_between_messages_costs_only_itself(tmp_path):
    path = write_drive(tmp_path / "drive", seconds=1.0)
    with Bag(path) as bag, BagWriter(tmp_path / "bag") as writer:
        for raw in bag.messages():
            writer.write_raw(raw.topic, raw.msgtype, raw.data, raw.time_ns)
            if raw.topic == "/lidar/points":
                writer.write_raw(raw.topic, raw.msgtype, raw.data[:37], raw.time_ns + 1)
    clean, _ = replayed(path)
    moments, replay = replayed(tmp_path / "bag")
    assert replay.broken == {"/lidar/points": 10}
    assert "is no sensor_msgs/msg/PointCloud2" in replay.first_errors["/lidar/points"]
    for one, other in zip(clean, moments, strict=True):
        assert (one.result.segmentation.labels == other.result.segmentation.labels).all()


def test_a_message_that_cannot_be_converted_is_told_in_its_set(tmp_path):
    wrong = scene.message_at("lidar", START_NS + 413 * MS, MAKE)
    wrong.fields = wrong.fields[:2]
    path = write_drive(
        tmp_path / "drive", 1.0, extra=[(START_NS + 400 * MS, "/lidar/points", wrong)]
    )
    moments, _ = replayed(path)
    troubles = [m.result.troubles for m in moments if m.result.troubles]
    assert len(troubles) == 1 and "no usable z" in troubles[0]["lidar"]


def test_a_required_sensor_that_cannot_be_used_is_said_to_be_why(tmp_path):
    path = write_drive(tmp_path / "drive", 0.5)
    with Bag(path) as bag, BagWriter(tmp_path / "no_tf") as writer:
        for raw in bag.messages():
            if raw.topic != "/tf_static":
                writer.write_raw(raw.topic, raw.msgtype, raw.data, raw.time_ns)
    moments, _ = replayed(tmp_path / "no_tf", values={"lidar.policy": "required"})
    assert moments and all(m.result is None for m in moments)
    assert "'lidar' and 'camera' are not in tf_static" in moments[0].why or (
        "'camera' and 'lidar' are not in tf_static" in moments[0].why
    )


def test_camera_info_that_comes_after_the_first_image_is_known_before(tmp_path):
    path = write_drive(tmp_path / "drive", 0.5)
    late = tmp_path / "late"
    with Bag(path) as bag, BagWriter(late) as writer:
        infos = list(bag.messages({"/front/camera_info"}))
        for raw in bag.messages(set(bag.topics) - {"/front/camera_info"}):
            writer.write_raw(raw.topic, raw.msgtype, raw.data, raw.time_ns)
        writer.write_raw(infos[0].topic, infos[0].msgtype, infos[0].data, bag.end_ns)
    moments, _ = replayed(late)
    assert all("lidar" in m.result.frames for m in moments[1:])


# --- real recordings


def test_the_kitti_recording(shared_data):
    with Bag(shared_data / "kitti_bag") as bag, BagTransforms(bag) as transforms:
        inputs = find(bag.topics.values(), {})
        pipeline = Pipeline(fake_model.FakeModel(), from_values({}), transforms)
        moments = list(Replay(bag, inputs, pipeline, transforms))
    assert [m.matched.stamp_ns - 1317042733000000000 for m in moments] == [3 * MS, 103 * MS]
    seen = []
    for moment in moments:
        result = moment.result
        assert result.segmentation.labels.shape == (375, 1242)
        assert set(result.frames) == {"image", "lidar"}
        assert {"depth", "event"} == set(moment.matched.missing)
        seen.append(len(lidar.look(result.readings["lidar"], result.view()).pixel))
    assert seen == [18_630, 20_210]


def test_recorded_event_packets_beside_a_camera(shared_data, tmp_path):
    events = shared_data / "event_packets" / "test_events_1"
    with Bag(events) as bag, BagWriter(tmp_path / "camera") as writer:
        for time_ns in range(bag.start_ns, bag.end_ns, 100 * MS):
            writer.write("/camera/image_raw", scene.message_at("image", time_ns, MAKE), time_ns)
    moments, replay = replayed(
        (tmp_path / "camera", events),
        {"events": "/event_camera/events"},
        {"event.source": "packets"},
    )
    assert len(moments) == 21
    assert replay.pipeline.lost_packets == 0
    with_events = [m for m in moments if "event" in m.result.frames]
    assert len(with_events) >= 19
    fired = [int((m.result.frames["event"] > 0).any(2).sum()) for m in with_events[1:]]
    assert min(fired) > 20, fired  # of 32 x 64 pixels


def test_the_real_recording_s_report_says_plainly_what_was_missing(
    shared_data, checkpoint, tmp_path, capsys
):
    output = tmp_path / "out"
    assert main(["replay", checkpoint, str(shared_data / "kitti_bag"), "-o", str(output)]) == 0
    told = capsys.readouterr().out
    assert "2 of 2 sets labelled" in told and "depth  no topic in the bag" in told
    page = (output / "report.html").read_text(encoding="utf-8")
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page))
    for name in ("depth", "events"):
        assert f" {name} missing throughout the bag has no topic of it" in text
    for name, topic in (("camera", "/camera/image_raw"), ("LiDAR", "/lidar/points")):
        assert f" {name} in every set {topic}" in text


def test_memory_does_not_grow_with_the_bag(tmp_path):
    """Each set is 2.6 MB of messages."""
    bench_replay.write_drive(tmp_path / "short.mcap", 5)
    bench_replay.write_drive(tmp_path / "long.mcap", 50)
    bench_replay.replay(tmp_path / "short.mcap", tmp_path / "warm")
    before_mb = bench_replay.resident_mb()
    bench_replay.replay(tmp_path / "long.mcap", tmp_path / "out")
    assert bench_replay.resident_mb() - before_mb < 40
