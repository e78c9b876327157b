"""Drive through a simulated world and record what the sensors see."""

from __future__ import annotations

import argparse
import dataclasses
import os
from pathlib import Path

from memorysam_training.simulation.conditions import FAILURES, SENSORS, WEATHERS, Fault, Schedule
from memorysam_training.simulation.rig import Rig

EPILOG = """\
examples:
  memorysam simulate drive.mcap --seconds 20 --conditions night --fail lidar@8-12
  memorysam simulate drive --conditions cloud,fog --rate camera=15 --rate depth=30
  memorysam simulate worlds --dataset --frames 2000 --size 448x256 --seed 1
  memorysam simulate --preview sheet.png
  memorysam simulate --statistics
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    parser.epilog, parser.formatter_class = EPILOG, argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "out",
        nargs="?",
        type=Path,
        help="bag to write: FILE.mcap, FILE.db3 or a folder; with --dataset, the data set's folder",
    )
    parser.add_argument("--dataset", action="store_true", help="write images in DELIVER's layout")
    parser.add_argument(
        "--preview",
        type=Path,
        metavar="SHEET.png",
        help="write a contact sheet of sensors, moments and conditions",
    )
    parser.add_argument(
        "--statistics",
        action="store_true",
        help="print class shares and channel statistics beside DELIVER's",
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="length of the bag (20)")
    parser.add_argument(
        "--frames",
        type=int,
        help="sets of frames of the data set (500), or of the statistics (100)",
    )
    parser.add_argument(
        "--conditions",
        type=_names,
        metavar="A[,B]",
        help="of "
        f"{', '.join(WEATHERS)}; in a bag each turns into the next (sun), in a "
        "data set they take turns (all)",
    )
    parser.add_argument(
        "--fail",
        type=_fault,
        action="append",
        default=[],
        metavar="WHAT[@FROM-TO]",
        help="in a bag: one of "
        f"{', '.join(FAILURES)}, or a sensor that dies ({', '.join(SENSORS)}); "
        "seconds from the start; may be given again",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the world and all chance (0)")
    parser.add_argument(
        "--size",
        type=_size,
        metavar="WxH",
        help="of the camera (640x384); depth and events follow unless given",
    )
    parser.add_argument("--depth-size", type=_size, metavar="WxH", help="of the depth camera")
    parser.add_argument("--event-size", type=_size, metavar="WxH", help="of the event camera")
    parser.add_argument("--rings", type=int, choices=(32, 64), help="of the LiDAR (64)")
    parser.add_argument(
        "--rate",
        type=_rate,
        action="append",
        default=[],
        metavar="[SENSOR=]HZ",
        help=f"of one sensor ({', '.join(SENSORS)}), camera if none is named",
    )
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="processes (one per core)"
    )


def run(args: argparse.Namespace) -> int:
    """Does what the command line asks."""
    rig = _rig(args)
    if args.jobs < 1:
        raise ValueError(f"--jobs is {args.jobs}; give at least 1")
    if args.seed < 0:
        raise ValueError(f"--seed is {args.seed}; give a whole number from 0")
    conditions = args.conditions
    if args.preview:
        from memorysam_training.simulation.preview import write_sheet

        write_sheet(args.preview, args.seed, conditions or tuple(WEATHERS), rig, args.jobs)
        print(args.preview)
    if args.statistics:
        from memorysam_training.simulation.statistics import report

        frames = args.frames or 100
        print(report(frames, args.seed, conditions or tuple(WEATHERS), rig, args.jobs))
    if args.out is None:
        if not (args.preview or args.statistics):
            raise ValueError("give a bag or folder to write, --preview or --statistics")
        return 0
    from memorysam_training.simulation.parallel import whole

    if args.dataset:
        with whole(args.out) as unfinished:
            _dataset(args, unfinished, rig)
    else:
        _bag(args, rig)
    print(args.out)
    return 0


def _dataset(args: argparse.Namespace, folder: Path, rig: Rig) -> None:
    from memorysam_training.simulation.dataset import export

    if args.fail:
        raise ValueError("--fail is for bags; a data set draws its failures by the seed")
    frames = 500 if args.frames is None else args.frames
    export(folder, frames, args.seed, args.conditions or tuple(WEATHERS), rig, args.jobs)


def _bag(args: argparse.Namespace, rig: Rig) -> None:
    from memorysam_training.simulation import evt3
    from memorysam_training.simulation.bag import record

    if not 0.2 <= args.seconds <= 3600:
        raise ValueError(f"--seconds is {args.seconds:g}; give 0.2 to 3600")
    if max(rig.event_size) > evt3.MOST_PIXELS:
        raise ValueError(
            f"the event camera has {rig.event_size[0]} x {rig.event_size[1]} pixels, and its "
            f"packets (EVT3) at most {evt3.MOST_PIXELS} each way; give --event-size"
        )
    conditions = args.conditions or ("sun",)
    record(args.out, args.seed, args.seconds, conditions, tuple(args.fail), rig, args.jobs)


def _rig(args: argparse.Namespace) -> Rig:
    rig = Rig()
    if args.size:
        rig = rig.replace(image_size=args.size, depth_size=args.size, event_size=args.size)
    given = {"depth_size": args.depth_size, "event_size": args.event_size, "rings": args.rings}
    rig = rig.replace(**{name: value for name, value in given.items() if value})
    timing = dict(rig.timing)
    for sensor, rate in args.rate:
        timing[sensor] = dataclasses.replace(timing[sensor], rate_hz=rate)
    return rig.replace(timing=timing)


def _names(text: str) -> tuple[str, ...]:
    try:
        return Schedule(tuple(text.split(",")), 1.0).names
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _fault(text: str) -> Fault:
    try:
        return Fault.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _size(text: str) -> tuple[int, int]:
    try:
        width, height = (int(v) for v in text.lower().split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"cannot read the size {text!r}; write 640x384 (width x height)"
        ) from None
    return width, height


def _rate(text: str) -> tuple[str, float]:
    sensor, _, number = text.rpartition("=")
    sensor = sensor or "camera"
    if sensor not in SENSORS:
        raise argparse.ArgumentTypeError(f"no sensor {sensor!r}; known are {', '.join(SENSORS)}")
    try:
        rate = float(number)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"cannot read the rate {text!r}; write {sensor}=15"
        ) from None
    if not 0.1 <= rate <= 100:
        raise argparse.ArgumentTypeError(f"a rate of {rate:g} Hz; give 0.1 to 100")
    return sensor, rate
