"""Turn a bag into a data set in DELIVER's layout, to train on or to evaluate with.

The frames are those that the live node would have shown the model; sets that lack a sensor, or
ground truth if --labels is given, are left out. Several bags may go into one data set.

    memorysam bag-to-dataset drive.mcap DATASET --labels /ground_truth/labels --split val
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    from memorysam_ros.bags.deliver_layout import SPLITS
    from memorysam_ros.bags.selecting import add_selection

    parser.add_argument("bag", help="folder or file of a rosbag2, sqlite3 or mcap")
    parser.add_argument("dataset", help="folder of the data set; it may exist")
    parser.add_argument("--split", choices=SPLITS, default="train", help="where to put it (train)")
    parser.add_argument("--sequence", metavar="NAME", help="the sequence's name (the bag's)")
    parser.add_argument(
        "--condition", metavar="NAME", help="such as night (what the bag says beside its --labels)"
    )
    parser.add_argument(
        "--depth", choices=("log_depth", "hha"), default="log_depth", help="how depth is drawn"
    )
    parser.add_argument("--size", metavar="WxH", help="of the frames (the camera's)")
    add_selection(parser)


def run(args: argparse.Namespace) -> int:
    """Writes the data set."""
    from memorysam_core.commands.convert import parse_size
    from memorysam_core.contract import InputContract, deliver_modalities
    from memorysam_core.labels import DELIVER
    from memorysam_ros.bags import Bag, BagError
    from memorysam_ros.bags.dataset_export import Drawing, Export, camera_size
    from memorysam_ros.bags.replay import Replay
    from memorysam_ros.bags.selecting import inputs, parameters, selection
    from memorysam_ros.bags.transforms import BagTransforms
    from memorysam_ros.bags.truth import Truth
    from memorysam_ros.pipeline import Pipeline

    part, root = selection(args), Path(args.dataset)
    with ExitStack() as stack:
        bag = stack.enter_context(Bag(args.bag, *args.beside))
        for warning in (*bag.warnings, *part.idle_parts(bag)):
            print(f"memorysam bag-to-dataset: {warning}", file=sys.stderr)
        found = inputs(args, bag)
        if "image" not in found:
            raise BagError(f"{bag.path} has no colour images; say where: --topic image:=TOPIC")
        size = parse_size(args.size) if args.size else camera_size(bag, found["image"])
        names = {"image": "image", "depth": "depth", "event": "events", "lidar": "points"}
        present = [m for m in deliver_modalities(args.depth) if names[m.name] in found]
        drawing = Drawing(InputContract(tuple(present), DELIVER), size)
        values = parameters(args, bag, found, output_size="network")
        transforms = stack.enter_context(BagTransforms(bag, values.tf_timeout))
        pipeline = Pipeline(drawing, values, transforms)
        truth = None
        if args.labels:
            truth = stack.enter_context(Truth(args.bag, args.labels, args.beside))
        stack.enter_context(_present(root))
        hidden = stack.enter_context(tempfile.TemporaryDirectory(prefix=".export.", dir=root))
        export = Export(
            Path(hidden),
            Replay(bag, found, pipeline, transforms, part),
            truth,
            args.split,
            args.sequence or Path(args.bag).resolve().stem,
            args.condition or "",
        )
        export.run()
        _merge(Path(hidden), root, export.about)
    print(f"wrote {export.count} sets of {', '.join(m.name for m in present)} to {root}")
    for why, count in export.skipped.items():
        print(f"  left out {count} sets: {why}")
    return 0


@contextmanager
def _present(folder: Path) -> Iterator[None]:
    """The folder is there within; it goes again if that made it and nothing was put into it."""
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        if is_new:
            with suppress(OSError):  # it holds something
                folder.rmdir()


def _merge(hidden: Path, root: Path, about: dict[str, dict[str, Any]]) -> None:
    """Moves the new sequences into the data set; none of them, if one is there already."""
    from memorysam_ros.bags.deliver_layout import read_about, write_about

    sequences = [folder.relative_to(hidden) for folder in hidden.glob("*/*/*/*")]
    for sequence in sequences:
        if (root / sequence).exists():
            raise FileExistsError(f"{root / sequence} exists already; give another --sequence")
    for sequence in sequences:
        (root / sequence).parent.mkdir(parents=True, exist_ok=True)
        shutil.move(hidden / sequence, root / sequence)
    write_about(root, read_about(root) | about)
