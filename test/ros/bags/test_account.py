"""What a node's labels are counted as, beside the images of the bag that is played."""

import numpy as np
import pytest

from memorysam_core.labels import numbered
from memorysam_core.report import Run
from memorysam_ros.bags import Bag, BagWriter
from memorysam_ros.bags.account import Accountant
from memorysam_ros.bags.account_report import report_of, text, values_of
from memorysam_ros.bags.truth import Truth

from .conftest import MAKE

MS = 1_000_000
SPACE = numbered(3)


@pytest.fixture
def bag(tmp_path):
    """Twenty images with their truth, and then the camera is silent."""
    with BagWriter(tmp_path / "drive.mcap") as writer:
        outputs = writer.messages
        for number in range(20):
            stamp = (1000 + 100 * number) * MS
            header = outputs.header(stamp, "camera")
            writer.write("/image", outputs.rgb(header, np.zeros((4, 6, 3), np.uint8)), stamp)
            writer.write("/truth", mono(outputs, header), stamp)
    return tmp_path / "drive.mcap"


def mono(outputs, header):
    ids = np.zeros((4, 6), np.uint8)
    return MAKE(
        "sensor_msgs/msg/Image", header=header, height=4, width=6, encoding="mono8",
        is_bigendian=0, step=6, data=ids.reshape(-1),
    )  # fmt: skip


@pytest.mark.parametrize("lost", [0, 5])
def test_labels_of_a_stand_in_are_not_counted_as_images(bag, lost):
    with Bag(bag) as opened, Truth(bag, "/truth") as truth, BagWriter(bag.parent / "x") as other:
        accountant = Accountant(opened, truth, "/image", SPACE, ("image", "depth"), 0)
        for number in range(40):  # of the last twenty there is no image
            if number >= lost:
                header = other.messages.header((1000 + 100 * number) * MS, "camera")
                accountant.hear_labels(mono(other.messages, header), None)
        account = accountant.finish()
    assert (account.sets_in, account.sets_out, account.stood_in) == (20, 20 - lost, 20)
    run = Run.here("memorysam score", "drive.mcap")
    report = report_of(account, "drive", run, 1.0, (), {}, ())
    (tile,) = (t for t in report.tiles if t.name == "sets in / out")
    assert tile.value == f"20 / {20 - lost}"
    assert tile.detail == ("5 passed over for newer ones" if lost else "none was lost")
    assert any("20 more label images" in note for note in report.notes)


@pytest.mark.parametrize("heard_ms", [None, 1250])
def test_where_no_clock_was_heard_that_is_told(bag, heard_ms):
    with Bag(bag) as opened, Truth(bag, "/truth") as truth, BagWriter(bag.parent / "x") as other:
        accountant = Accountant(opened, truth, "/image", SPACE, ("image",), 0)
        labels = mono(other.messages, other.messages.header(1000 * MS, "camera"))
        accountant.hear_labels(labels, heard_ms and heard_ms * MS)
        account = accountant.finish()
    report = report_of(account, "drive", Run.here("score", "drive.mcap"), 1.0, (), {}, ())
    told = text(values_of(account, report))
    for lines in (report.notes, told.splitlines()):
        assert any("nothing was heard on /clock" in line for line in lines) == (heard_ms is None)
    assert ("camera to labels: 250 ms" in told) == (heard_ms is not None)


def test_labels_without_stamps_are_counted(bag):
    with Bag(bag) as opened, Truth(bag, "/truth") as truth, BagWriter(bag.parent / "x") as other:
        accountant = Accountant(opened, truth, "/image", SPACE, ("image",), 0)
        for _ in range(3):
            header = other.messages.header(0, "camera")
            accountant.hear_labels(mono(other.messages, header), None)
        account = accountant.finish()
    assert (accountant.unstamped, account.sets_out, account.stood_in) == (3, 0, 0)
