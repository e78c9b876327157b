"""Pictures of a run: learning curves and sample predictions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image

from memorysam_core.contract import InputContract
from memorysam_core.labels import LabelSpace
from memorysam_training.augment import ValidationBatch
from memorysam_training.runs import RunFolder, read_metrics, replacing
from memorysam_training.validation import Picture

GAP = 4
"""Pixels between tiles."""


def predictions(folder: Path, pictures: Sequence[Picture], contract: InputContract) -> None:
    """``predictions.png``: per row the frames of a sample, its true and predicted labels."""
    if pictures:
        sheet(folder / "predictions.png", pictures, contract)


def sheet(path: Path, pictures: Sequence[Picture], contract: InputContract) -> None:
    """A PNG with a row for each picture."""
    rows = [row(picture, contract) for picture in pictures]
    width = max(r.shape[1] for r in rows)
    rows = [np.pad(r, ((0, GAP), (0, width - r.shape[1]), (0, 0))) for r in rows]
    with replacing(path) as temporary:
        Image.fromarray(np.concatenate(rows)).save(temporary, format="PNG")


def row(picture: Picture, contract: InputContract) -> np.ndarray:
    """Frames, truth and prediction side by side, uint8 ``(H, W', 3)``."""
    tiles = list(frames_of(picture, contract).values())
    for ids in (picture.labels, picture.predicted):
        tiles.append(contract.label_space.colourise(ids.numpy().astype(np.int64)))
    return np.concatenate([np.pad(t, ((0, 0), (0, GAP), (0, 0))) for t in tiles], axis=1)


def frames_of(picture: Picture, contract: InputContract) -> dict[str, np.ndarray]:
    """A picture's frames by modality, at the size of its labels, uint8 ``(H, W, 3)``."""
    height, width = picture.labels.shape
    resampler = ValidationBatch(contract.modalities, contract.size).resampler
    frames = {}
    for name, frame in picture.sample.frames.items():
        levels = frame if frame.dtype == torch.uint8 else (frame * 255).round()
        shown = resampler.frame(levels.float(), (height, width), contract.modality(name))
        frames[name] = shown.clamp(0, 255).byte().permute(1, 2, 0).numpy()
    return frames


def curves(folder: RunFolder) -> None:
    """``curves.png``: loss, scores on ``val`` and learning rate by step."""
    if not folder.is_main:
        return
    rows = read_metrics(folder.metrics_file)
    train = [r for r in rows if r["kind"] == "train"]
    val = [r for r in rows if r["kind"] == "val"]
    figure = Figure(figsize=(11, 3.2), layout="constrained")
    loss, score, rate = figure.subplots(1, 3)
    loss.plot([r["step"] for r in train], [r["loss"] for r in train])
    loss.set(title="training loss", xlabel="step", yscale="log")
    for key in ("miou", "accuracy"):
        score.plot([r["step"] for r in val], [r[key] for r in val], marker=".", label=key)
    score.set(title="validation", xlabel="step", ylim=(0, 1))
    score.legend()
    rate.plot([r["step"] for r in train], [r["learning_rate"] for r in train])
    rate.set(title="learning rate", xlabel="step")
    with replacing(folder.path / "curves.png") as temporary:
        figure.savefig(temporary, dpi=110, format="png")


def confusion(path: Path, counts: np.ndarray, space: LabelSpace) -> None:
    """A PNG of the confusion matrix, each true class's row scaled to 1."""
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = max(4.0, 0.32 * len(space) + 2.5)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(share, cmap="viridis", vmin=0, vmax=1)
    axes.set_xticks(range(len(space)), space.classes, rotation=90)
    axes.set_yticks(range(len(space)), space.classes)
    axes.set(xlabel="predicted", ylabel="true")
    for y, x in np.argwhere(share >= 0.05):
        colour = "black" if share[y, x] > 0.6 else "white"
        text = f"{100 * share[y, x]:.0f}"
        axes.text(x, y, text, ha="center", va="center", color=colour, fontsize=7)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
