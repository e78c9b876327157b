"""Label one set of frames given as image files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

DESCRIPTION = """Label one set of frames. The files are images that are already drawn as the
checkpoint expects (see 'memorysam info CHECKPOINT'); any subset of its modalities will do. Writes
labels.png (class ids), color.png and overlay.png into --out."""

FLAGS = ("image", "depth", "event", "lidar")
OVERLAY_OPACITY = 0.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.description = DESCRIPTION
    parser.add_argument(
        "checkpoint", help="a .safetensors checkpoint, or an exported engine (.pt2, .onnx)"
    )
    for name in FLAGS:
        parser.add_argument(f"--{name}", metavar="FILE", help=f"the {name} frame")
    parser.add_argument(
        "--modality", action="append", default=[], metavar="NAME=FILE",
        help="the frame of a modality of another name; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--out", default=".", metavar="DIR", help="folder to write into (default: .)"
    )
    parser.add_argument(
        "--save-logits", metavar="FILE.npz",
        help="also write 'logits' float32 (C, H/4, W/4), before upsampling, and 'labels'",
    )  # fmt: skip
    parser.add_argument("--size", metavar="WxH", help="input size (default: the checkpoint's)")
    parser.add_argument(
        "--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)"
    )
    parser.add_argument(
        "--precision", default="auto", choices=["auto", "fp32", "bf16", "fp16"],
        help="arithmetic of the model (default: auto: bf16 where it is fast, else fp32)",
    )  # fmt: skip
    parser.add_argument(
        "--engine", default="auto", choices=["auto", "eager", "compiled"],
        help="how a checkpoint is run (default: auto: eager; an exported engine is its own)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Segment and write the results."""
    import numpy as np

    from memorysam_core.commands.convert import parse_size
    from memorysam_core.segmenter import Segmenter

    files = frame_files(args)
    size = parse_size(args.size) if args.size else None
    segmenter = Segmenter(args.checkpoint, args.device, args.precision, size, args.engine)
    if args.engine == "compiled":
        segmenter.warm_up([files], [len(files)], others=False)
    frames = {name: read_frame(path) for name, path in files.items()}
    result = segmenter.segment(frames)

    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    color = segmenter.contract.label_space.colourise(result.labels)
    backdrop = frames.get("image", next(iter(frames.values())))
    overlay = np.rint((1 - OVERLAY_OPACITY) * backdrop + OVERLAY_OPACITY * color).astype(np.uint8)
    for name, pixels in (("labels", result.labels), ("color", color), ("overlay", overlay)):
        _write_png(out / f"{name}.png", pixels)
    if args.save_logits:
        logits, _ = segmenter.logits(frames)
        _write_npz(Path(args.save_logits), logits=logits.cpu().numpy(), labels=result.labels)

    print(f"{', '.join(result.modalities)} on {segmenter.device} in {segmenter.precision}; "
          f"mean confidence {result.confidence.mean() / 255:.2f}")  # fmt: skip
    shares = np.bincount(result.labels.ravel(), minlength=len(segmenter.contract.label_space))
    for index in shares.argsort()[::-1]:
        if shares[index]:
            share = shares[index] / result.labels.size
            print(f"  {segmenter.contract.label_space.classes[index]:16} {share:6.1%}")
    print(f"wrote labels.png, color.png and overlay.png to {out}")
    return 0


def frame_files(args: argparse.Namespace) -> dict[str, Path]:
    """Files by modality name. Raises ValueError for none at all or a malformed ``NAME=FILE``."""
    files = {name: Path(path) for name in FLAGS if (path := getattr(args, name))}
    for pair in args.modality:
        name, equals, path = pair.partition("=")
        if not (name and equals and path):
            raise ValueError(f"--modality is {pair!r}; give NAME=FILE, such as nir=frame.png")
        files[name] = Path(path)
    if not files:
        raise ValueError(
            "no frames given; name at least one: --image FILE, --depth FILE, --event FILE, "
            "--lidar FILE or --modality NAME=FILE"
        )
    return files


def read_frame(path: Path) -> np.ndarray:
    """An image file as uint8 ``(H, W, 3)``. Raises FileNotFoundError, ValueError."""
    import numpy as np
    from PIL import Image, UnidentifiedImageError

    if not path.is_file():
        raise FileNotFoundError(f"no image at {path}")
    try:
        with Image.open(path) as image:
            if image.mode not in ("RGB", "RGBA", "L", "P", "1"):
                raise ValueError(
                    f"{path} is an image of mode {image.mode}; give 8 bits a channel, drawn as the "
                    "checkpoint expects"
                )
            return np.asarray(image.convert("RGB"))
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(
            f"{path} cannot be read as an image ({error}); give a PNG or JPEG"
        ) from error


def _write_png(path: Path, pixels: np.ndarray) -> None:
    from PIL import Image

    temporary = path.with_suffix(".png.tmp")
    Image.fromarray(pixels).save(temporary, format="PNG")
    temporary.replace(path)


def _write_npz(path: Path, **arrays: np.ndarray) -> None:
    import numpy as np

    temporary = path.with_suffix(".npz.tmp")
    with open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    temporary.replace(path)
