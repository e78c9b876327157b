"""The `memorysam` command.

A sub-command is a module of one of the packages in `HOMES`: `bag_to_dataset.py` is `memorysam
bag-to-dataset`, the first line of its docstring is its line in `memorysam --help`, and it defines

    add_arguments(parser: argparse.ArgumentParser) -> None
    run(args: argparse.Namespace) -> int         the exit status; None counts as 0

Modules are found by file name and imported only when called, so that no sub-command pays for, or
fails over, what another one needs. One that sets the parser's default `ros_args=[]` receives what
follows `--ros-args` there.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import importlib.metadata
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from memorysam_core import discovery

HOMES = ("memorysam_core.commands", "memorysam_ros.commands", "memorysam_training.commands")
"""The packages whose modules are sub-commands. `memorysam_training` need not be installed."""

TRAINING = {
    "train": "Train a model.",
    "evaluate": "Measure a checkpoint on a data set.",
    "demo": "Simulate a drive, run the real node on it, and report.",
    "simulate": "Drive through a simulated world and record what the sensors see.",
}
"""What `memorysam_training` would add, for machines without it."""

INSTALL = {
    "memorysam_training": "pip install ./training",
    "sam2": "SAM2_BUILD_CUDA=0 pip install --no-deps --no-build-isolation sam2==1.1.0",
    "peft": "pip install '.[lora]'",
    "rclpy": "source a ROS 2 installation, or pip install '.[ros]'",
    "rosbags": "pip install '.[bags]'",
    "av": "pip install '.[viz]'",
    "foxglove": "pip install '.[viz]'",
    "jinja2": "pip install '.[viz]'",
    "matplotlib": "pip install '.[viz]'",
    "onnx": "pip install '.[onnx]'",
    "onnxruntime": "pip install '.[onnx]'",
}
"""What to do, in a checkout of the source, where an optional package is missing."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one sub-command and returns the exit status of the process.

    Errors of the user's making (ValueError, OSError, a missing optional package) become one line
    and status 2, an interrupt by Ctrl-C or SIGTERM status 130; `--debug` lets them through with
    their traceback.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    try:
        with _ending_in_order():
            return _dispatch([word for word in words if word != "--debug"])
    except KeyboardInterrupt:
        if debug:
            raise
        print("memorysam: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError, ModuleNotFoundError) as error:
        if debug:
            raise
        print(f"memorysam: error: {describe(error)}", file=sys.stderr)
        return 2


def commands() -> dict[str, str]:
    """The sub-commands of what is installed: their names and the modules that do the work."""
    return {_command(module): module for home in HOMES for module in discovery.modules(home)}


def describe(error: Exception) -> str:
    """An error as one line that says what to do about it, where that is known."""
    if isinstance(error, ModuleNotFoundError):
        package = (error.name or "").partition(".")[0]
        if package in INSTALL:
            return f"this needs {package}, which is not installed: {INSTALL[package]}"
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.strerror}: {error.filename}"
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def _ending_in_order() -> Iterator[None]:
    """Whoever is told to end by SIGTERM puts its things in order first, as after Ctrl-C."""

    def end(number: int, _: object) -> None:
        # `timeout` sends it twice, and the second must not break off the putting in order.
        signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _dispatch(words: list[str]) -> int:
    parser = _parser()
    if not words:
        parser.print_help()
        return 0
    # Only the options before the sub-command are the outer parser's; the rest is not its business.
    name = parser.parse_args(words[:1]).command
    found = commands()
    if name not in found:
        if name in TRAINING:
            raise ModuleNotFoundError(name, name="memorysam_training")
        raise ValueError(f"there is no sub-command {name!r}; there are {', '.join(found)}")
    module = importlib.import_module(found[name])
    inner = argparse.ArgumentParser(
        prog=f"memorysam {name}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="--debug shows where in the code an error comes from.",
    )
    module.add_arguments(inner)
    words, ros_args = _split_ros_args(words[1:], inner)
    args = inner.parse_args(words)
    if ros_args:
        args.ros_args = ros_args
    return module.run(args) or 0


def _split_ros_args(
    words: list[str], parser: argparse.ArgumentParser
) -> tuple[list[str], list[str]]:
    """The words for `parser`, and those from `--ros-args` on where it has a default for them."""
    if parser.get_default("ros_args") is None or "--ros-args" not in words:
        return words, []
    start = words.index("--ros-args")
    return words[:start], words[start:]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="memorysam",
        description="Semantic segmentation from any set of sensors with MemorySAM.",
        epilog="`memorysam COMMAND --help` says more about each.\n\n" + _overview(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", metavar="COMMAND", help="one of those listed below")
    parser.add_argument("--version", action="version", version=_version())
    return parser


def _overview() -> str:
    lines = {
        _command(module): _summary(source)
        for home in HOMES
        for module, source in discovery.modules(home).items()
    }
    missing = {name: line for name, line in TRAINING.items() if name not in lines}
    width = max(map(len, (*lines, *missing)))
    text = "commands:\n" + "\n".join(f"  {n:{width}}  {line}" for n, line in lines.items())
    if missing:
        text += f"\n\nwith memorysam_training ({INSTALL['memorysam_training']}):\n"
        text += "\n".join(f"  {n:{width}}  {line}" for n, line in missing.items())
    return text


def _command(module: str) -> str:
    return module.rpartition(".")[2].replace("_", "-")


def _summary(source: Path) -> str:
    """The first line of a module's docstring, read from its source without importing it."""
    text = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or ""
    line = re.sub(r"^`+memorysam [a-z-]+`+: *", "", text.partition("\n")[0])
    return line[:1].upper() + line[1:]


def _version() -> str:
    try:
        return f"memorysam {importlib.metadata.version('memorysam_ros')}"
    except importlib.metadata.PackageNotFoundError:  # run from the source tree
        return "memorysam (not installed)"


if __name__ == "__main__":
    sys.exit(main())
