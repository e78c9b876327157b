"""A replay's bag holds what the live node would have said of itself."""

import json

import pytest

from memorysam_core.cli import main
from memorysam_ros.bags import Bag
from memorysam_ros.bags.dropping import TAKEN_AWAY

from .conftest import START_NS
from .test_replay_command import COMMAND


def told(path) -> dict[float, dict[str, object]]:
    """Statuses by seconds since the start, and by name."""
    with Bag(path / "bag") as bag:
        arrays = [(r.time_ns, bag.deserialise(r)) for r in bag.messages({"/diagnostics"})]
    return {
        (time_ns - START_NS) / 1e9: {s.name.removeprefix("segment_node: "): s for s in array.status}
        for time_ns, array in arrays
    }


def values(status) -> dict[str, str]:
    return {pair.key: pair.value for pair in status.values}


def test_diagnostics_by_the_bag_s_clock(drive, checkpoint, tmp_path):
    words = ["--drop", "lidar@1.5-", "-o", str(tmp_path / "out")]
    assert main(["replay", checkpoint, str(drive), *COMMAND, *words]) == 0
    said = told(tmp_path / "out")
    assert list(said) == pytest.approx([1.0, 2.0], abs=0.1)
    first, last = said.values()
    whole = [first["segmentation"], last["segmentation"]]
    assert [s.level for s in whole] == [0, 1]
    assert whole[0].message == "running on 4 of 4 sensors"
    assert "lidar" in whole[1].message
    assert first["sensor image"].message == "10.0 Hz"
    assert values(first["sensor depth"])["latency (ms)"] == "12.0"
    assert values(last["sensor lidar"])["last missing"] == TAKEN_AWAY
    assert values(whole[1])["checkpoint"].startswith(checkpoint)
    lines = (tmp_path / "out" / "sets.jsonl").read_text().splitlines()
    took_ms = [json.loads(line)["ms"]["model"] for line in lines]
    model = values(last["latency"])["model p50/p95/max (ms)"]
    assert min(took_ms) - 0.1 <= float(model.split("/")[0]) <= max(took_ms) + 0.1
    assert "camera to labels p50/p95/max (ms)" in values(last["latency"])


def test_sets_that_are_left_out_on_purpose_are_no_trouble(drive, checkpoint, tmp_path):
    words = ["--every", "9", "-o", str(tmp_path / "out")]
    assert main(["replay", checkpoint, str(drive), *COMMAND, *words]) == 0
    assert told(tmp_path / "out") == {}
