"""Show what a checkpoint is and what it expects."""

from __future__ import annotations

import argparse
import json

DESCRIPTION = """Print a checkpoint's architecture, its input contract (modalities in order, how
their frames are drawn and normalised, input size, label space) and where its weights come from.
Reads the header only."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.description = DESCRIPTION
    parser.add_argument("checkpoint", help="a .safetensors checkpoint")
    parser.add_argument("--json", action="store_true", help="print the header as JSON")


def run(args: argparse.Namespace) -> int:
    """Print the header."""
    from memorysam_core.checkpoint import digest, read_header

    header = read_header(args.checkpoint)
    architecture, contract = header.architecture, header.contract
    if args.json:
        content = {"architecture": architecture.to_dict(), **json.loads(contract.to_json())}
        print(json.dumps(content, indent=2))
        return 0
    height, width = contract.size
    print(f"{args.checkpoint}  sha256 {digest(args.checkpoint)[:16]}")
    gate = "on" if architecture.object_gate else "off"
    adapters = f", adapters of rank {architecture.lora_rank}" if architecture.lora_rank else ""
    print(
        f"model        {architecture.size}, SAM {architecture.version}, "
        f"{architecture.num_classes} classes, memory mask {architecture.memory_mask}, "
        f"object gate {gate}{adapters}"
    )
    print(f"input        {width} x {height} (width x height)")
    for i, modality in enumerate(contract.modalities):
        how = modality.representation
        parameters = ", ".join(f"{k}={v}" for k, v in vars(how).items())
        print(f"{'modalities' if i == 0 else '':12} {modality.name}: {how.name}({parameters}), "
              f"from {how.reading}; mean {modality.mean}, std {modality.std}")  # fmt: skip
    space = contract.label_space
    print(
        f"{'labels':12} {space.name}: " + ", ".join(f"{i} {c}" for i, c in enumerate(space.classes))
    )
    for i, (key, value) in enumerate(contract.provenance.items()):
        print(f"{'provenance' if i == 0 else '':12} {key}: {value}")
    return 0
