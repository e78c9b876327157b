import errno
import re
import shutil
import sqlite3
import struct

import numpy as np
import pytest
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from memorysam_ros import conversions
from memorysam_ros.bags import Bag, BagError, BagWriter, mcap_scan, reader
from memorysam_ros.bags.files import ZSTD_MAGIC
from memorysam_ros.bags.types import typestore

MCAP, SQLITE = StoragePlugin.MCAP, StoragePlugin.SQLITE3
SECOND = 1_000_000_000


def fill(writer: BagWriter, count: int = 20) -> None:
    """Images at 10 Hz whose pixels are their number, and a scan with every second one."""
    outputs = writer.messages
    for number in range(count):
        time_ns = SECOND + number * 100_000_000
        header = outputs.header(time_ns, "camera")
        writer.write("/image", outputs.rgb(header, np.full((4, 6, 3), number, np.uint8)), time_ns)
        if number % 2 == 0:
            xyz = np.full((3, 3), number, np.float32)
            writer.write("/points", outputs.points(header, xyz), time_ns + 1)


def written(path, storage="mcap", compress=False):
    with BagWriter(path, storage, compress) as writer:
        fill(writer)
    return path


def numbers(bag: Bag, **options) -> list[int]:
    return [
        int(conversions.rgb(bag.deserialise(raw))[0, 0, 0])
        for raw in bag.messages({"/image"}, **options)
    ]


@pytest.mark.parametrize(
    ("storage", "compress"), [("mcap", False), ("mcap", True), ("sqlite3", False)]
)
def test_what_is_written_is_read(tmp_path, storage, compress):
    with Bag(written(tmp_path / "bag", storage, compress)) as bag:
        assert not bag.warnings
        assert (bag.start_ns, bag.end_ns, bag.count) == (SECOND, 2_900_000_000, 30)
        assert {t.name: (t.msgtype, t.count) for t in bag.topics.values()} == {
            "/image": ("sensor_msgs/msg/Image", 20),
            "/points": ("sensor_msgs/msg/PointCloud2", 10),
        }
        assert numbers(bag) == list(range(20))
        times = [raw.time_ns for raw in bag.messages()]
        assert len(times) == 30 and times == sorted(times)
        assert numbers(bag, start_ns=SECOND + 200_000_000, stop_ns=SECOND + 500_000_000) == [
            2,
            3,
            4,
        ]


@pytest.mark.parametrize("plugin", [MCAP, SQLITE])
@pytest.mark.parametrize("mode", [CompressionMode.FILE, CompressionMode.MESSAGE])
@pytest.mark.parametrize("metadata", [True, False])
def test_compression_by_file_and_by_message(tmp_path, plugin, mode, metadata):
    plain = written(tmp_path / "plain")
    packed = Writer(tmp_path / "packed", version=9, storage_plugin=plugin)
    packed.set_compression(mode, CompressionFormat.ZSTD)
    with packed, Bag(plain) as bag:
        connections = {
            topic.name: packed.add_connection(topic.name, topic.msgtype, typestore=typestore())
            for topic in bag.topics.values()
        }
        for raw in bag.messages():
            packed.write(connections[raw.topic], raw.time_ns, raw.data)
    if not metadata:
        (tmp_path / "packed" / "metadata.yaml").unlink()
    with Bag(tmp_path / "packed") as bag:
        assert numbers(bag) == list(range(20))


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_split_bags_are_read_in_order_of_time(tmp_path, storage):
    folder = tmp_path / "split"
    folder.mkdir()
    suffix = {"mcap": "mcap", "sqlite3": "db3"}[storage]
    for number in range(12):
        part = tmp_path / f"part_{number}"
        with BagWriter(part, storage) as writer:
            outputs = writer.messages
            pixels = np.full((2, 2, 3), number, np.uint8)
            writer.write("/image", outputs.rgb(outputs.header(0, ""), pixels), SECOND + number)
        shutil.copy(part / f"part_{number}.{suffix}", folder / f"bag_{number}.{suffix}")
    with Bag(folder) as bag:
        assert numbers(bag) == list(range(12))
        assert bag.topics["/image"].count == 12
    with Bag(folder / f"bag_7.{suffix}") as bag:
        assert numbers(bag) == [7]


