"""Convert a SAM 2 or MemorySAM .pt/.pth file to a checkpoint."""

from __future__ import annotations

import argparse

DESCRIPTION = """Convert Meta's SAM 2 / 2.1 file (class-dependent parts start fresh: train it before
use) or the MemorySAM authors' file (adapters are merged: ready to use) into one .safetensors file
with its input contract. Every key must be accounted for, and nothing in the file is executed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.description = DESCRIPTION
    parser.add_argument("source", help="sam2*.pt from Meta, or a MemorySAM .pth")
    parser.add_argument("out", help="the .safetensors file to write")
    parser.add_argument(
        "--modalities", metavar="NAME,NAME,...",
        help="which of the label space's modalities, in order (default: all of them: "
        "image,depth,event,lidar for deliver; image,aolp,dolp,nir for mcubes)",
    )  # fmt: skip
    parser.add_argument(
        "--label-space", default="deliver", metavar="deliver|mcubes|FILE",
        help="what the classes are: a built-in space or a YAML file (default: deliver)",
    )  # fmt: skip
    parser.add_argument(
        "--depth", choices=["hha", "log_depth"], default="hha",
        help="what the weights call depth; published DELIVER weights mean hha (default)",
    )  # fmt: skip
    parser.add_argument(
        "--size", default="1024x1024", metavar="WxH",
        help="input size, multiples of 32 (default: 1024x1024)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Convert and write."""
    from pathlib import Path

    from memorysam_core.checkpoint import digest, save_checkpoint
    from memorysam_core.contract import InputContract, deliver_modalities, mcubes_modalities
    from memorysam_core.convert import convert
    from memorysam_core.labels import MCUBES, label_space

    space = label_space(args.label_space)
    known = mcubes_modalities() if space == MCUBES else deliver_modalities(args.depth)
    contract = InputContract(
        modalities=_chosen(known, args.modalities),
        label_space=space,
        size=parse_size(args.size),
        provenance={"converted_from": Path(args.source).name},
    )
    model = convert(args.source, len(space))
    contract.provenance["source_sha256"] = digest(args.source)
    path = save_checkpoint(args.out, model, contract)
    architecture = model.architecture
    fresh = "" if architecture.object_gate else "; class-dependent parts are fresh: train it first"
    print(f"wrote {path}: {architecture.size}, SAM {architecture.version}, "
          f"{architecture.num_classes} classes{fresh}")  # fmt: skip
    return 0


def parse_size(text: str) -> tuple[int, int]:
    """``1024x576`` (width x height) to (height, width). Raises ValueError for anything else."""
    width, cross, height = text.partition("x")
    if not (cross and width.isdigit() and height.isdigit()):
        raise ValueError(f"size is {text!r}; give width x height in pixels, such as 1024x576")
    return int(height), int(width)


def _chosen(known: tuple, wanted: str | None) -> tuple:
    if wanted is None:
        return known
    by_name = {modality.name: modality for modality in known}
    names = [name.strip() for name in wanted.split(",")]
    for name in names:
        if name not in by_name:
            raise ValueError(
                f"no modality {name!r} in this label space; known: {', '.join(by_name)}"
            )
    return tuple(by_name[name] for name in names)
