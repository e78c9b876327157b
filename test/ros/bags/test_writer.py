import numpy as np
import pytest
from rosbags.interfaces import QosDurability
from rosbags.rosbag2 import Reader

from memorysam_core.labels import numbered
from memorysam_ros.bags import Bag, BagWriter
from memorysam_ros.bags import writer as writer_module
from memorysam_ros.bags.types import typestore


def test_the_bag_has_its_name_only_when_it_is_whole(tmp_path):
    path = tmp_path / "out" / "labels"
    with BagWriter(path) as writer:
        writer.write("/header", writer.messages.header(1, "a"), 1)
        assert not path.exists()
        assert list(path.parent.iterdir())
    assert sorted(p.name for p in path.iterdir()) == ["labels.mcap", "metadata.yaml"]
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("suffix", [".mcap", ".db3"])
def test_a_bag_of_one_file(tmp_path, suffix):
    path = tmp_path / f"drive.1{suffix}"
    with BagWriter(path) as writer:
        writer.write("/header", writer.messages.header(1, "a"), 7)
    assert list(tmp_path.iterdir()) == [path]
    with Bag(path) as bag:
        assert [raw.time_ns for raw in bag.messages()] == [7]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_interrupted_bag_leaves_nothing(tmp_path, error):
    def interrupted() -> None:
        with BagWriter(tmp_path / "bag", "sqlite3") as writer:
            writer.write("/header", writer.messages.header(1, "a"), 1)
            raise error

    with pytest.raises(error):
        interrupted()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["drive.mcap", "drive.db3", "drive"])
def test_what_cannot_be_made_again_is_kept_unfinished(tmp_path, name):
    def broken_off(writer: BagWriter, after: int) -> None:
        with writer:
            for number in range(after):
                writer.write("/header", writer.messages.header(number, "a"), number)
            raise OSError("no space")

    for times in range(2):
        writer = BagWriter(tmp_path / name, keep=True)
        with pytest.raises(OSError, match="no space"):
            broken_off(writer, 10)
        unfinished = ("drive.unfinished", "drive.unfinished1")[times]
        assert writer.kept == tmp_path / name.replace("drive", unfinished)
        with Bag(writer.kept) as bag:
            assert [raw.time_ns for raw in bag.messages()] == list(range(10))
    assert len(list(tmp_path.iterdir())) == 2
    empty = BagWriter(tmp_path / name, keep=True)
    with pytest.raises(OSError, match="no space"):
        broken_off(empty, 0)
    assert empty.kept is None and len(list(tmp_path.iterdir())) == 2


def test_an_interrupt_while_it_is_begun_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(writer_module, "Writer", interrupted)
    with pytest.raises(KeyboardInterrupt):
        BagWriter(tmp_path / "bag").__enter__()
    assert not list(tmp_path.iterdir())


def test_an_existing_bag_is_kept(tmp_path):
    (tmp_path / "bag").mkdir()
    with pytest.raises(FileExistsError, match="remove it"):
        BagWriter(tmp_path / "bag")


def test_storage_and_compression_that_do_not_exist(tmp_path):
    with pytest.raises(ValueError, match="mcap and sqlite3"):
        BagWriter(tmp_path / "bag", "db4")
    with pytest.raises(ValueError, match="choose mcap"):
        BagWriter(tmp_path / "bag", "sqlite3", compress=True)


def test_latched_topics_are_transient_local(tmp_path):
    with BagWriter(tmp_path / "bag") as writer:
        outputs = writer.messages
        info = outputs.label_info(outputs.header(0, "camera"), numbered(2))
        writer.write("/label_info", info, 0, latched=True)
        writer.write("/header", outputs.header(0, ""), 0)
    with Reader(tmp_path / "bag") as reader:
        durability = {c.topic: c.ext.offered_qos_profiles[0].durability for c in reader.connections}
    assert durability["/label_info"] == QosDurability.TRANSIENT_LOCAL
    assert durability["/header"] == QosDurability.VOLATILE


def test_label_info_comes_back(tmp_path):
    with BagWriter(tmp_path / "bag") as writer:
        info = writer.messages.label_info(writer.messages.header(0, "camera"), numbered(3))
        writer.write("/label_info", info, 0)
    with Bag(tmp_path / "bag") as bag:
        (raw,) = bag.messages()
        read = bag.deserialise(raw)
    assert [(c.class_id, c.class_name) for c in read.class_map] == [
        (0, "class_0"),
        (1, "class_1"),
        (2, "class_2"),
    ]


def test_hashes_are_those_of_the_distributions():
    # As `ros2 topic info -v` of Jazzy prints them, here from the recordings of others.
    hashes = {
        "sensor_msgs/msg/Image": "d31d41a9a4c4bc8eae9be757b0beed306564f7526c88ea6a4588fb9582527d47",
        "event_camera_msgs/msg/EventPacket": (
            "d6fa176260b1f37e5a40845305315e150a0f18191241eb64f407442aa29844aa"
        ),
    }
    for name, digest in hashes.items():
        assert typestore().hash_rihs01(name) == f"RIHS01_{digest}"


def test_a_topic_has_one_type(tmp_path):
    with BagWriter(tmp_path / "bag") as writer:
        writer.write("/a", writer.messages.header(0, ""), 0)
        image = writer.messages.rgb(writer.messages.header(0, ""), np.zeros((1, 1, 3), np.uint8))
        with pytest.raises(ValueError, match="holds std_msgs/msg/Header"):
            writer.write("/a", image, 1)
        with pytest.raises(ValueError, match="definition is not known"):
            writer.write_raw("/b", "acme_msgs/msg/Wheels", b"", 0)
        assert writer.counts == {"/a": 1}
