"""The evaluation protocols as data: what is distilled from, how students are trained, how often."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pcbench.errors import UsageError, did_you_mean


class Recipe(BaseModel):
    """How one network is trained: SGD, no augmentation, one drop of the rate, where momentum starts anew."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    epochs: int = Field(ge=1, description="passes over the training clouds")
    drop_after: int = Field(ge=0, description="index of the last epoch at the first learning rate")
    drop_factor: float = Field(0.1, gt=0, le=1, description="learning rate afterwards, relative")
    batch: int = Field(ge=1, description="clouds per step; the last batch of an epoch may be smaller")
    lr: float = Field(0.01, gt=0, description="learning rate")
    momentum: float = Field(0.9, ge=0, lt=1, description="SGD momentum")
    weight_decay: float = Field(5e-4, ge=0, description="L2 penalty on every parameter")


class Protocol(BaseModel):
    """One way to compare methods; a record names it and no table mixes two.

    `changes` lists what departs from the protocol named `base`; it is empty for the standard ones, and any
    departure makes the name `custom`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str
    summary: str
    base: str
    changes: dict[str, int | float] = {}
    points: int = Field(ge=1, le=1 << 20, description="points per cloud")
    iterations: int = Field(ge=1, le=1 << 20, description="updates of the synthetic set")
    snapshot_every: int = Field(ge=1, description="iterations between evaluated snapshots")
    students: int = Field(ge=1, le=1000, description="networks trained on each snapshot")
    recipe: Recipe = Field(description="training on the synthetic set")
    whole: Recipe = Field(description="training on the whole training split")

    @property
    def snapshots(self) -> tuple[int, ...]:
        """The evaluated iterations, ascending, from 0 to `iterations`."""
        return (*range(0, self.iterations, self.snapshot_every), self.iterations)

    @property
    def label(self) -> str:
        """The name for people; a custom protocol says what it changes."""
        if not self.changes:
            return self.name
        changes = ", ".join(f"{key}={value}" for key, value in sorted(self.changes.items()))
        return f"{self.name} ({self.base} with {changes})"


PAPER = Protocol(
    name="paper",
    base="paper",
    summary="the paper's evaluation: 1024 points, 1500 iterations, ten students of 501 epochs",
    points=1024,
    iterations=1500,
    snapshot_every=250,
    students=10,
    recipe=Recipe(epochs=501, drop_after=251, batch=8),
    whole=Recipe(epochs=200, drop_after=199, batch=32),
)

LITE = Protocol(
    name="lite",
    base="lite",
    summary="real data on a CPU: 256 points, 500 iterations, five students of 250 epochs",
    points=256,
    iterations=500,
    snapshot_every=250,
    students=5,
    recipe=Recipe(epochs=250, drop_after=125, batch=8),
    whole=Recipe(epochs=25, drop_after=24, batch=32),
)

QUICK = Protocol(
    name="quick",
    base="quick",
    summary="the demonstration: 64 points, 60 iterations, ten students of 20 epochs, a minute on a laptop",
    points=64,
    iterations=60,
    snapshot_every=60,
    students=10,
    recipe=Recipe(epochs=20, drop_after=14, batch=8),
    whole=Recipe(epochs=3, drop_after=2, batch=32),
)

PROTOCOLS: Mapping[str, Protocol] = {protocol.name: protocol for protocol in (PAPER, LITE, QUICK)}

SETTINGS = frozenset({"points", "iterations", "snapshot_every", "students"}) | {
    f"{part}.{field}" for part in ("recipe", "whole") for field in Recipe.model_fields
}


def named(name: str) -> Protocol:
    """The protocol of that name; UsageError with the nearest names if there is none."""
    if name not in PROTOCOLS:
        raise UsageError(f"unknown protocol {name!r}. {did_you_mean(name, PROTOCOLS)}")
    return PROTOCOLS[name]


def customised(protocol: Protocol, settings: Mapping[str, Any]) -> Protocol:
    """The protocol with settings such as {"iterations": 20, "recipe.epochs": 50}; `custom` if any differs.

    Raises UsageError for a value that the protocol cannot take. Keys outside SETTINGS raise KeyError.
    """
    data = protocol.model_dump()
    for key, value in settings.items():
        if key not in SETTINGS:
            raise KeyError(key)
        part, _, field = key.rpartition(".")
        (data[part] if part else data)[field] = value
    try:
        changed = Protocol.model_validate(data)
    except ValidationError as error:
        detail = error.errors()[0]
        where = ".".join(str(part) for part in detail["loc"])
        raise UsageError(f"protocol setting {where}={detail['input']!r}: {detail['msg']}") from error
    return as_called(protocol, changed)


def as_called(base: Protocol, changed: Protocol) -> Protocol:
    """`base` itself where no setting differs from it, and else the changed settings, called `custom`."""
    before, after = flat(base), flat(changed)
    changes = {key: after[key] for key in sorted(SETTINGS) if after[key] != before[key]}
    if not changes:
        return base
    return changed.model_copy(
        update={"name": "custom", "changes": changes, "summary": f"{base.name} with changes"}
    )


def flat(protocol: Protocol) -> dict[str, int | float]:
    """Every setting by its dotted name."""
    values: dict[str, int | float] = {}
    for key in SETTINGS:
        part, _, field = key.rpartition(".")
        values[key] = getattr(getattr(protocol, part) if part else protocol, field)
    return values
