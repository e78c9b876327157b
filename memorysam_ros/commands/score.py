"""Compare what the live node says with the truth in the bag that is being played.

Listens until Ctrl-C, or until the node has been silent for a while after the bag; then writes
report.html and scores.json into one folder. launch/replay.launch.py starts it with truth:=TOPIC.

    memorysam score model.safetensors drive.mcap --labels /ground_truth/labels
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from memorysam_ros.bags import Bag
    from memorysam_ros.bags.account import Account
    from memorysam_ros.bags.listener import Listener

REPORT, SCORES = "report.html", "scores.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("checkpoint", help="the node's model, for its classes and sensors")
    parser.add_argument("bag", help="what is played: folder or file of a rosbag2")
    parser.add_argument("--labels", required=True, metavar="TOPIC", help="ground truth in the bag")
    parser.add_argument("--image", metavar="TOPIC", help="the camera's (by type and name)")
    parser.add_argument(
        "--node", default="/segment_node", metavar="NAME", help="its full name (%(default)s)"
    )
    parser.add_argument(
        "-o", "--output", metavar="DIR", help="folder to write (BAG_scores_DATE-TIME, here)"
    )
    parser.add_argument("--rate", type=float, default=1.0, help="how fast the bag is played (1)")
    parser.add_argument("--start", type=float, default=0.0, metavar="S", help="seconds it skips")
    parser.add_argument(
        "--idle",
        type=float,
        default=10.0,
        metavar="S",
        help="end when the node has said nothing for so long, once it has spoken (%(default)s)",
    )
    parser.set_defaults(ros_args=[])


def run(args: argparse.Namespace) -> int:
    """Listens, and writes what came of it."""
    import jinja2  # noqa: F401  # what is not installed is to be told now, not after the drive
    import matplotlib  # noqa: F401

    from memorysam_core.checkpoint import read_header
    from memorysam_ros.bags import Bag
    from memorysam_ros.bags.account import Accountant
    from memorysam_ros.bags.listener import Listener
    from memorysam_ros.bags.truth import Truth
    from memorysam_ros.bags.whole_folder import whole_folder
    from memorysam_ros.ros_session import interruptible, ros_session

    if args.rate <= 0 or args.idle <= 0:
        raise ValueError(f"rate is {args.rate:g}, idle {args.idle:g} s; give numbers above 0")
    contract = read_header(args.checkpoint).contract
    date = time.strftime("%Y_%m_%d-%H_%M_%S")
    output = Path(args.output or f"{Path(args.bag).resolve().stem}_scores_{date}")
    with ExitStack() as stack:
        folder = stack.enter_context(whole_folder(output))
        bag = stack.enter_context(Bag(args.bag))
        truth = stack.enter_context(Truth(args.bag, args.labels))
        image = _image_topic(bag, args)
        accountant = Accountant(
            bag,
            truth,
            image,
            contract.label_space,
            contract.names,
            bag.start_ns,
            args.rate,
            bag.start_ns + round(args.start * 1e9),
        )
        node = stack.enter_context(ros_session("memorysam_score", args.ros_args))
        # From here on, Ctrl-C means that it is enough, not that nothing is wanted.
        stopped = stack.enter_context(interruptible())
        listener = Listener(node, args.node.rstrip("/"), accountant, args.rate)
        if not listener.found():
            print(f"waiting for {args.node} to publish labels; Ctrl-C ends it", flush=True)
        listener.wait(stopped)
        if not stopped.is_set():
            print(f"listening to {args.node}; Ctrl-C ends it", flush=True)
        listener.run(stopped, args.idle)
        account = accountant.finish()
        heard = account.sets_out + account.stood_in
        if not heard and accountant.unstamped:
            raise ValueError(
                f"the {accountant.unstamped} labels of {args.node} have stamps of zero, as its "
                "camera has: they cannot be compared with the bag"
            )
        if not heard:
            raise ValueError(f"{args.node} published no labels")
        told = _write(folder, account, listener, bag.warnings, args)
    print(f"{told}\nwrote {output / REPORT}, {output / SCORES}", flush=True)
    return 0


def _image_topic(bag: Bag, args: argparse.Namespace) -> str:
    from memorysam_ros.bags.topics import find

    packed = f"{args.image}/compressed"  # as image transport has it
    named = packed if packed in bag.topics else args.image
    others = (topic for topic in bag.topics.values() if topic.name != args.labels)
    found = find(others, {"image": named} if args.image else {})
    if "image" not in found:
        raise ValueError(f"{args.bag} has no colour images; say where: --image TOPIC")
    return found["image"]


def _write(
    folder: Path,
    account: Account,
    listener: Listener,
    warnings: Sequence[str],
    args: argparse.Namespace,
) -> str:
    from memorysam_core.report import Run, write_report
    from memorysam_ros.bags.account_report import report_of, text, values_of

    command = shlex.join(["memorysam", *sys.argv[1:]])
    run = Run.here(command, str(args.bag), args.checkpoint)
    title = f"The live node on {Path(args.bag).name}"
    said = listener.diagnostics, listener.sensor_facts
    report = report_of(account, title, run, args.rate, *said, warnings)
    values = values_of(account, report)
    write_report(report, folder / REPORT)
    (folder / SCORES).write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    return text(values)
