"""Arguments of functions as the engine takes them: one value or several, plain values, paths, choices."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar, get_args

import numpy as np

from pcbench.catalogue import Catalogue, open_catalogue
from pcbench.errors import Thing, UsageError, did_you_mean
from pcbench.records.state import Snapshots

AnyPath: TypeAlias = str | PathLike[str]
"""A path, as Python's own functions take it."""
Settings: TypeAlias = Mapping[str, Any]
"""Parameters of the method and settings of the protocol, by name."""
Kept: TypeAlias = Literal["last", "all"] | Iterable[int]
"""Which snapshots: the last, all, or those at some iterations beside the last."""
T = TypeVar("T")


def texts(value: str | Iterable[str] | None, thing: Thing) -> tuple[str, ...]:
    """One name or several, each once; none where nothing is said."""
    if value is not None and not isinstance(value, Iterable):
        raise UsageError(f"{thing}: {value!r} is no name", thing)
    values = [] if value is None else [value] if isinstance(value, str) else list(value)
    for each in values:
        if not isinstance(each, str) or not each:
            raise UsageError(f"{thing}: {each!r} is no name", thing)
    return tuple(dict.fromkeys(values))


def whole_numbers(value: int | Iterable[int] | None, thing: Thing) -> tuple[int, ...]:
    """One whole number or several, each once; none where nothing is said."""
    values = [] if value is None else list(value) if isinstance(value, Iterable) else [value]
    return tuple(dict.fromkeys(whole_number(each, thing) for each in values))


def whole_number(value: Any, thing: Thing) -> int:
    """A whole number that is not negative, also one of NumPy's."""
    try:
        number = -1 if isinstance(value, bool | np.bool_) else operator.index(value)
    except TypeError:
        number = -1
    if number < 0:
        raise UsageError(f"{thing} {value!r}: a whole number is needed", thing)
    return number


def spans(settings: Settings | Sequence[Settings] | None) -> list[dict[str, Any]]:
    """The settings of every cell: of one mapping one, of several as many."""
    several = [settings or {}] if settings is None or isinstance(settings, Mapping) else list(settings)
    if not several:
        raise UsageError("settings: an empty list asks for no cell", "setting")
    return [one_setting(each) for each in several]


def one_setting(settings: Settings | None) -> dict[str, Any]:
    """Settings by name, with plain values."""
    if not isinstance(settings or {}, Mapping) or not all(isinstance(key, str) for key in settings or {}):
        raise UsageError("settings: a mapping from names to values is needed, as {'lr': 5.0}", "setting")
    return {key: _plain(key, value) for key, value in (settings or {}).items()}


def _plain(name: str, value: Any) -> Any:
    """A value as JSON has it; NumPy's become Python's."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, list | tuple):
        return [_plain(name, each) for each in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise UsageError(f"setting {name}: {type(value).__name__} is no number, text or list", "setting")


def choice(value: T, choices: Any, argument: str) -> T:
    """One of the values of a Literal."""
    if value not in get_args(choices):
        raise UsageError(f"there is no {argument}={value!r}. {did_you_mean(str(value), get_args(choices))}")
    return value


def snapshots_of(value: Kept) -> Snapshots:
    """`last`, `all`, or the iterations that are asked for."""
    if isinstance(value, str):
        return choice(value, Literal["last", "all"], "snapshots")
    return whole_numbers(value, "snapshots")


def catalogue_of(plugins: AnyPath | Sequence[AnyPath]) -> Catalogue:
    """All plugins, with those in the folders named."""
    return open_catalogue([path(each, "plugins") for each in several(plugins)])


def several(value: AnyPath | Sequence[AnyPath]) -> list[AnyPath]:
    """One path or several, as a list."""
    return [value] if isinstance(value, str | PathLike) else list(value)


def path(value: AnyPath, thing: Thing) -> Path:
    """A path; a tilde is the user's home."""
    if not isinstance(value, str | PathLike):
        raise UsageError(f"{thing}: {value!r} is no path", thing)
    return Path(value).expanduser()
