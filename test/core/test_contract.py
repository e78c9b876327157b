"""Contracts survive the header, and contradictions are refused."""

from __future__ import annotations

import json

import pytest

from memorysam_core.contract import (
    InputContract,
    Modality,
    check_size,
    default_contract,
    deliver_modalities,
)
from memorysam_core.labels import DELIVER, MCUBES
from memorysam_core.representations import EventPolarity, Rgb


def test_round_trip_through_json() -> None:
    for space in (DELIVER, MCUBES):
        contract = default_contract(space).replace(size=(576, 1024), provenance={"seed": 1})
        assert InputContract.from_json(contract.to_json()) == contract


def test_the_published_normalisation() -> None:
    image, *others = deliver_modalities()
    assert image.mean == (0.485, 0.456, 0.406) and image.std == (0.229, 0.224, 0.225)
    assert all(m.mean == (0, 0, 0) and m.std == (1, 1, 1) for m in others)


def test_subsets_come_in_the_order_of_the_sequence() -> None:
    contract = default_contract()
    assert contract.ordered({"lidar", "image"}) == ("image", "lidar")
    with pytest.raises(ValueError, match="the sequence is empty"):
        contract.ordered([])
    with pytest.raises(ValueError, match="no modality 'radar'; it accepts image, depth, event"):
        contract.ordered(["radar"])


def test_unknown_keys_and_parameters_are_errors() -> None:
    values = json.loads(default_contract().to_json())
    with pytest.raises(ValueError, match="an input contract has no colour; known are"):
        InputContract.from_json(json.dumps({**values, "colour": 1}))
    values["modalities"][2]["representation"]["window"] = 3
    with pytest.raises(ValueError, match="has no parameter window; known are window_s, positive"):
        InputContract.from_json(json.dumps(values))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: InputContract((), DELIVER), "at least one modality"),
        (lambda: InputContract((Modality("a", Rgb()), Modality("a", Rgb())), DELIVER), "twice"),
        (lambda: InputContract((Modality("a", Rgb()),), DELIVER, (720, 1280)), "704 x 1280"),
        (lambda: Modality("a b", Rgb()), "not a plain identifier"),
        (lambda: Modality("a", EventPolarity(), std=(1, 0, 1)), "give positive numbers"),
        (lambda: check_size(0, 32), "not in multiples of 32"),
    ],
)
def test_contradictions_are_refused(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]
