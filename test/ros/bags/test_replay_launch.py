"""launch/replay.launch.py, run under a stand-in of the launch system."""

import argparse
import types
from pathlib import Path

import pytest
from launch_standin import load_launch_file

from memorysam_ros.commands import score

EXECUTABLES = Path(__file__).resolve().parents[3] / "resource" / "executables"
ELSEWHERE = {"checkpoint": "m.safetensors", "namespace": "", "image": "~/input/image"}
"""Arguments that segment.launch.py declares."""


@pytest.fixture
def launch_file(monkeypatch, repository):
    return load_launch_file(repository / "launch" / "replay.launch.py", monkeypatch)


def context(launch_file, **given: str) -> dict[str, str]:
    defaults = {a.args[0]: a.options.get("default_value", "") for a in launch_file.arguments()}
    return {**defaults, **ELSEWHERE, "bag": "drive", **given}


def handlers(actions) -> dict:
    """What is done, by the action whose end is waited for."""
    found = [a.args[0].options for a in actions if type(a).__name__ == "RegisterEventHandler"]
    return {options.get("target_action"): options["on_exit"] for options in found}


def exited(status: int, name: str = "memorysam-2") -> types.SimpleNamespace:
    return types.SimpleNamespace(returncode=status, process_name=name)


def test_the_bag_is_played_with_its_clock_when_the_node_is_active(launch_file):
    given = context(launch_file, rate="0.5", start="3", loop="true", namespace="robot")
    actions = launch_file.player(given)
    (ready,) = (a for a in actions if type(a).__name__ == "Node")
    assert not [a for a in actions if type(a).__name__ == "ExecuteProcess"]  # not at once
    assert ready.options["arguments"] == ["ready", "/robot/segment_node"]
    assert ready.options["executable"] in {p.name for p in EXECUTABLES.iterdir()}
    play = handlers(actions)[ready](exited(0), given)
    words = play.options["cmd"]
    assert words[:4] == ["ros2", "bag", "play", "drive"]
    options = dict(zip(words[4:-1:2], words[5::2], strict=False))
    assert (options["--rate"], options["--start-offset"]) == ("0.5", "3")
    assert "--loop" in words and "--clock" in words
    assert launch_file.OVERRIDES.is_file()


def test_all_ends_with_the_bag_and_with_the_node(launch_file):
    given = context(launch_file)
    found = handlers(launch_file.player(given))
    ready, play, _ = found
    (timer,) = found[play]
    assert type(timer.options["actions"][0]).__name__ == "EmitEvent"
    assert found[ready](exited(0), given) is play
    gone = found[ready](exited(2), given)
    assert type(gone).__name__ == "EmitEvent"
    assert gone.options["event"].options["reason"] == "segment_node did not become active"
    assert found[None](exited(0), given) is None
    over = found[None](exited(1, "segment_node-1"), given)
    assert over.options["event"].options["reason"] == "segment_node ended"


def test_truth_starts_the_evaluator_with_words_that_it_understands(launch_file):
    assert launch_file.evaluator(context(launch_file)) == []
    (node,) = launch_file.evaluator(
        context(
            launch_file, truth="/truth", namespace="/robot/", image="/front/image_raw",
            rate="0.5", start="3", scores="out",
        )
    )  # fmt: skip
    command, *words = node.options["arguments"]
    assert (node.options["executable"], command) == ("memorysam", "score")
    parser = argparse.ArgumentParser(exit_on_error=False)
    score.add_arguments(parser)
    told = parser.parse_args(words)
    assert (told.checkpoint, told.bag, told.labels) == ("m.safetensors", "drive", "/truth")
    assert (told.node, told.image, told.output) == (
        "/robot/segment_node",
        "/front/image_raw",
        "out",
    )
    assert (told.rate, told.start) == (0.5, 3.0)
    assert node.options["parameters"] == [{"use_sim_time": True}]


@pytest.mark.parametrize("given", [{"checkpoint": ""}, {"loop": "true"}])
def test_what_cannot_be_evaluated_is_refused(launch_file, given):
    with pytest.raises(ValueError, match="truth needs checkpoint:=FILE, and loop:=false"):
        launch_file.evaluator(context(launch_file, truth="/truth", **given))
