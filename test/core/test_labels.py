"""Label spaces: the published tables, and round trips through colours and files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from memorysam_core.labels import DELIVER, MCUBES, LabelSpace, label_space, numbered


def test_built_in_spaces_are_as_published() -> None:
    assert len(DELIVER) == 25 and len(MCUBES) == 20
    assert DELIVER.classes[7] == "SideWalk" and DELIVER.colours[7] == (244, 35, 232)
    assert DELIVER.classes[24] == "Truck" and DELIVER.colours[24] == (0, 0, 70)
    assert MCUBES.classes[3] == "road_marking" and MCUBES.colours[19] == (99, 121, 57)
    for space in (DELIVER, MCUBES):
        assert len(set(space.colours)) == len(space)


def test_colours_and_ids_are_inverse_and_strangers_are_ignored() -> None:
    ids = np.arange(25, dtype=np.uint8).reshape(5, 5)
    coloured = DELIVER.colourise(ids)
    assert coloured.shape == (5, 5, 3) and tuple(coloured[1, 2]) == (244, 35, 232)
    coloured[0, 0] = (1, 2, 3)
    back = DELIVER.ids_from_colours(coloured)
    assert back[0, 0] == 255 and np.array_equal(back.ravel()[1:], ids.ravel()[1:])
    assert tuple(DELIVER.colourise(np.array([[255]]))[0, 0]) == (0, 0, 0)


def test_numbered_spaces_past_255_classes() -> None:
    space = numbered(300)
    assert space.ignore_id == 65535 and numbered(255).ignore_id == 255
    ids = np.array([[299, 65535]], np.uint16)
    assert tuple(space.colourise(ids)[0, 0]) == space.colours[299]


def test_files_and_dictionaries(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(MCUBES.to_dict()))
    assert label_space(str(path)) == MCUBES
    assert label_space("deliver") is DELIVER
    path.write_text("- 1\n")
    with pytest.raises(ValueError, match="holds no mapping"):
        label_space(str(path))
    with pytest.raises(ValueError, match="give deliver or mcubes, or a YAML file"):
        label_space("cityscapes")
    with pytest.raises(ValueError, match=r"got \['colour'\]"):
        LabelSpace.from_dict({"colour": 1})


@pytest.mark.parametrize(
    ("classes", "colours", "message"),
    [
        ((), (), "has no classes"),
        (("a", "b"), ((0, 0, 0),), "2 classes but 1 colours"),
        (("a", "a"), ((0, 0, 0), (1, 1, 1)), "names a more than once"),
        (("a",), ((0, 0, 256),), "the colour of 'a' is"),
    ],
)
def test_wrong_spaces_are_refused(classes: tuple, colours: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LabelSpace("wrong", classes, colours)
