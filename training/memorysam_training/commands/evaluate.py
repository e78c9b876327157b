"""Measure a checkpoint on a data set: by class, by condition, with sensors missing or noisy."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from memorysam_core.contract import InputContract
    from memorysam_training.recipe import Data

EPILOG = """\
examples:
  memorysam evaluate best.safetensors worlds --split test --missing all
  memorysam evaluate memorysam_deliver.safetensors DELIVER --depth hha --split val --flip
  memorysam evaluate best.safetensors worlds --modalities image,lidar

--missing emm   every subset of the sensors       --missing rmm   random numbers of them zero
--missing nm    noise on all of them              --missing all   the three (arXiv 2503.18445)
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Checkpoint, data set, and what to measure."""
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("checkpoint", help="a .safetensors file of ours")
    parser.add_argument("dataset", help="the data set's folder")
    parser.add_argument("--kind", choices=("deliver", "mcubes", "bags"), default="deliver")
    parser.add_argument("--split", default="test", help="train, val or test (test)")
    parser.add_argument(
        "--depth", choices=("hha", "log_depth"), help="DELIVER's depth folder (the checkpoint's)"
    )
    parser.add_argument(
        "--label-space", default="", metavar="NAME|FILE", help="that of the labels (by --kind)"
    )
    parser.add_argument("--modalities", default="", metavar="A,B", help="use only these")
    parser.add_argument("--missing", choices=("none", "emm", "rmm", "nm", "all"), default="none")
    parser.add_argument(
        "--missing-as",
        choices=("absent", "zeros"),
        default="absent",
        help="leave a missing sensor out, or feed zeros as the benchmark does (absent)",
    )
    parser.add_argument(
        "--resampling",
        choices=("by_modality", "bilinear"),
        help="of frames of another size (as in its training; of other files: by_modality)",
    )
    parser.add_argument("--flip", action="store_true", help="average with the mirrored sample")
    parser.add_argument(
        "--scales", default="1", metavar="A,B", help="average over these zooms, such as 0.75,1,1.25"
    )
    parser.add_argument("--limit", type=int, default=0, metavar="N", help="only N samples")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:1 (the GPU, if any)")
    parser.add_argument(
        "--out", default="", metavar="DIR", help="for the report (evaluation/CHECKPOINT_SPLIT)"
    )


def run(args: argparse.Namespace) -> int:
    """Evaluates and writes the report."""
    import torch

    from memorysam_core.checkpoint import digest, load_checkpoint
    from memorysam_training import evaluation_page, report
    from memorysam_training.data.loading import open_data
    from memorysam_training.evaluate import Options, evaluate

    checkpoint = load_checkpoint(args.checkpoint)
    dataset = open_data(_data(args, checkpoint.contract), args.split)
    device = args.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    trained = checkpoint.contract.provenance.get("recipe", {}).get("augment", {})
    options = Options(
        modalities=tuple(filter(None, args.modalities.split(","))),
        tests=("emm", "rmm", "nm") if args.missing == "all" else (args.missing,),
        missing=args.missing_as,
        flip=args.flip,
        scales=tuple(float(scale) for scale in args.scales.split(",")),
        batch=args.batch,
        workers=args.workers,
        limit=args.limit,
        precision=args.precision,
        resampling=args.resampling or trained.get("resampling", Options.resampling),
        antialias=trained.get("antialias", Options.antialias),
    )
    evaluation = evaluate(checkpoint, dataset, options, torch.device(device))
    about = {
        "checkpoint": f"{args.checkpoint} (sha256 {digest(args.checkpoint)[:12]})",
        "data": f"{args.dataset}, split {args.split}",
        "missing sensors": "left out" if args.missing_as == "absent" else "fed as zeros",
        "views": f"scales {args.scales}" + (", mirrored too" if args.flip else ""),
        "precision": args.precision,
        "resampling": options.resampling,
    }
    default = f"evaluation/{Path(args.checkpoint).stem}_{args.split}"
    folder = Path(args.out or default)
    report.write(evaluation, folder, about)
    evaluation_page.write(evaluation, folder / "report.html", args.checkpoint, about, device)
    print(report.markdown(evaluation, about))
    print(f"written to {folder}/")
    return 0


def _data(args: argparse.Namespace, contract: InputContract) -> Data:
    """What is evaluated on, drawn as the checkpoint wants it.

    Pictures are taken for that, as they do not say how they were drawn; of depth, DELIVER has a
    folder for each way.
    """
    from memorysam_core import representations
    from memorysam_training.recipe import Data

    wants = {m.name: representations.to_dict(m.representation) for m in contract.modalities}
    drawn, wanted = wants, tuple(filter(None, args.modalities.split(",")))
    if args.kind != "bags":
        pictures = ("event", "lidar") if args.kind == "deliver" else ()
        drawn = {n: wants[n] for n in pictures if n in wants and (Path(args.dataset) / n).is_dir()}
    return Data(
        kind=args.kind,
        root=args.dataset,
        modalities=(wanted or contract.names) if args.kind == "bags" else (),
        representations=drawn,
        depth=args.depth or wants.get("depth", {"name": "hha"})["name"],
        label_space=args.label_space,
        size=contract.size,
    )
