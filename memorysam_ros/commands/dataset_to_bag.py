"""Turn a data set in DELIVER's layout into a bag that can be replayed and played.

memorysam dataset-to-bag DELIVER drive.mcap --split val --condition night
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument(
        "dataset", help="folder that holds img/, depth/ or hha/, event/, lidar/ ..."
    )
    parser.add_argument("bag", help="FILE.mcap, FILE.db3 or a folder to write")
    parser.add_argument("--split", default="*", help="train, val or test (all)")
    parser.add_argument("--condition", default="*", help="such as night (all)")
    parser.add_argument("--sequence", help="only sequences whose name contains this")
    parser.add_argument(
        "--rate", type=float, default=10.0, metavar="HZ", help="sets a second, if not known (10)"
    )


def run(args: argparse.Namespace) -> int:
    """Writes the bag."""
    from tqdm import tqdm

    from memorysam_ros.bags import BagWriter
    from memorysam_ros.bags.dataset_import import write
    from memorysam_ros.bags.deliver_layout import places

    if args.rate <= 0:
        raise ValueError(f"rate is {args.rate:g} Hz; give a number above 0")
    root = Path(args.dataset)
    sets = [
        place
        for place in places(root, args.split, args.condition)
        if args.sequence is None or args.sequence in place.sequence
    ]
    if not sets:
        wanted = f"{args.condition}/{args.split}/{args.sequence or '*'}"
        raise ValueError(
            f"{root} has no set {wanted}: no img/<condition>/<split>/<sequence>/<id>_rgb_front.png"
        )
    bar = tqdm(total=len(sets), unit="set", disable=not sys.stderr.isatty())
    with bar, BagWriter(args.bag, compress=not args.bag.endswith(".db3")) as writer:
        write(root, sets, writer, args.rate, bar.update)
    print(f"wrote {args.bag}: {len(sets)} sets, {sum(writer.counts.values())} messages")
    return 0