def test_bags_of_the_same_time_are_read_as_one(tmp_path):
    """Three recorders: one of them starts late, none knows of the others."""
    times = {"a": range(0, 100, 2), "b": range(1, 100, 2), "c": range(60, 140, 5)}
    for name, own in times.items():
        with BagWriter(tmp_path / name, "sqlite3" if name == "b" else "mcap") as writer:
            for at in own:
                header = writer.messages.header(at, name)
                writer.write(f"/{name}", header, SECOND + at)
    with Bag(*(tmp_path / name for name in times)) as bag:
        found = [(raw.time_ns - SECOND, raw.topic[1:]) for raw in bag.messages()]
        assert found == sorted((at, name) for name, own in times.items() for at in own)
        assert (bag.start_ns, bag.end_ns, bag.count) == (SECOND, SECOND + 135, 116)
        with bag.again() as other:
            assert [raw.time_ns for raw in other.messages({"/c"})] == [
                raw.time_ns for raw in bag.messages({"/c"})
            ]
        late = [raw.topic for raw in bag.messages(None, SECOND + 97, SECOND + 101)]
        assert late == ["/b", "/a", "/b", "/c"]
    with pytest.raises(FileNotFoundError, match="there is no bag .*nowhere"):
        Bag(tmp_path / "a", tmp_path / "nowhere")


# --- quirks of the field


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("storage_identifier: ", "storage_identifier: '' # "),
        lambda text: "",
        lambda text: "rosbag2_bagfile_information: [",
        lambda text: text.replace("version: 8", "version: 99"),
        None,
    ],
)
def test_wrong_or_missing_metadata(tmp_path, storage, change):
    path = written(tmp_path / "bag", storage)
    metadata = path / "metadata.yaml"
    if change is None:
        metadata.unlink()
    else:
        metadata.write_text(change(metadata.read_text()))
    with Bag(path) as bag:
        assert not bag.warnings
        assert numbers(bag) == list(range(20))


def test_a_bag_by_its_metadata_file(tmp_path):
    with Bag(written(tmp_path / "bag") / "metadata.yaml") as bag:
        assert bag.count == 30


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("share", [0.35, 0.6, 0.95, "footer"])
def test_a_truncated_mcap_is_read_as_far_as_it_is_whole(tmp_path, compress, share):
    path = tmp_path / "bag"
    with BagWriter(path, "mcap", compress) as writer:
        outputs = writer.messages
        local = np.random.default_rng(0)
        for number in range(60):  # 100 kB each that cannot be compressed, hence several chunks
            pixels = local.integers(0, 256, (200, 170, 3), np.uint8)
            pixels[0, 0] = number
            header = outputs.header(number, "camera")
            writer.write("/image", outputs.rgb(header, pixels), SECOND + number)
    file = path / "bag.mcap"
    data = file.read_bytes()
    length = len(data) - 5 if share == "footer" else int(len(data) * share)
    file.write_bytes(data[:length])
    with Bag(path) as bag:
        found = numbers(bag)
        assert found == list(range(len(found)))
        expected = 60 if share == "footer" else 60 * share
        assert expected - 12 < len(found) <= expected + 1  # but for the chunk that was cut
        assert bag.topics["/image"].count == bag.count == len(found)
        assert bag.end_ns == SECOND + len(found) - 1
        (warning,) = bag.warnings
        assert "bag.mcap" in warning and f"of {length} bytes" in warning
        assert numbers(bag, start_ns=SECOND + 3, stop_ns=SECOND + 5) == [3, 4]


