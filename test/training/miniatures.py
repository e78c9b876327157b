"""Tiny data sets with a learnable scene, written for the tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

CONDITIONS = ("sun", "night")


def deliver(
    root: Path, per_split: int = 4, size: tuple[int, int] = (64, 96), classes: int = 3
) -> Path:
    """DELIVER's layout: rectangles of classes, each seen by every sensor in its own way."""
    rng = np.random.default_rng(0)
    for split in ("train", "val", "test"):
        for i in range(per_split):
            ids = rectangles(rng, size, classes)
            write_deliver(root, CONDITIONS[i % 2], split, f"MAP_{i % 2}", f"{i:06d}", ids, rng)
    return root


def rectangles(rng: np.random.Generator, size: tuple[int, int], classes: int) -> np.ndarray:
    """Class ids ``(H, W)``: a ground and two rectangles."""
    ids = np.zeros(size, np.uint8)
    for label in range(1, classes):
        top, left = rng.integers(0, size[0] // 2), rng.integers(0, size[1] // 2)
        ids[top : top + size[0] // 3, left : left + size[1] // 3] = label
    return ids


def write_deliver(
    root: Path, condition: str, split: str, sequence: str, name: str, ids: np.ndarray, rng
) -> None:
    """One sample: levels that follow the class, with noise; raw labels are ids + 1."""
    grey = (40 + 60 * ids + rng.integers(0, 20, ids.shape)).astype(np.uint8)
    colour = np.stack([grey, 255 - grey, grey // 2], -1)
    event = np.zeros((*ids.shape, 3), np.uint8)
    event[np.abs(np.diff(ids.astype(int), axis=1, prepend=0)) > 0] = (255, 0, 0)
    lidar = np.where(rng.random(ids.shape) < 0.1, 10 * (ids + 1), 0).astype(np.uint8)
    for folder, kind, pixels in (
        ("img", "rgb", colour),
        ("depth", "depth", np.repeat(grey[..., None], 3, -1)),
        ("hha", "depth", colour[..., ::-1]),
        ("event", "event", event),
        ("lidar", "lidar", np.repeat(lidar[..., None], 3, -1)),
        ("semantic", "semantic", np.repeat(ids[..., None] + 1, 3, -1)),
    ):
        path = root / folder / condition / split / sequence / f"{name}_{kind}_front.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.ascontiguousarray(pixels.astype(np.uint8))).save(path)


def first_file(root: Path, folder: str, kind: str) -> Path:
    """Of the training samples the first one's."""
    return sorted((root / folder).glob(f"*/train/*/*_{kind}_front.png"))[0]


def mcubes(root: Path, per_split: int = 3, size: tuple[int, int] = (64, 288)) -> Path:
    """MCubeS's ``multimodal_dataset``; the left 192 columns are to be cut."""
    rng = np.random.default_rng(1)
    for folder in ("polL_color", "polL_aolp_sin", "polL_aolp_cos", "polL_dolp", "NIR_warped", "GT"):
        (root / folder).mkdir(parents=True)
    (root / "list_folder").mkdir()
    for split in ("train", "val", "test"):
        names = [f"{split}{i}" for i in range(per_split)]
        (root / "list_folder" / f"{split}.txt").write_text("\n".join(names) + "\n")
        for name in names:
            ids = rectangles(rng, size, 3)
            angle = ids + rng.normal(0, 0.1, size)
            colour = np.stack([40 + 60 * ids] * 3, -1).astype(np.uint8)
            Image.fromarray(colour).save(root / "polL_color" / f"{name}.png")
            np.save(root / "polL_aolp_sin" / f"{name}.npy", np.sin(angle))
            np.save(root / "polL_aolp_cos" / f"{name}.npy", np.cos(angle))
            np.save(root / "polL_dolp" / f"{name}.npy", np.abs(np.sin(angle)))
            nir = (20000 + 9000 * ids.astype(np.uint16)).astype(np.uint16)
            Image.fromarray(nir).save(root / "NIR_warped" / f"{name}.png")
            Image.fromarray(ids).save(root / "GT" / f"{name}.png")
    return root
