"""The command line: what it refuses, what it leaves behind, and the sheet."""

import argparse
import math
import multiprocessing
import os
import signal
import time

import numpy as np
import pytest
from PIL import Image

from memorysam_training.commands import simulate
from memorysam_training.simulation import dataset, parallel, preview, statistics
from memorysam_training.simulation.parallel import ordered, whole


def parsed(*words):
    parser = argparse.ArgumentParser(exit_on_error=False)
    simulate.add_arguments(parser)
    return parser.parse_args(words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--conditions", "snow"], "known are cloud, fog, night, rain, sun"),
        (["--size", "640"], "write 640x384"),
        (["--rate", "radar=3"], "known are camera, depth, events, lidar"),
        (["--rate", "lidar=fast"], "write lidar=15"),
        (["--fail", "wheel@1-2"], "the dead sensors camera"),
        (["--rings", "3"], "invalid choice"),
    ],
)
def test_wrong_values_say_what_is_accepted(words, message):
    with pytest.raises(argparse.ArgumentError, match=message):
        parsed("out", *words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give a bag or folder to write"),
        (["out", "--seconds", "0"], "give 0.2 to 3600"),
        (["out", "--size", "8x8"], "at least 32x32"),
        (["out", "--size", "2560x1440"], "at most 2048 each way; give --event-size"),
        (["out", "--seed", "-1"], "whole number from 0"),
        (["out", "--jobs", "0"], "at least 1"),
        (["out", "--dataset", "--fail", "lidar@1-2"], "--fail is for bags"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_written(
    words, message, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        simulate.run(parsed(*words))
    assert not list(tmp_path.iterdir())


def test_an_existing_target_is_never_overwritten(tmp_path):
    (tmp_path / "worlds").mkdir()
    with pytest.raises(ValueError, match="exists already"):
        simulate.run(parsed(str(tmp_path / "worlds"), "--dataset"))


def test_an_interrupt_leaves_nothing_half_written(tmp_path, monkeypatch):
    def interrupted(sequence):
        (sequence.root / "img").mkdir(parents=True)
        raise KeyboardInterrupt

    monkeypatch.setattr(dataset, "write_sequence", interrupted)
    words = [str(tmp_path / "worlds"), "--dataset", "--frames", "10", "--jobs", "1"]
    with pytest.raises(KeyboardInterrupt):
        simulate.run(parsed(*words))
    assert not list(tmp_path.iterdir())


def test_a_killed_process_is_an_error_and_not_waited_for():
    with pytest.raises(OSError, match="killed, perhaps for want of memory; use fewer"):
        list(ordered(os._exit, [1, 2, 3], 2))
    assert not multiprocessing.active_children()


def test_results_come_in_order_and_an_early_end_ends_the_processes():
    assert list(ordered(math.sqrt, [16.0, 4.0, 1.0], 2)) == [4.0, 2.0, 1.0]
    results = ordered(time.sleep, [0.0, 60.0, 60.0], 2)
    next(results)
    results.close()
    assert not multiprocessing.active_children()


def test_a_target_appears_only_when_it_is_whole(tmp_path):
    with whole(tmp_path / "sheet.png") as unfinished:
        unfinished.write_text("half")
        assert not (tmp_path / "sheet.png").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["sheet.png"]


def test_rates_sizes_and_rings_reach_the_rig():
    words = ["--size", "320x192", "--depth-size", "64x48", "--rate", "15", "--rate", "lidar=5"]
    rig = simulate._rig(parsed("out", *words, "--rings", "32"))
    assert rig.image_size == rig.event_size == (320, 192)
    assert rig.depth_size == (64, 48)
    assert (rig.timing["camera"].rate_hz, rig.timing["lidar"].rate_hz) == (15, 5)
    assert rig.rings == 32


def test_the_sheet_shows_every_condition_and_failure(tmp_path, rig):
    preview.write_sheet(tmp_path / "sheet.png", 1, ("cloud", "night"), rig, 1)
    sheet = np.array(Image.open(tmp_path / "sheet.png"))
    rows = 3
    assert sheet.shape[1] == preview.GAP + 5 * (preview.CELL_W + preview.GAP)
    assert sheet.shape[0] > rows * preview.CELL_W * 64 / 96
    assert sheet.std() > 30


def test_statistics_stand_beside_the_published_ones(rig):
    report = statistics.report(4, 0, ("cloud",), rig, 1)
    assert "| Road |" in report
    assert "| `event` |" in report
    assert "17.67, 0.00, 16.79" in report
    shares = [float(line.split("|")[2]) for line in report.splitlines()[2:27]]
    assert sum(shares) == pytest.approx(100, abs=0.2)


def test_ctrl_c_while_processes_start_waits_until_they_have(monkeypatch):
    started = []

    def interrupted(pool, *work, start=parallel.ProcessPoolExecutor.map):
        signal.raise_signal(signal.SIGINT)
        started.append(start(pool, *work))
        return started[0]

    monkeypatch.setattr(parallel.ProcessPoolExecutor, "map", interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # it may be ignored
    try:
        with pytest.raises(KeyboardInterrupt):
            list(ordered(abs, [-1, -2], 2))
    finally:
        signal.signal(signal.SIGINT, before)
    assert started
