"""The demo from beginning to end: simulate, drive, compare, tell."""

from __future__ import annotations

import dataclasses
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from memorysam_core.checkpoint import read_header
from memorysam_core.report import Group, ReportData, Run, Tile, write_report
from memorysam_core.report.poster import write_poster
from memorysam_core.report.words import milliseconds, percent
from memorysam_ros.bags.account import END_TO_END, Account
from memorysam_ros.demo.pace import Pace
from memorysam_training.demo.account import diagnostics, take_account
from memorysam_training.demo.drive import CAMERA_HZ, CONDITIONS, DemoDrive, simulated

REPORT, PICTURE, LABELS, LOG = "report.html", "demo.png", "labels.mcap", "node.log"
_OURS = {REPORT, PICTURE, LABELS, LOG}
DEAD = "without LiDAR"


@dataclass(frozen=True)
class Told:
    """What the demo leaves behind."""

    report: ReportData
    folder: Path


def tell(
    drive: DemoDrive,
    checkpoint: Path,
    folder: Path,
    cache: Path,
    command: str,
    say: Callable[[str], None],
) -> Told:
    """Runs the demo. ``folder`` appears, or is replaced, when everything is there.

    Raises ValueError where ``folder`` holds anything but an earlier demo.
    """
    header = read_header(checkpoint)
    with replaced(folder) as scratch:
        weather = " to ".join(CONDITIONS)
        say(f"a drive of {drive.seconds:.0f} s, from {weather}, whose LiDAR dies for a while")
        bag, known = simulated(drive, cache, os.cpu_count() or 1)
        say(f"  {'simulated before: ' if known else 'simulated, and kept in '}{bag}")
        say("through the node: sensors over DDS, labels back")
        # Here, since ROS reads its environment when it is first imported.
        from memorysam_ros.demo.live import drive_through

        labels = scratch / LABELS
        pace = drive_through(bag, checkpoint, labels, scratch / LOG, 1 / CAMERA_HZ, say)
        say("compared with the truth")
        contract = header.contract
        account = take_account(bag, labels, contract.label_space, contract.names, pace.rate)
        run = Run.here(command, f"simulated drive of {drive.seconds:.0f} s", checkpoint)
        report = _report(account, drive, labels, run, pace)
        write_report(report, scratch / REPORT)
        write_poster(report, scratch / PICTURE)
    return Told(report, folder)


def table(told: Told) -> str:
    """The figures in a few lines, and where the rest is."""
    tiles = told.report.tiles
    width = max(len(tile.name) for tile in tiles)
    lines = [f"  {t.name:{width}}  {t.value:>9}   {t.detail}" for t in tiles]
    for group in told.report.groups:
        if group.kind == "condition":
            score = percent(group.matrix.scores().miou_present)
            lines.append(f"  {'mIoU, ' + group.name:{width}}  {score + ' %':>9}   {_sets(group)}")
    lines += [f"  {note}" for note in told.report.notes if "x real time" in note]
    lines += ["", f"report   {told.folder / REPORT}", f"picture  {told.folder / PICTURE}"]
    lines.append(f"labels   {told.folder / LABELS}")
    return "\n".join(lines)


@contextmanager
def replaced(folder: Path) -> Iterator[Path]:
    """A hidden folder beside ``folder``, which takes its place at the end or vanishes.

    Raises ValueError where ``folder`` is there and is not an earlier one of ours.
    """
    if folder.exists() and not (folder.is_dir() and {p.name for p in folder.iterdir()} <= _OURS):
        raise ValueError(f"{folder} holds other things than an earlier demo; give another --output")
    folder.parent.mkdir(parents=True, exist_ok=True)
    hidden = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        new = hidden / "new"
        new.mkdir()
        yield new
        if folder.exists():
            folder.rename(hidden / "old")
        new.rename(folder)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def _report(
    account: Account, drive: DemoDrive, recording: Path, run: Run, pace: Pace
) -> ReportData:
    # Just before it lives again, and at the end, before the node notes that all is silent.
    moments = {
        "while the LiDAR was dead": drive.lidar_lives_s - 0.5,
        "at the end": drive.seconds - 0.2,
    }
    entries, facts = diagnostics(recording, moments)
    report = account.collector.report(
        "A drive into the night, and the LiDAR dies",
        run,
        summary=(
            "A simulated drive, sent over DDS to the real node. The sun gives way to rain and "
            f"night, and from {drive.lidar_dies_s:.0f} s to {drive.lidar_lives_s:.0f} s the LiDAR "
            "is dead. The node goes on with what is left."
        ),
        why_absent={
            "lidar": f"dead from {drive.lidar_dies_s:.0f} s to {drive.lidar_lives_s:.0f} s, "
            "as the demo wants it"
        },
        diagnostics=entries,
        sensor_facts=facts,
        notes=(
            "The world is simulated, though another one than any that the weights were trained on: "
            "the figures say nothing about real streets.",
            "Latency is from the camera's stamp to the arrival of the labels in the process that "
            "plays the drive, both ways over DDS, while that process shares the machine.",
            *_about(pace),
        ),
    )
    return _with_tiles(report, account)


def _about(pace: Pace) -> Iterator[str]:
    if pace.rate < 1:
        yield (
            f"A set keeps the node busy for {milliseconds(1e3 * pace.busy_s)} on this machine, so "
            f"the drive was played at {pace.rate:.2f} x real time, lest sets are lost. Latencies "
            "are of the real clock."
        )


def _with_tiles(report: ReportData, account: Account) -> ReportData:
    groups = {group.name: group for group in report.groups}
    tiles = []
    for name, group in (
        ("mIoU, every sensor", groups.get("every sensor")),
        ("mIoU, LiDAR dead", groups.get(DEAD)),
    ):
        if group is None:
            tiles.append(Tile(name, "–", "no such set was labelled"))
        else:
            score = percent(group.matrix.scores().miou_present)
            tiles.append(Tile(name, f"{score} %", _sets(group)))
    runs = report.latencies_ms.get(END_TO_END)
    if runs is not None:
        p50, p95 = np.percentile(runs, (50, 95))
        told = f"95 % within {milliseconds(p95)}"
        tiles.append(Tile("latency, median", milliseconds(p50), told))
    lost = account.sets_in - account.sets_out
    told = f"{lost} passed over for newer ones" if lost else "none was lost"
    tiles.append(Tile("sets in / out", f"{account.sets_in} / {account.sets_out}", told))
    return dataclasses.replace(report, tiles=tuple(tiles))


def _sets(group: Group) -> str:
    classes = group.matrix.scores().to_dict()["classes_present"]
    return f"{group.sets} sets, {classes} classes"
