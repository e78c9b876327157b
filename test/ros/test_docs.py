"""The tables in README.md and docs/node.md name the topics and parameters that there are."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator

import pytest
import rclpy
from rclpy.context import Context
from rclpy.parameter import Parameter

from memorysam_ros.parameters import FROM_TF, table
from memorysam_ros.result import TOPICS

INPUTS = {
    "~/input/image": ["sensor_msgs/Image"],
    "~/input/camera_info": ["sensor_msgs/CameraInfo"],
    "~/input/depth": ["sensor_msgs/Image"],
    "~/input/depth_camera_info": ["sensor_msgs/CameraInfo"],
    "~/input/events": ["event_camera_msgs/EventPacket", "sensor_msgs/Image"],
    "~/input/points": ["sensor_msgs/PointCloud2"],
}
OUTPUTS = {f"~/{topic}" for topic in TOPICS} | {"~/output/label_info", "/diagnostics"}


def rows(text: str, head: str) -> Iterator[list[str]]:
    """The cells of the table whose first line begins so."""
    lines = text.split("\n")
    first = next(number for number, line in enumerate(lines) if line.startswith(head))
    for line in lines[first + 2 :]:
        if not line.startswith("|"):
            return
        yield [cell.strip() for cell in line.strip("|").split("|")]


def named(cell: str) -> list[str]:
    """The names in a cell; of some that share a beginning, it is only there in the first."""
    names, prefix = [], ""
    for name in re.findall(r"`([^`]+)`", cell):
        prefix = name.rpartition("/")[0] + "/" if "/" in name else prefix
        names.append(name if "/" in name else prefix + name)
    return names


@pytest.fixture
def page(repository):
    def read(name: str) -> str:
        path = repository / name
        if not path.is_file():
            pytest.skip("installed without docs")
        return path.read_text(encoding="utf-8")

    return read


def test_the_inputs_are_those_that_the_node_subscribes_to():
    from fake_model import load_fake

    from memorysam_ros.segment_node import SegmentNode

    context = Context()
    rclpy.init(context=context)
    overrides = [Parameter("event.source", value="image"), Parameter("checkpoint", value="fake")]
    node = SegmentNode(load_fake, context=context, parameter_overrides=overrides)
    try:
        assert node.start()
        heard = {
            s.topic_name.replace("/segment_node", "~"): (
                f"{s.msg_type.__module__.partition('.')[0]}/{s.msg_type.__name__}"
            )
            for s in node.subscriptions
            if "/input/" in s.topic_name
        }
        assert heard == {topic: kinds[-1] for topic, kinds in INPUTS.items()}
    finally:
        node.destroy_node()
        rclpy.shutdown(context=context)


def test_the_page_of_the_node_names_every_topic_with_its_type(page):
    text = page("docs/node.md")
    told = {named(cells[0])[0]: re.findall(r"`([^`]+)`", cells[1])
            for cells in rows(text, "| input |")}  # fmt: skip
    assert told == INPUTS
    outputs = [name for cells in rows(text, "| output |") for name in named(cells[0])]
    assert sorted(outputs) == sorted(OUTPUTS)


def test_the_readme_names_topics_that_there_are(page):
    cells = list(rows(page("README.md"), "| input (best effort)"))
    inputs = [name for row in cells for name in named(row[0])]
    assert sorted(inputs) == sorted(INPUTS)
    outputs = [name for row in cells for cell in row[2:] for name in named(cell) if "/" in name]
    patterns = [name for name in outputs if name.startswith(("~", "/"))]
    assert all(fnmatch.filter(OUTPUTS, pattern) for pattern in patterns), patterns
    assert len(patterns) >= 9


def told_default(value) -> str:
    if value == FROM_TF:
        return "from TF"
    return f"{value:g} s" if isinstance(value, float) else str(value)


def test_the_readme_gives_the_defaults_of_parameters_that_there_are(page):
    defaults = {row.name: row.default for row in table()}
    found = list(rows(page("README.md"), "| parameter | default |"))
    assert len(found) >= 7
    for names, default, _ in found:
        known = re.findall(r"`([^`]+)`", names)
        told = default.replace("`", "").split(", ")
        told = told * len(known) if len(told) == 1 else told
        for name, one in zip(known, told, strict=True):
            assert name in defaults, name
            wanted = told_default(defaults[name])
            if name.startswith("network_"):
                assert (one, wanted) == ("as trained", "0")
            else:
                assert one == wanted, name


def test_what_the_diagnostics_are_said_to_say_stands_in_the_code(page, repository):
    """Each quotation, but for letters and figures that stand for what differs from case to case."""
    code = "".join(
        re.sub(r'"\s*\n\s*f?"', "", path.read_text(encoding="utf-8"))  # texts over several lines
        for package in ("memorysam_core", "memorysam_ros")
        for path in (repository / package).rglob("*.py")
    )
    for says, _ in rows(page("docs/node.md"), "| says | do |"):
        for saying in re.findall(r"`([^`]+)`", says):
            parts = re.split(r"\b(?:[kmnabsxAB]|image|lidar)\b|[A-Z]{2,}|[^a-zA-Z_' ]+", saying)
            phrases = [part.strip(" '") for part in parts if len(part.strip(" '")) > 5]
            assert phrases, saying
            for phrase in phrases:
                assert phrase in code, (saying, phrase)
