"""The `memorysam` command: how errors, options and ROS arguments reach the user and the command."""

import argparse
import os
import signal
import sys
import time
import types

import pytest

from memorysam_core import cli


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A sub-command `probe` that raises what `module.error` says, or records its arguments."""
    module = types.ModuleType("memorysam_probe")
    module.__doc__ = "Probe things."
    module.error = None
    module.seen = []

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--number", type=int, default=1)

    def run(args: argparse.Namespace) -> int:
        module.seen.append(args)
        if module.error is not None:
            raise module.error
        return args.number

    module.add_arguments, module.run = add_arguments, run
    monkeypatch.setitem(sys.modules, "memorysam_probe", module)
    monkeypatch.setattr(cli, "commands", lambda: {"probe": "memorysam_probe"})
    return module


def test_exit_status_is_the_commands(command: types.ModuleType) -> None:
    assert cli.main(["probe", "--number", "7"]) == 7


NEEDS_RCLPY = f"this needs rclpy, which is not installed: {cli.INSTALL['rclpy']}"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("size 3\n  is odd"), "size 3 is odd"),
        (FileNotFoundError(2, "No such file", "a.pth"), "No such file: a.pth"),
        (ModuleNotFoundError("No module named 'rclpy'", name="rclpy"), NEEDS_RCLPY),
        (ModuleNotFoundError("No module named 'odd'", name="odd"), "No module named 'odd'"),
    ],
)
def test_errors_are_one_line_and_status_2(
    command: types.ModuleType,
    capsys: pytest.CaptureFixture,
    error: Exception,
    line: str,
) -> None:
    command.error = error
    assert cli.main(["probe"]) == 2
    assert capsys.readouterr().err == f"memorysam: error: {line}\n"


@pytest.mark.parametrize("words", [["--debug", "probe"], ["probe", "--debug"]])
def test_debug_lets_errors_through(command: types.ModuleType, words: list[str]) -> None:
    command.error = ValueError("odd")
    with pytest.raises(ValueError, match="odd"):
        cli.main(words)


def test_errors_of_ours_keep_their_traceback(command: types.ModuleType) -> None:
    command.error = KeyError("a slip in the code")
    with pytest.raises(KeyError):
        cli.main(["probe"])


def test_interrupt_is_130(command: types.ModuleType, capsys: pytest.CaptureFixture) -> None:
    command.error = KeyboardInterrupt()
    assert cli.main(["probe"]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_sigterm_ends_a_command_in_order_however_often_it_comes(
    command: types.ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    tidied = []

    def run(_: argparse.Namespace) -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            tidied.append(True)

    monkeypatch.setattr(command, "run", run)
    before = signal.getsignal(signal.SIGTERM)
    assert cli.main(["probe"]) == 130
    assert tidied == [True]
    assert signal.getsignal(signal.SIGTERM) is before


def test_ros_arguments_reach_only_commands_that_take_them(
    command: types.ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    words = ["probe", "--number", "0", "--ros-args", "-r", "~/input/image:=/front", "--number", "3"]
    with pytest.raises(SystemExit):
        cli.main(words)
    assert "--ros-args" in capsys.readouterr().err

    plain = command.add_arguments

    def with_ros(parser: argparse.ArgumentParser) -> None:
        plain(parser)
        parser.set_defaults(ros_args=[])

    monkeypatch.setattr(command, "add_arguments", with_ros)
    assert cli.main(words) == 0
    assert command.seen[-1].ros_args == words[3:]
    assert cli.main(["probe"]) == 1
    assert command.seen[-1].ros_args == []


def test_unknown_command_lists_the_known(
    command: types.ModuleType, capsys: pytest.CaptureFixture
) -> None:
    assert cli.main(["prob"]) == 2
    assert "'prob'" in (line := capsys.readouterr().err)
    assert "probe" in line


def test_no_command_shows_all_of_them(capsys: pytest.CaptureFixture) -> None:
    assert cli.main([]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in (*cli.commands(), *cli.TRAINING))
