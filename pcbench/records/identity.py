"""When two results are the same work: keys, the engine's number, and why one is not what was asked for.

This is the only definition. A key hashes what a person would call the inputs of a result:

* the method, its parameters in effect and the hash of its code (without comments, docstrings and formatting);
* the settings of the protocol, never its name or prose; the content hash of the data with their sampling;
* the networks with the hash of their code; the axes of the seeds;
* `ENGINE`, the number of pcbench's own arithmetic.

What does not change a result is in no key: words, hosts, paths, times, which of the snapshots were evaluated.
A field that holds its default is left out, so that a field that is added later, with the default that keeps
the old behaviour, changes no key. Defaults therefore never change; a test keeps them.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from pcbench.common.files import canonical_json, text_digest
from pcbench.common.schema import Label
from pcbench.records.layout import short

ENGINE = 1
"""The number of pcbench's own arithmetic: losses, layers, draws, trainers, tests.

Raise it by hand whenever a change there moves results beyond rounding. `tests/golden` holds values of it, and
fails where they move while this number stands still.
"""


def key(inputs: BaseModel) -> str:
    """SHA-256 of what `hashed` leaves of some inputs, as 64 hexadecimal digits.

    It is that of the canonical JSON of `hashed`, put together of texts: data set, network and protocol, which
    are most of it, are written once for all the cells that share them.
    """
    texts = {"kind": canonical_json(type(inputs).__name__)}
    texts |= {name: _text(value) for name, value in _telling(inputs)}
    return text_digest("{" + ",".join(f'"{name}":{texts[name]}' for name in sorted(texts)) + "}")


def hashed(model: BaseModel) -> dict[str, Any]:
    """The part of a model that identifies it, as JSON: no labels, and no field that holds its default."""
    return {name: _plain(value) for name, value in _telling(model)}


def _telling(model: BaseModel) -> Iterator[tuple[str, Any]]:
    """The fields that identify a model and do not hold their defaults, with their values."""
    for name, required, default in _fields(type(model)):
        value = getattr(model, name)
        if required or value != default:
            yield name, value


@functools.cache
def _fields(kind: type[BaseModel]) -> list[tuple[str, bool, Any]]:
    """The fields of a model that are no labels: name, whether it must be said, and what it holds unsaid."""
    return [
        (name, field.is_required(), field.get_default(call_default_factory=True, validated_data={}))
        for name, field in kind.model_fields.items()
        if not any(isinstance(mark, Label) for mark in field.metadata)
    ]


_parts: dict[int, tuple[BaseModel, str]] = {}
"""The JSON of what identifies the data sets, networks and protocols that were met last."""
MOST_PARTS = 1000
_SCALARS = frozenset({str, int, float, bool, type(None)})


def _text(value: Any) -> str:
    """The canonical JSON of a value; of a model once for each object, for models are frozen."""
    if type(value) in _SCALARS or not isinstance(value, BaseModel):
        return canonical_json(_plain(value))
    kept = _parts.get(id(value))
    if kept is None:
        if len(_parts) >= MOST_PARTS:
            _parts.clear()
        kept = _parts[id(value)] = (value, canonical_json(hashed(value)))
    return kept[1]


def _plain(value: Any) -> Any:
    if type(value) in _SCALARS:
        return value
    if isinstance(value, BaseModel):
        return hashed(value)
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def same_work(recorded: BaseModel, asked: BaseModel) -> bool:
    """Whether two inputs of one kind are those of the same work: whether their keys are equal."""
    return key(recorded) == key(asked)


def differences(recorded: BaseModel, asked: BaseModel) -> list[str]:
    """Why recorded inputs are not the same work as those that are asked for; none where they are.

    `ENGINE 1, now 2`, `lr 10, asked 1`, `code of sadm has changed`: one text a difference, the engine first.
    """
    if recorded == asked:
        return []
    one, other = (dict(_leaves(_complete(model))) for model in (recorded, asked))
    reasons = []
    for place in sorted(one.keys() | other.keys(), key=lambda place: (place != "engine", place)):
        old, new = one.get(place), other.get(place)
        if old != new:
            reasons.append(_reason(place, old, new))
    return list(dict.fromkeys(reasons))


def _reason(place: str, old: Any, new: Any) -> str:
    if place == "engine":
        return f"ENGINE {old}, now {new}"
    if place == "source":
        return "the method's code has changed"
    if place.endswith("network.source"):
        return "the network's code has changed"
    if place.endswith("data.hash"):
        return f"data {short(str(old))}, now {short(str(new))}"
    name = place.removeprefix("params.").removeprefix("protocol.")
    return f"{name} {_shown(old)}, asked {_shown(new)}"


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    return value if isinstance(value, str) else canonical_json(value)


def _complete(model: BaseModel) -> dict[str, Any]:
    """As `hashed`, with the fields that hold their defaults."""
    return {
        name: _complete(value) if isinstance(value, BaseModel) else _plain(value)
        for name, _, _ in _fields(type(model))
        for value in (getattr(model, name),)
    }


def _leaves(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Every value with its dotted place; the variation, which follows from the parameters, left out."""
    for name, value in values.items():
        if isinstance(value, Mapping) and name != "variation":
            yield from _leaves(value, f"{above}{name}.")
        elif name != "variation":
            yield above + name, value
