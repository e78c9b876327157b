"""A contact sheet: all sensors and the labels, condition by condition, and the failures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from memorysam_core.labels import DELIVER
from memorysam_training.simulation.conditions import FAILURES, Fault
from memorysam_training.simulation.drive import Drive
from memorysam_training.simulation.frames import camera_frames
from memorysam_training.simulation.parallel import Progress, ordered, whole
from memorysam_training.simulation.rig import Rig

CELL_W = 448
GAP, HEAD, CAPTION = 6, 64, 26
PAPER, INK, FAINT = (18, 19, 24), (236, 236, 240), (150, 152, 162)
COLUMNS = ("camera", "depth", "events", "LiDAR over camera", "labels")
MOMENT_S = 3.4
_SENSOR_OF = {"lidarjitter": "LiDAR over camera", "eventlowres": "events"}


@dataclass(frozen=True)
class Cell:
    """One moment to simulate."""

    seed: int
    condition: str
    failure: str | None
    rig: Rig


def write_sheet(
    path: Path, seed: int, conditions: tuple[str, ...], rig: Rig, processes: int
) -> None:
    """Writes the sheet as PNG: a row for each condition, and one with the failures."""
    cells = [Cell(seed + k, name, None, rig) for k, name in enumerate(conditions)]
    sunny = Cell(seed, conditions[-1], None, rig)
    cells += [Cell(sunny.seed + 2, sunny.condition, failure, rig) for failure in FAILURES]
    progress, rows = Progress(len(cells), "moments"), []
    with whole(path) as unfinished:
        for pictures in ordered(develop, cells, processes):
            rows.append(pictures)
            progress.advance()
        sheet = _compose(rows[: len(conditions)], rows[len(conditions) :], conditions)
        sheet.save(unfinished, format="PNG")


def develop(cell: Cell) -> dict[str, np.ndarray]:
    """The pictures of one moment, by column, each uint8 (H, W, 3)."""
    faults = (Fault(cell.failure),) if cell.failure else ()
    drive = Drive(cell.seed, 8.0, (cell.condition,), faults, cell.rig)
    frames, shot = camera_frames(drive, MOMENT_S, ("img", "depth", "lidar", "event"))
    colours = DELIVER.colourise(shot.labels)
    return {
        "camera": frames["img"],
        "depth": spectrum(1 - frames["depth"][..., 0] / 255, frames["depth"][..., 0] > 0),
        "events": frames["event"],
        "LiDAR over camera": _points_over(frames["img"], frames["lidar"][..., 0]),
        "labels": (0.25 * frames["img"] + 0.75 * colours).astype(np.uint8),
    }


def spectrum(value: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Values 0 to 1 as colours from deep blue to warm yellow, uint8 (..., 3); invalid is black."""
    stops = np.array([(0.05, 0.03, 0.2), (0.23, 0.1, 0.45), (0.6, 0.18, 0.45), (0.93, 0.42, 0.28),
                      (0.99, 0.78, 0.35), (0.99, 0.98, 0.75)])  # fmt: skip
    at = np.linspace(0, 1, len(stops))
    colour = np.stack([np.interp(value, at, stops[:, c]) for c in range(3)], -1)
    return (255 * colour * valid[..., None]).astype(np.uint8)


def _points_over(image: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Returns as coloured dots of 2 x 2 pixels, near ones warm, on the dimmed image."""
    canvas = (0.32 * image).astype(np.uint8)
    rows, columns = np.nonzero(levels)
    near = 1 - np.clip(np.log(levels[rows, columns] / 3) / np.log(20), 0, 1)
    colours = spectrum(0.25 + 0.75 * near, np.ones(len(near), bool))
    for dy in (0, 1):
        for dx in (0, 1):
            y = np.minimum(rows + dy, image.shape[0] - 1)
            x = np.minimum(columns + dx, image.shape[1] - 1)
            canvas[y, x] = colours
    return canvas


def _compose(
    rows: list[dict[str, np.ndarray]],
    failures: list[dict[str, np.ndarray]],
    conditions: tuple[str, ...],
) -> Image.Image:
    height, width = rows[0]["camera"].shape[:2]
    cell_h = round(CELL_W * height / width)
    total_w = GAP + len(COLUMNS) * (CELL_W + GAP)
    total_h = HEAD + CAPTION + (len(rows) + 1) * (cell_h + GAP) + 2 * CAPTION
    sheet = Image.new("RGB", (total_w, total_h), PAPER)
    draw = ImageDraw.Draw(sheet)
    big, small = ImageFont.load_default(26), ImageFont.load_default(15)
    draw.text((GAP + 6, 16), "memorysam simulate", INK, big)
    draw.text(
        (total_w - 470, 26), "one geometry, four sensors, five kinds of weather", FAINT, small
    )
    for column, title in enumerate(COLUMNS):
        draw.text((GAP + column * (CELL_W + GAP) + 6, HEAD), title, FAINT, small)

    def place(picture: np.ndarray, column: int, y: int, caption: str) -> None:
        x = GAP + column * (CELL_W + GAP)
        kind = Image.Resampling.LANCZOS if picture.shape[1] >= CELL_W else Image.Resampling.NEAREST
        sheet.paste(Image.fromarray(picture).resize((CELL_W, cell_h), kind), (x, y))
        if caption:
            size = draw.textlength(caption, small)
            draw.rectangle((x, y, x + size + 14, y + 22), PAPER)
            draw.text((x + 7, y + 2), caption, INK, small)

    y = HEAD + CAPTION
    for name, pictures in zip(conditions, rows, strict=True):
        for column, title in enumerate(COLUMNS):
            place(pictures[title], column, y, name if column == 0 else "")
        y += cell_h + GAP
    draw.text((GAP + 6, y + 4), "failures, each of one sensor", FAINT, small)
    for column, (name, pictures) in enumerate(zip(FAILURES, failures, strict=True)):
        place(pictures[_SENSOR_OF.get(name, "camera")], column, y + CAPTION, name)
    return sheet
