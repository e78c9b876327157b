"""A replay as one picture: some moments side by side, each with its labels and sensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from memorysam_core.labels import LabelSpace
from memorysam_core.report.words import clock
from memorysam_ros.bags.tiles import labels_over_image, note_of, tiles, write_note
from memorysam_ros.pipeline import SENSORS
from memorysam_ros.result import Result

COLUMNS = 6
WIDTH_PX = 320
_ROWS = ("labels", "truth", *SENSORS)
_GAP_PX = 4
_HEADING_PX = 30
_BACKGROUND = 24


class Filmstrip:
    """Keeps moments that are evenly spread over a replay of unknown length."""

    def __init__(self, label_space: LabelSpace) -> None:
        self._space = label_space
        self._columns: list[tuple[str, dict[str, np.ndarray]]] = []
        self._stride = 1
        self._offered = 0

    def add(
        self, time_s: float, result: Result, truth: np.ndarray | None, condition: str = ""
    ) -> None:
        """Offers a moment, with its true ids ``(H, W)`` where known."""
        self._offered += 1
        if (self._offered - 1) % self._stride:
            return
        height, width = result.size
        size = max(1, round(WIDTH_PX * height / width)), WIDTH_PX
        column = tiles(result, truth, self._space, size)
        heading = f"{clock(time_s)}   {condition}".rstrip()
        self._columns.append((heading, {"labels": labels_over_image(result, size), **column}))
        if len(self._columns) == 2 * COLUMNS:
            self._columns = self._columns[::2]
            self._stride *= 2

    def save(self, path: Path) -> None:
        """Writes the picture; none where there was no moment."""
        from PIL import Image, ImageDraw

        last = len(self._columns) - 1
        chosen = set(np.linspace(0, last, COLUMNS).round().astype(int).tolist())
        columns = [column for index, column in enumerate(self._columns) if index in chosen]
        names = [name for name in _ROWS if any(name in column for _, column in columns)]
        if not names:
            return
        height = max(tile.shape[0] for _, column in columns for tile in column.values())
        step_x, step_y = WIDTH_PX + _GAP_PX, height + _GAP_PX
        size = (len(columns) * step_x + _GAP_PX, _HEADING_PX + len(names) * step_y)
        sheet = Image.new("RGB", size, (_BACKGROUND,) * 3)
        pen = ImageDraw.Draw(sheet)
        for x, (heading, column) in enumerate(columns):
            write_note(pen, (_GAP_PX + x * step_x, 3), heading, 18)
            for y, name in enumerate(names):
                corner = (_GAP_PX + x * step_x, _HEADING_PX + y * step_y)
                if name in column:
                    sheet.paste(Image.fromarray(column[name]), corner)
                write_note(pen, corner, note_of(name, name in column))
        sheet.save(path)
