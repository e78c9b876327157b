"""YAML and ``key=value`` texts into frozen dataclasses, refusing whatever does not fit."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

T = TypeVar("T")


class SettingsError(ValueError):
    """A setting that does not exist, does not fit its type, or contradicts another."""


def load(kind: type[T], file: str | Path | None, overrides: Sequence[str] = ()) -> T:
    """A ``kind`` from defaults, then the YAML ``file``, then ``a.b=value`` texts.

    Raises SettingsError, naming the key, for anything unknown or of the wrong type.
    """
    for text in overrides:
        if "=" not in text:
            raise SettingsError(f"override {text!r} has no '='; write it as key.sub=value")
    try:
        given = OmegaConf.load(file) if file else OmegaConf.create()
        merged = OmegaConf.merge(given, OmegaConf.from_dotlist(list(overrides)))
        values = OmegaConf.to_container(merged, resolve=True)
    except FileNotFoundError:
        raise SettingsError(f"no recipe {file}: give the path of a YAML file") from None
    except (OmegaConfBaseException, ValueError) as error:
        raise SettingsError(f"{file} or an override is no valid YAML: {error}") from error
    if not isinstance(values, dict):
        raise SettingsError(f"{file} holds a {type(values).__name__}; give a mapping of settings")
    return build(kind, values)


def build(kind: type[T], values: dict, path: str = "") -> T:
    """A dataclass ``kind``, nested ones too, from plain values."""
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = [str(key) for key in values if key not in fields]
    if unknown:
        where = f"{path.rstrip('.')} has" if path else "there is"
        raise SettingsError(
            f"{where} no setting {', '.join(unknown)}; known are {', '.join(fields)}"
        )
    hints = typing.get_type_hints(kind)
    return kind(**{k: _fit(hints[k], v, path + k) for k, v in values.items()})


def to_dict(settings: object) -> dict:
    """The inverse of :func:`build`: plain values, tuples as lists."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: plain(v) for k, v in value.items()}
        return [plain(v) for v in value] if isinstance(value, (list, tuple)) else value

    return plain(dataclasses.asdict(settings))  # type: ignore[call-overload]


def _fit(hint: Any, value: Any, path: str) -> Any:
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, dict):
            raise SettingsError(f"{path} is {value!r}; give a mapping of its settings")
        return build(hint, value, path + ".")  # type: ignore[arg-type]
    if get_origin(hint) is Literal:
        if value is False and "off" in get_args(hint):
            return "off"  # YAML 1.1 reads it as the opposite of true
        if value not in get_args(hint):
            known = ", ".join(map(str, get_args(hint)))
            raise SettingsError(f"{path} is {value!r}; accepted are {known}")
        return value
    if get_origin(hint) is tuple:
        return _fit_tuple(get_args(hint), value, path)
    if hint is float and isinstance(value, (int, str)) and not isinstance(value, bool):
        try:
            return float(value)  # YAML 1.1 reads 6e-4 as a text
        except ValueError:
            pass
    if hint is str and isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    if hint is str and value is None:
        return ""  # `key=` and `key:` without a value
    if type(value) is not (get_origin(hint) or hint):
        name = hint.__name__ if not isinstance(hint, types.UnionType) else hint
        raise SettingsError(f"{path} is {value!r}; give a value of type {name}")
    return value


def _fit_tuple(kinds: tuple, value: Any, path: str) -> tuple:
    if not isinstance(value, (list, tuple)):
        raise SettingsError(f"{path} is {value!r}; give a list, such as [a, b]")
    if kinds[-1] is Ellipsis:
        kinds = (kinds[0],) * len(value)
    if len(kinds) != len(value):
        raise SettingsError(f"{path} has {len(value)} values; give {len(kinds)}")
    return tuple(
        _fit(k, v, f"{path}[{i}]") for i, (k, v) in enumerate(zip(kinds, value, strict=True))
    )
