"""Label spaces: what the ids of a label image mean, and in which colour they are shown.

A label image holds class ids ``0 .. C-1``; ``IGNORE`` marks pixels without a label.
The two built-in spaces are those of the published data sets (names, order and colours as in
the papers of DELIVER, arXiv 2303.01480, and MCubeS, CVPR 2022).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

IGNORE = 255
"""The id of a pixel without a label, in label images of up to 255 classes."""

IGNORE_WIDE = 65535
"""The id of a pixel without a label, in label images of more than 255 classes."""

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class LabelSpace:
    """Class names in the order of their ids, with one display colour (R, G, B, 0 to 255) each."""

    name: str
    classes: tuple[str, ...]
    colours: tuple[Colour, ...]

    def __post_init__(self) -> None:
        if not self.classes:
            raise ValueError(f"label space {self.name!r} has no classes; give at least one")
        if len(self.classes) != len(self.colours):
            raise ValueError(
                f"label space {self.name!r} has {len(self.classes)} classes but "
                f"{len(self.colours)} colours; give one colour for each class"
            )
        if len(set(self.classes)) != len(self.classes):
            twice = sorted({c for c in self.classes if self.classes.count(c) > 1})
            raise ValueError(f"label space {self.name!r} names {', '.join(twice)} more than once")
        for class_name, colour in zip(self.classes, self.colours, strict=True):
            if len(colour) != 3 or not all(0 <= v <= 255 for v in colour):
                raise ValueError(
                    f"the colour of {class_name!r} is {colour}; give three whole numbers, 0 to 255"
                )

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def ignore_id(self) -> int:
        """The id of unlabelled pixels: 255, or 65535 where 255 is a class of its own."""
        return IGNORE if len(self) <= IGNORE else IGNORE_WIDE

    @property
    def palette(self) -> np.ndarray:
        """Colours by id, uint8 ``(ignore_id + 1, 3)``; ids without a class are black."""
        table = np.zeros((self.ignore_id + 1, 3), np.uint8)
        table[: len(self)] = self.colours
        return table

    def colourise(self, labels: np.ndarray) -> np.ndarray:
        """Label ids ``(H, W)`` of any integer type to colours, uint8 ``(H, W, 3)``."""
        return self.palette[labels]

    def ids_from_colours(self, image: np.ndarray) -> np.ndarray:
        """Colours, uint8 ``(H, W, 3)``, to ids ``(H, W)``; unknown colours become ``ignore_id``."""
        codes = image.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
        known = np.array([(r << 16) | (g << 8) | b for r, g, b in self.colours], np.uint32)
        order = np.argsort(known, kind="stable")
        slot = np.searchsorted(known[order], codes).clip(max=len(known) - 1)
        ids = order[slot]
        dtype = np.uint8 if self.ignore_id == IGNORE else np.uint16
        return np.where(known[ids] == codes, ids, self.ignore_id).astype(dtype)

    def to_dict(self) -> dict:
        """As plain values, for a checkpoint header or a YAML file."""
        return {
            "name": self.name,
            "classes": list(self.classes),
            "colours": [list(c) for c in self.colours],
        }

    @classmethod
    def from_dict(cls, values: dict) -> LabelSpace:
        """The inverse of :meth:`to_dict`. Raises ValueError on unknown or missing keys."""
        accepted = {"name", "classes", "colours"}
        if set(values) != accepted:
            raise ValueError(
                f"a label space has the keys {sorted(accepted)}, got {sorted(map(str, values))}"
            )
        return cls(
            name=str(values["name"]),
            classes=tuple(str(c) for c in values["classes"]),
            colours=tuple((int(r), int(g), int(b)) for r, g, b in values["colours"]),
        )


def _space(name: str, table: str) -> LabelSpace:
    rows = [row.rsplit(" ", 1) for row in table.strip().splitlines()]
    colours = [tuple(int(v) for v in colour.split(",")) for _, colour in rows]
    return LabelSpace(
        name, tuple(c.strip() for c, _ in rows), tuple((r, g, b) for r, g, b in colours)
    )


DELIVER = _space(
    "deliver",
    """
    Building 70,70,70
    Fence 100,40,40
    Other 55,90,80
    Pedestrian 220,20,60
    Pole 153,153,153
    RoadLine 157,234,50
    Road 128,64,128
    SideWalk 244,35,232
    Vegetation 107,142,35
    Cars 0,0,142
    Wall 102,102,156
    TrafficSign 220,220,0
    Sky 70,130,180
    Ground 81,0,81
    Bridge 150,100,100
    RailTrack 230,150,140
    GroundRail 180,165,180
    TrafficLight 250,170,30
    Static 110,190,160
    Dynamic 170,120,50
    Water 45,60,150
    Terrain 145,170,100
    TwoWheeler 0,0,230
    Bus 0,60,100
    Truck 0,0,70
    """,
)

MCUBES = _space(
    "mcubes",
    """
    asphalt 44,160,44
    concrete 31,119,180
    metal 255,127,14
    road_marking 214,39,40
    fabric 140,86,75
    glass 127,127,127
    plaster 188,189,34
    plastic 255,152,150
    rubber 23,190,207
    sand 174,199,232
    gravel 196,156,148
    ceramic 197,176,213
    cobblestone 247,182,210
    brick 199,199,199
    grass 219,219,141
    wood 158,218,229
    leaf 57,59,121
    water 107,110,207
    human 156,158,222
    sky 99,121,57
    """,
)

BUILT_IN = {space.name: space for space in (DELIVER, MCUBES)}


def numbered(count: int) -> LabelSpace:
    """A space of ``count`` classes without names of their own, in well separated colours."""
    ids = np.arange(count, dtype=np.float64)
    hue = (ids * 0.618034) % 1.0  # golden-ratio steps keep neighbours apart
    value = np.where(np.arange(count) % 2 == 0, 230.0, 150.0)
    ramps = np.abs((hue[:, None] * 6 + np.array([0.0, 4.0, 2.0])) % 6 - 3) - 1
    rgb = (np.clip(ramps, 0, 1) * value[:, None]).astype(int)
    colours = tuple((int(r), int(g), int(b)) for r, g, b in rgb)
    return LabelSpace("numbered", tuple(f"class_{i}" for i in range(count)), colours)


def label_space(name_or_file: str) -> LabelSpace:
    """A built-in space by name, or one from a YAML file with ``name``, ``classes``, ``colours``.

    Raises ValueError where it is neither, or where the file's contents are wrong.
    """
    if name_or_file in BUILT_IN:
        return BUILT_IN[name_or_file]
    path = Path(name_or_file)
    if not path.is_file():
        raise ValueError(
            f"no label space {name_or_file!r}: give {' or '.join(sorted(BUILT_IN))}, or a YAML file"
        )
    import yaml

    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds no mapping with name, classes and colours")
    return LabelSpace.from_dict(values)
