"""Compile a checkpoint ahead of time, for one machine or as ONNX."""

from __future__ import annotations

import argparse

DESCRIPTION = """Make an engine of a checkpoint, to be given to the node or to 'memorysam segment'
in its place. The format aoti (OUT.pt2) is machine code for the device, size, precision and PyTorch
of this machine, and starts without compiling: run this on the robot. The format onnx (OUT.onnx and
OUT.sequenceN.onnx beside it) is for onnxruntime and TensorRT and runs anywhere. All sensors share
one model, so what is compiled depends on how many sensors take part, not on which."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.description = DESCRIPTION
    parser.add_argument("checkpoint", help="a .safetensors checkpoint")
    parser.add_argument("out", help="the file to write: .pt2, or .onnx with --format onnx")
    parser.add_argument(
        "--format", choices=["aoti", "onnx"],
        help="what to write (default: what the ending of OUT says)",
    )  # fmt: skip
    parser.add_argument("--size", metavar="WxH", help="input size (default: the checkpoint's)")
    parser.add_argument(
        "--modalities", metavar="NAME,NAME,...",
        help="those that the robot has (default: all of the checkpoint's)",
    )  # fmt: skip
    parser.add_argument(
        "--lengths", metavar="N,N,...",
        help="numbers of sensors that may take part at once (default: 1 to all)",
    )  # fmt: skip
    parser.add_argument(
        "--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto; aoti only)"
    )
    parser.add_argument(
        "--precision", default="auto", choices=["auto", "fp32", "bf16", "fp16"],
        help="arithmetic of the model (default: auto: for onnx fp32, else bf16 where it is fast)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Export and report."""
    from pathlib import Path

    from memorysam_core.checkpoint import load_checkpoint
    from memorysam_core.commands.convert import parse_size
    from memorysam_core.engines.export import export

    out = Path(args.out)
    names = tuple(args.modalities.split(",")) if args.modalities else None
    lengths = _lengths(args.lengths) if args.lengths else None
    written = export(
        load_checkpoint(args.checkpoint),
        out,
        form=args.format,
        size=parse_size(args.size) if args.size else None,
        modalities=names,
        lengths=lengths,
        device=args.device,
        precision=args.precision,
    )
    for path in written.files:
        print(f"wrote {path} ({path.stat().st_size / 2**20:.0f} MB)")
    print(f"made for {written.made_for.machine or 'any machine'}, {written.made_for.precision}; "
          f"{', '.join(written.made_for.graphs)}; labels agree with the checkpoint's on "
          f"{written.agreement:.3%} of the pixels of noise")  # fmt: skip
    return 0


def _lengths(text: str) -> tuple[int, ...]:
    words = text.split(",")
    if not all(word.strip().isdigit() for word in words):
        raise ValueError(f"--lengths is {text!r}; give numbers of sensors, such as 3,4")
    return tuple(int(word) for word in words)
