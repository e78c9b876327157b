"""A replay as an mp4: the labels over the image, and below them what the model saw."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image, ImageDraw

from memorysam_core.labels import LabelSpace
from memorysam_ros.bags.tiles import labels_over_image, note_of, tiles, write_note
from memorysam_ros.result import Result

WIDTH_PX, MOST_HEIGHT_PX = 1280, 720
"""Of the labels; the pictures below them come on top of that."""
_CAPTION_PX = 22
_TICK = Fraction(1, 1000)
_NOMINAL_HZ = 10
_CODEC = {"crf": "24", "preset": "veryfast"}


class Video:
    """Writes H.264, which every browser plays; to be used as a context.

    Pictures are shown as long as the bag's clock says, whatever its rate or gaps. All of them have
    the first one's size.
    """

    def __init__(
        self, path: Path, label_space: LabelSpace, sensors: Sequence[str], with_truth: bool
    ) -> None:
        self._path, self._space = path, label_space
        self._below = [*sensors, *(["truth"] if with_truth else [])]
        self._container: Any = None
        self._stream: Any = None
        self._last_tick = -1

    def __enter__(self) -> Video:
        return self

    def __exit__(self, *_: object) -> None:
        if self._container is not None:
            self._container.mux(self._stream.encode(None))
            self._container.close()

    def add(self, time_s: float, result: Result, truth: np.ndarray | None, caption: str) -> None:
        """One set, with its true ids ``(H, W)`` where known; a line of text is drawn into it."""
        if self._container is None:
            self._open(result.size)
        frame = av.VideoFrame.from_ndarray(self._picture(result, truth, caption), "rgb24")
        self._last_tick = max(self._last_tick + 1, round(time_s / _TICK))
        frame.pts, frame.time_base = self._last_tick, _TICK
        self._container.mux(self._stream.encode(frame))

    def _open(self, size: tuple[int, int]) -> None:
        scale = min(WIDTH_PX / size[1], MOST_HEIGHT_PX / size[0])
        # Both sides must be even: a colour is stored for 2 x 2 pixels.
        height, width = (2 * max(1, round(scale * side / 2)) for side in size)
        tile = width // len(self._below)
        self._main_size = height, width
        self._tile_size = max(1, round(tile * size[0] / size[1])), tile
        self._container = av.open(str(self._path), "w", options={"movflags": "+faststart"})
        self._stream = self._container.add_stream("libx264", rate=_NOMINAL_HZ, options=_CODEC)
        self._stream.width = width
        self._stream.height = height + (self._tile_size[0] + 1) // 2 * 2
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = _TICK

    def _picture(self, result: Result, truth: np.ndarray | None, caption: str) -> np.ndarray:
        sheet = Image.new("RGB", (self._stream.width, self._stream.height))
        sheet.paste(Image.fromarray(labels_over_image(result, self._main_size)))
        pen = ImageDraw.Draw(sheet)
        write_note(pen, (4, 2), caption, _CAPTION_PX)
        found = tiles(result, truth, self._space, self._tile_size)
        for column, name in enumerate(self._below):
            corner = column * self._tile_size[1], self._main_size[0]
            if name in found:
                sheet.paste(Image.fromarray(found[name]), corner)
            write_note(pen, corner, note_of(name, name in found))
        return np.asarray(sheet)
