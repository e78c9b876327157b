"""Which modalities a recipe takes of a data set, and how they are drawn."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from memorysam_core import representations
from memorysam_core.contract import Modality
from memorysam_training.data.samples import DataError


def drawn_as(modalities: Sequence[Modality], given: Mapping[str, Mapping]) -> tuple[Modality, ...]:
    """The modalities with the representations that ``data.representations`` gives some of them.

    Parameters without a ``name`` change those of the representation that a modality has. Raises
    DataError for a modality that is not there, and for what its sensor cannot be drawn as.
    """
    refuse_others("data.representations", given, modalities)
    return tuple(_drawn_as(m, given[m.name]) if m.name in given else m for m in modalities)


def normalised_as(
    modalities: Sequence[Modality], given: Mapping[str, Mapping]
) -> tuple[Modality, ...]:
    """The modalities with the means and deviations that ``data.normalisation`` gives some of them.

    Raises DataError for a modality that is not there, for another key than ``mean`` and ``std``,
    and for values that are not one number or three, or no deviations.
    """
    refuse_others("data.normalisation", given, modalities)
    return tuple(_normalised(m, given[m.name]) if m.name in given else m for m in modalities)


def chosen(modalities: Sequence[Modality], names: Sequence[str]) -> tuple[Modality, ...]:
    """Those of the names, in their order; without names all. Raises DataError for unknown ones."""
    known = {m.name: m for m in modalities}
    missing = [name for name in names if name not in known]
    if missing:
        raise DataError(
            f"the data set has no modality {', '.join(missing)}; it has {', '.join(known)}"
        )
    return tuple(known[name] for name in names) or tuple(modalities)


def refuse_others(setting: str, given: Mapping, modalities: Sequence[Modality]) -> None:
    """Raises DataError for a modality that is not there, naming the setting that has it."""
    known = [m.name for m in modalities]
    for name in given:
        if name not in known:
            raise DataError(f"{setting}.{name}: there is no such modality, but {', '.join(known)}")


def _normalised(modality: Modality, given: Mapping) -> Modality:
    setting = f"data.normalisation.{modality.name}"
    unknown = sorted(set(given) - {"mean", "std"})
    if unknown:
        raise DataError(f"{setting} has no {', '.join(unknown)}; it has mean and std")
    values = {}
    for key, value in given.items():
        channels = list(value) if isinstance(value, Sequence) else [value] * 3
        if len(channels) != 3 or not all(isinstance(v, float | int) for v in channels):
            raise DataError(f"{setting}.{key} is {value}; give one number or three")
        values[key] = tuple(float(v) for v in channels)
    try:
        return dataclasses.replace(modality, **values)
    except ValueError as error:
        raise DataError(f"{setting}: {error}") from error


def _drawn_as(modality: Modality, given: Mapping) -> Modality:
    ours = modality.representation
    values = dict(given)
    if values.setdefault("name", ours.name) == ours.name:
        values = {**representations.to_dict(ours), **values}
    try:
        drawn = representations.from_dict(values)
    except ValueError as error:
        raise DataError(f"data.representations.{modality.name}: {error}") from error
    if drawn.reading != ours.reading:
        raise DataError(
            f"data.representations.{modality.name} is {drawn.name}, which is drawn from "
            f"{drawn.reading}, but {modality.name} gives {ours.reading}"
        )
    return dataclasses.replace(modality, representation=drawn)