def test_a_damaged_chunk_ends_the_reading(tmp_path):
    path = written(tmp_path / "bag", "mcap", compress=True)
    file = path / "bag.mcap"
    data = bytearray(file.read_bytes()[:-20])
    data[len(data) // 8] ^= 0xFF
    file.write_bytes(data)
    with Bag(path) as bag:
        assert len(bag.warnings) == 1
        assert numbers(bag) == list(range(len(numbers(bag))))


def plain_mcap(messages, encoding: str = "ros2msg") -> bytes:
    """As a recorder in haste writes it: without chunks or index, messages as they come."""

    def text(value: str) -> bytes:
        return struct.pack("<I", len(value)) + value.encode()

    def record(code: int, body: bytes) -> bytes:
        return struct.pack("<BQ", code, len(body)) + body

    schema = text("sensor_msgs/msg/Image") + text(encoding) + text("")
    channel = text("/image") + text("cdr") + text("")
    return b"".join(
        [
            mcap_scan.MAGIC,
            record(1, text("ros2") + text("test")),
            record(3, struct.pack("<H", 1) + schema),
            record(4, struct.pack("<HH", 1, 1) + channel),
            *(record(5, struct.pack("<HIQQ", 1, 0, t, t) + data) for t, data in messages),
            record(15, bytes(4)),
            record(2, bytes(20)),
            mcap_scan.MAGIC,
        ]
    )


def some_images(tmp_path) -> list[tuple[int, bytes]]:
    with Bag(written(tmp_path / "source")) as bag:
        return [(raw.time_ns, raw.data) for raw in bag.messages({"/image"})]


@pytest.mark.parametrize("encoding", ["ros2msg", "unknown", "jsonschema"])
def test_messages_outside_of_chunks_are_put_in_order(tmp_path, encoding):
    """Middleware stamps them when they are received, and they are written as they are taken."""
    images = some_images(tmp_path)
    shuffled = [images[i] for i in np.random.default_rng(0).permutation(len(images))]
    path = tmp_path / "fast.mcap"
    path.write_bytes(plain_mcap(shuffled, encoding))
    with Bag(path) as bag:
        assert not bag.warnings
        assert numbers(bag) == list(range(20))
        assert numbers(bag, start_ns=images[3][0], stop_ns=images[6][0]) == [3, 4, 5]
        assert (bag.start_ns, bag.end_ns, bag.count) == (images[0][0], images[-1][0], 20)
    path.write_bytes(plain_mcap(shuffled, encoding)[:-900])
    with Bag(path) as bag:
        found = numbers(bag)
        assert 10 < len(found) < 20 and found == sorted(found)
        assert "cut off" in bag.warnings[0]


def test_a_database_whose_definitions_are_empty(tmp_path):
    """So rosbag2 writes a topic whose message package is not there."""
    path = tmp_path / "bag"
    with Writer(path, version=9, storage_plugin=SQLITE) as writer:
        image = writer.add_connection("/image", "sensor_msgs/msg/Image", typestore=typestore())
        for time_ns, data in some_images(tmp_path):
            writer.write(image, time_ns, data)
    with sqlite3.connect(path / "bag.db3") as base:
        base.execute("UPDATE message_definitions SET encoding = ''")
    with Bag(path) as bag:
        assert not bag.warnings and bag.count == 20
        assert numbers(bag) == list(range(20))
        assert numbers(bag, start_ns=SECOND + 200_000_000, stop_ns=SECOND + 400_000_000) == [2, 3]


def test_a_damage_behind_a_whole_index_ends_the_reading_with_a_warning(tmp_path):
    path = tmp_path / "bag"
    with BagWriter(path, "mcap", compress=True) as writer:
        noise = np.random.default_rng(0)
        for number in range(60):  # several chunks
            pixels = noise.integers(0, 256, (200, 170, 3), np.uint8)
            pixels[0, 0] = number
            time_ns = SECOND + number
            image = writer.messages.rgb(writer.messages.header(time_ns, "camera"), pixels)
            writer.write("/image", image, time_ns)
    file = path / "bag.mcap"
    data = bytearray(file.read_bytes())
    chunks = [found.start() for found in re.finditer(re.escape(ZSTD_MAGIC), data)]
    data[chunks[len(chunks) // 2]] ^= 0xFF
    file.write_bytes(data)
    with Bag(path) as bag:
        assert not bag.warnings
        for _ in range(2):
            found = numbers(bag)
            assert 5 < len(found) < 40 and found == list(range(len(found)))
        (warning,) = bag.warnings
        assert "bag.mcap is damaged, and was read to 0.000 s only" in warning


def test_a_full_disk_is_no_damaged_file(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(reader, "unpacked", full)
    with pytest.raises(OSError, match="no space to unpack bag.mcap in .*let TMPDIR name a folder"):
        Bag(written(tmp_path / "bag")).__enter__()


def test_what_was_unpacked_is_not_unpacked_again(tmp_path, monkeypatch):
    path = tmp_path / "bag"
    writer = Writer(path, version=8, storage_plugin=MCAP)
    writer.set_compression(CompressionMode.FILE, CompressionFormat.ZSTD)
    with writer:
        image = writer.add_connection("/image", "sensor_msgs/msg/Image", typestore=typestore())
        for time_ns, data in some_images(tmp_path):
            writer.write(image, time_ns, data)
    with Bag(path) as bag:
        monkeypatch.setattr(reader, "unpacked", None)
        with bag.again() as beside:
            assert numbers(beside) == numbers(bag) == list(range(20))


def test_one_damaged_file_does_not_cost_the_others(tmp_path):
    path = written(tmp_path / "bag", "sqlite3")
    (path / "bag_1.db3").write_bytes(b"nothing of the kind")
    (path / "bag_2.mcap").write_bytes(b"")
    with Bag(path) as bag:
        assert numbers(bag) == list(range(20))
        assert [w.split()[0] for w in bag.warnings] == ["bag_1.db3", "bag_2.mcap"]


def test_a_file_that_metadata_lists_but_nobody_has(tmp_path):
    path = written(tmp_path / "bag")
    metadata = path / "metadata.yaml"
    metadata.write_text(metadata.read_text().replace("- bag.mcap", "- bag.mcap\n  - bag_1.mcap"))
    with Bag(path) as bag:
        assert bag.count == 30
        assert bag.warnings == ["bag_1.mcap is listed in metadata.yaml, but missing"]


def test_the_file_beside_its_compressed_form_counts_once(tmp_path):
    path = written(tmp_path / "bag")
    shutil.copy(path / "bag.mcap", path / "bag.mcap.zstd")  # where rosbag2 unpacks it
    with Bag(path) as bag:
        assert numbers(bag) == list(range(20))


@pytest.mark.parametrize("plugin", [MCAP, SQLITE])
def test_an_unknown_message_type_beside_ours(tmp_path, plugin):
    plain = written(tmp_path / "plain")
    writer = Writer(tmp_path / "bag", version=9, storage_plugin=plugin)
    with writer, Bag(plain) as bag:
        image = writer.add_connection("/image", "sensor_msgs/msg/Image", typestore=typestore())
        wheels = writer.add_connection(
            "/wheels",
            "acme_msgs/msg/Wheels",
            msgdef="acme_msgs/Spokes[] spokes  # of a package that nobody has\n",
            rihs01="RIHS01_" + "0" * 64,
        )
        for raw in bag.messages({"/image"}):
            writer.write(image, raw.time_ns, raw.data)
            writer.write(wheels, raw.time_ns, b"\0\1\0\0" + b"\7" * 8)
    with Bag(tmp_path / "bag") as bag:
        assert numbers(bag) == list(range(20))
        raw = next(bag.messages({"/wheels"}))
        assert raw.data == b"\0\1\0\0" + b"\7" * 8
        with pytest.raises(BagError, match="unknown type acme_msgs/msg/Wheels"):
            bag.deserialise(raw)


@pytest.mark.parametrize("data", [b"", b"\0\1\0\0", b"\0\1\0\0" + b"\xff" * 30])
def test_bytes_that_are_no_message(tmp_path, data):
    with BagWriter(tmp_path / "bag") as writer:
        writer.write_raw("/image", "sensor_msgs/msg/Image", data, 5)
    with Bag(tmp_path / "bag") as bag:
        (raw,) = bag.messages()
        with pytest.raises(BagError, match="/image at 5 ns"):
            bag.deserialise(raw)


def test_what_is_no_bag(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        Bag(tmp_path / "nowhere")
    with pytest.raises(BagError, match=r"no \.mcap or \.db3"):
        Bag(tmp_path)
    (tmp_path / "old.bag").write_bytes(b"#ROSBAG V2.0\n")
    for path in (tmp_path, tmp_path / "old.bag"):
        with pytest.raises(BagError, match="rosbags-convert"):
            Bag(path)
    (tmp_path / "bag.mcap").write_bytes(b"text")
    with pytest.raises(BagError, match=r"bag\.mcap cannot be read"), Bag(tmp_path / "bag.mcap"):
        pass


def test_an_empty_bag(tmp_path):
    with BagWriter(tmp_path / "bag"):
        pass
    with Bag(tmp_path / "bag") as bag:
        assert (bag.start_ns, bag.end_ns, bag.count, list(bag.messages())) == (0, 0, 0, [])


# --- real recordings


def test_the_kitti_recording(shared_data):
    with Bag(shared_data / "kitti_bag") as bag:
        assert {name: topic.count for name, topic in bag.topics.items()} == {
            "/tf_static": 1,
            "/lidar/points": 2,
            "/camera/image_raw": 2,
            "/camera/camera_info": 2,
        }
        sizes = [
            len(conversions.returns(bag.deserialise(raw)))
            for raw in bag.messages({"/lidar/points"})
        ]
        assert sizes == [120_268, 126_891]


def test_the_event_recording(shared_data):
    with Bag(shared_data / "event_packets" / "test_events_1") as bag:
        packets = [bag.deserialise(raw) for raw in bag.messages()]
    assert len(packets) == 517
    assert {(p.encoding, p.width, p.height) for p in packets} == {("evt3", 640, 480)}
