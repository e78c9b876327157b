"""Parameters: declared once, checked, and equal in YAML, documentation and code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from memorysam_ros import parameter_files, parameter_tables
from memorysam_ros.parameters import Parameters, explain_unknown, from_values, table

ROOT = Path(__file__).parents[2]
PARAMETER_FILES = sorted(
    path for path in (ROOT / "config").glob("*.yaml") if "ros__parameters" in path.read_text()
)


def test_the_shipped_file_is_the_declared_table():
    text = (ROOT / "config" / "segment.yaml").read_text()
    assert text == parameter_tables.yaml_text(), (
        "run `python -m memorysam_ros.parameter_tables yaml > config/segment.yaml`"
    )
    values = parameter_files.values_of(ROOT / "config" / "segment.yaml")
    assert list(values) == [row.name for row in table()]
    assert from_values(values) == Parameters()


@pytest.mark.skipif(not (ROOT / "docs/parameters.md").exists(), reason="installed without docs")
def test_the_documented_table_is_the_declared_one():
    text = (ROOT / "docs" / "parameters.md").read_text()
    assert parameter_tables.markdown_table() in text, (
        "paste what `python -m memorysam_ros.parameter_tables markdown` prints"
    )


@pytest.mark.parametrize("path", PARAMETER_FILES, ids=lambda path: path.name)
def test_every_shipped_parameter_file_is_accepted(path):
    values = parameter_files.values_of(path)
    own = {name: v for name, v in values.items() if not parameter_files.allowed_beside(name)}
    assert own
    from_values(own)


def test_every_parameter_has_a_meaning_and_every_length_of_time_a_unit():
    for row in table():
        assert len(row.limits.description) > 15, row.name
        if re.search(r"offset|tolerance|max_age|deadline|timeout|period|after|jump", row.name):
            assert row.limits.unit == "s", row.name
        number = isinstance(row.default, (int, float)) and not isinstance(row.default, bool)
        assert number == (row.limits.minimum is not None), row.name


def test_values_change_only_what_they_name():
    changed = from_values({"lidar.policy": "hold", "matching.deadline": 1})
    assert changed.lidar.policy == "hold"
    assert changed.matching.deadline == 1.0
    assert changed.lidar.tolerance == Parameters().lidar.tolerance
    assert changed.depth == Parameters().depth


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"lidr.offset": 1.0}, r"did you mean lidar\.offset\? Known are checkpoint, device"),
        ({"lidar.offset": "soon"}, r"lidar\.offset is 'soon'; give a double such as 0\.0"),
        ({"lidar.offset": True}, "give a double"),
        ({"matching.queue_depth": 1.5}, "give an? integer such as 16"),
        ({"lidar.policy": "perhaps"}, "accepted are optional, required, hold, unused"),
        ({"lidar.tolerance": -0.1}, r"is -0\.1 s; accepted are 0 to 10 s"),
        ({"lidar.camera_from_lidar": [1.0, 2.0]}, "has 2 numbers; give 7"),
        ({"network_height": 512}, "give both, in multiples of 32, or leave both 0"),
        ({"network_height": 500, "network_width": 512}, "must be multiples of 32"),
        ({"event.policy": "hold"}, "set event.policy to optional or required"),
    ],
)
def test_a_wrong_value_is_refused_in_one_line_that_says_what_to_do(values, says):
    with pytest.raises(ValueError, match=says) as raised:
        from_values(values)
    assert "\n" not in str(raised.value)


def test_an_unknown_name_in_a_file_is_found(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "/**:\n  ros__parameters:\n    use_sim_time: true\n    checkpont: x\n    lidar:\n"
        "      tolerance: 0.1\n    qos_overrides:\n      /a: {subscription: {depth: 1}}\n"
    )
    assert parameter_files.unknown_in(path) == ["checkpont"]
    assert "did you mean checkpoint?" in explain_unknown("checkpont")


def test_a_file_for_several_nodes_gives_what_is_said_to_this_one(tmp_path):
    """As a robot's bring-up has it, and `ros2 param dump`, which writes the label space, too."""
    path = tmp_path / "robot.yaml"
    path.write_text(
        "front:\n  segment_node:\n    ros__parameters:\n      device: cpu\n"
        "      label_space: {name: deliver}\n"
        "/**:\n  ros__parameters: {device: cuda, precision: fp32}\n"
        "/lidar_driver:\n  ros__parameters: {device: /dev/ttyUSB0, frame_id: lidar}\n"
    )
    values = parameter_files.values_of(path)
    assert values == {"device": "cpu", "precision": "fp32", "label_space.name": "deliver"}
    assert parameter_files.unknown_in(path) == []


def test_a_file_for_other_nodes_only_is_refused(tmp_path):
    path = tmp_path / "lidar.yaml"
    path.write_text("/lidar_driver:\n  ros__parameters: {frame_id: lidar}\n")
    with pytest.raises(ValueError, match="parameters of /lidar_driver only; begin those for this"):
        parameter_files.values_of(path)
    assert parameter_files.unknown_in(path) == []  # the node may have been given another name


def test_a_file_without_a_node_is_refused(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("checkpoint: x\n")
    with pytest.raises(ValueError, match="begin it with"):
        parameter_files.values_of(path)
