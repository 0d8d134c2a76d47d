"""The evaluation protocols as data: what is distilled from, how students are trained, how often."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from pcbench.common.schema import LABEL, Abridged, Model
from pcbench.errors import UsageError, did_you_mean

MOST = 1 << 20  # the largest number of epochs, steps, clouds or points that a protocol may name
FASTEST = 1e6  # the largest learning rate


class Step(Model):
    """The learning rate times `factor` after every `every` epochs, never below `floor`."""

    kind: Literal["step"]
    every: int = Field(ge=1, le=MOST, description="epochs between two drops")
    factor: float = Field(gt=0, le=1, description="learning rate after a drop, relative")
    floor: float = Field(0.0, ge=0, le=FASTEST, description="smallest learning rate")

    def rate(self, lr: float, epoch: int, epochs: int) -> float:  # noqa: ARG002
        """The learning rate of an epoch, counted from 0."""
        return max(lr * self.factor ** (epoch // self.every), self.floor)


class Drops(Model):
    """The learning rate times `factor` from each of the epochs `at` on; momentum goes on."""

    kind: Literal["drops"]
    at: tuple[Annotated[int, Field(ge=1, le=MOST)], ...] = Field(
        min_length=1, max_length=1000, description="first epochs after a drop"
    )
    factor: float = Field(gt=0, le=1, description="learning rate after a drop, relative")

    def rate(self, lr: float, epoch: int, epochs: int) -> float:  # noqa: ARG002
        """The learning rate of an epoch, counted from 0."""
        return lr * self.factor ** sum(first <= epoch for first in self.at)


class Cosine(Model):
    """Half a cosine from the learning rate down to `minimum` (Loshchilov and Hutter 2017, Eq. 5)."""

    kind: Literal["cosine"]
    minimum: float = Field(
        0.0, ge=0, le=FASTEST, description="learning rate that the last epoch comes near to"
    )

    def rate(self, lr: float, epoch: int, epochs: int) -> float:
        """The learning rate of an epoch, counted from 0."""
        return self.minimum + (lr - self.minimum) * (1 + math.cos(math.pi * epoch / epochs)) / 2


Schedule: TypeAlias = Annotated[Step | Drops | Cosine, Field(discriminator="kind")]


class Augmentation(Model):
    """What is drawn anew for every cloud of every batch, in this order; nothing by default.

    Every range is uniform. Clouds are those in the unit sphere.
    """

    turn: Literal["x", "y", "z"] | None = Field(None, description="axis of a turn by any angle")
    scale: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] | None = Field(
        None, description="smallest and largest factor of the size"
    )
    scale_axes: bool = Field(False, description="each axis has a factor of its own")
    shift: float = Field(0.0, ge=0, description="largest shift along each axis")
    jitter: float = Field(0.0, ge=0, description="standard deviation of each coordinate's noise")
    jitter_clip: float = Field(0.05, gt=0, description="largest noise of a coordinate")
    drop: float = Field(0.0, ge=0, lt=1, description="largest share of points that the first replaces")

    @field_validator("scale")
    @classmethod
    def _ascending(cls, scale: tuple[float, float] | None) -> tuple[float, float] | None:
        if scale is not None and scale[0] > scale[1]:
            raise ValueError("the smaller factor comes first")
        return scale


class Recipe(Abridged):
    """How one network is trained.

    By default SGD with one drop of the rate, where momentum starts anew; a recipe with a `schedule` has that
    in place of the drop. Only the settings in effect are serialised.
    """

    epochs: int = Field(ge=1, le=MOST, description="passes over the training clouds")
    batch: int = Field(
        ge=1, le=MOST, description="clouds per step; the last batch of an epoch may be smaller"
    )
    optimiser: Literal["sgd", "adam", "adamw"] = Field("sgd", description="adam and adamw: betas 0.9, 0.999")
    lr: float = Field(0.01, gt=0, le=FASTEST, description="learning rate")
    momentum: float = Field(0.9, ge=0, lt=1, description="SGD momentum")
    weight_decay: float = Field(
        5e-4, ge=0, le=1e6, description="L2 penalty on every parameter, decoupled with adamw"
    )
    schedule: Schedule | None = Field(None, description="the learning rate of every epoch")
    drop_after: int | None = Field(
        None,
        ge=0,
        le=MOST,
        validate_default=True,
        description="index of the last epoch at the first learning rate",
    )
    drop_factor: float = Field(0.1, gt=0, le=1, description="learning rate afterwards, relative")
    label_smoothing: float = Field(
        0.0, ge=0, lt=0.5, description="share of the target that the other classes have between them"
    )
    augmentation: Augmentation | None = None
    equal_steps: int = Field(
        0,
        ge=0,
        le=1,
        description="1: a set that expands to more clouds than PPC of every class has as many fewer epochs",
    )

    @field_validator("momentum")
    @classmethod
    def _of_sgd(cls, momentum: float, info: ValidationInfo) -> float:
        if info.data.get("optimiser") in ("adam", "adamw"):
            raise ValueError(f"{info.data['optimiser']} has no such setting; leave it out")
        return momentum

    @field_validator("drop_after", "drop_factor")
    @classmethod
    def _schedule_or_drop(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is not None and info.data.get("schedule") is not None:
            raise ValueError("a recipe with a schedule has no drop besides; leave it out")
        if value is None and info.data.get("schedule", ...) is None:
            raise ValueError("a recipe needs this, or a schedule")
        return value

    def idle(self) -> set[str]:
        """What has no effect: the drop beside a schedule, momentum with Adam, what is not asked for."""
        unused = {"drop_after", "drop_factor"} if self.schedule else {"schedule"}
        unused |= {"optimiser"} if self.optimiser == "sgd" else {"momentum"}
        unused |= set() if self.label_smoothing else {"label_smoothing"}
        unused |= set() if self.equal_steps else {"equal_steps"}
        return unused if self.augmentation else unused | {"augmentation"}

    def shortened(self, factor: float) -> Recipe:
        """The recipe for `factor` times as many clouds in as many steps: fewer epochs, an earlier drop."""
        drop = None if self.drop_after is None else max(0, round((self.drop_after + 1) / factor) - 1)
        return self.model_copy(update={"epochs": max(1, round(self.epochs / factor)), "drop_after": drop})

    def for_set(self, factor: float) -> Recipe:
        """The recipe for a set of `factor` times as many clouds as PPC of every class.

        It is shortened where students are to take as many steps as on plain clouds.
        """
        return self.shortened(factor) if self.equal_steps and factor != 1 else self

    def rate(self, epoch: int) -> float:
        """The learning rate of an epoch, counted from 0."""
        if self.schedule is not None:
            return self.schedule.rate(self.lr, epoch, self.epochs)
        dropped = self.drop_after is not None and epoch > self.drop_after
        return self.lr * self.drop_factor if dropped else self.lr


class Protocol(Model):
    """One way to compare methods; a record names it and no table mixes two.

    What identifies it are its settings. Its names follow from them: `rightly_named` says whether they do.
    """

    name: Annotated[str, LABEL]
    """`paper`, `lite`, …, or `custom` where any setting departs from that of `base`."""
    base: Annotated[str, LABEL]
    """The standard protocol that this one is, or departs from."""
    changes: Annotated[dict[str, int | float], LABEL] = Field(default_factory=dict)
    """The settings that depart from those of `base`, by their dotted names; empty for a standard protocol."""
    points: int = Field(ge=1, le=MOST, description="points per cloud")
    iterations: int = Field(ge=1, le=MOST, description="updates of the synthetic set")
    snapshot_every: int = Field(ge=1, le=MOST, description="iterations between evaluated snapshots")
    students: int = Field(ge=1, le=1000, description="networks trained on each snapshot")
    recipe: Recipe = Field(description="training on the synthetic set")
    whole: Recipe = Field(description="training on the whole training split")

    @property
    def summary(self) -> str:
        """What the protocol is for, in one line. It is prose, and no part of a record."""
        return f"{self.base} with changes" if self.changes else SUMMARIES.get(self.base, self.base)

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


SUMMARIES: Mapping[str, str] = {
    "paper": "the paper's evaluation: 1024 points, 1500 iterations, ten students of 501 epochs",
    "lite": "real data on a CPU: 256 points, 500 iterations, five students of 250 epochs",
    "quick": "the demonstration: 64 points, 60 iterations, ten students of 20 epochs, a minute on a laptop",
    "standard": "each backbone's own recipe on the whole training split, three students; all else as paper",
}
"""What each standard protocol is for, in one line."""

PAPER = Protocol(
    name="paper",
    base="paper",
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
    points=64,
    iterations=60,
    snapshot_every=60,
    students=10,
    recipe=Recipe(epochs=20, drop_after=14, batch=8),
    whole=Recipe(epochs=3, drop_after=2, batch=32),
)

STANDARD = PAPER.model_copy(update={"name": "standard", "base": "standard", "students": 3})
"""One protocol for every backbone: `recipes.followed` puts the backbone's own recipe for `whole`."""

PROTOCOLS: Mapping[str, Protocol] = {protocol.name: protocol for protocol in (PAPER, LITE, QUICK, STANDARD)}

SETTINGS = (
    frozenset({"points", "iterations", "snapshot_every", "students"})
    | {
        f"{part}.{field}"
        for part in ("recipe", "whole")
        for field in ("epochs", "batch", "lr", "momentum", "weight_decay", "drop_after", "drop_factor")
    }
    | {"recipe.equal_steps"}
)


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
        raise UsageError(
            f"protocol setting {where}={detail['input']!r}: {detail['msg'].removeprefix('Value error, ')}"
        ) from error
    return as_called(protocol, changed)


def as_called(base: Protocol, changed: Protocol) -> Protocol:
    """`base` itself where no setting differs from it, and else the changed settings, called `custom`."""
    before, after = flat(base), flat(changed)
    changes = {key: value for key, value in sorted(after.items()) if value != before.get(key)}
    return _custom(changed, changes) if changes else base


def rightly_named(protocol: Protocol) -> bool:
    """Whether a protocol is the one that its name and its changes say.

    A `standard` one may have any recipe for `whole`, for a backbone's may be a user's own or be corrected
    later, but not the one that stands there before a backbone's is put in its place.
    """
    base = PROTOCOLS.get(protocol.base)
    if base is None:
        return False
    changes, of_whole = protocol.changes, {}
    if base is STANDARD:
        if protocol.whole == STANDARD.whole:
            return False
        base = STANDARD.model_copy(update={"whole": protocol.whole})
        of_whole = {key: value for key, value in changes.items() if key.startswith("whole.")}
        changes = {key: value for key, value in changes.items() if key not in of_whole}
    try:
        expected = customised(base, changes)
    except (KeyError, UsageError):
        return False
    if of_whole:
        expected = _custom(expected, {**expected.changes, **of_whole})
    return expected == protocol and all(flat(protocol).get(key) == of_whole[key] for key in of_whole)


def _custom(changed: Protocol, changes: Mapping[str, int | float]) -> Protocol:
    return changed.model_copy(update={"name": "custom", "changes": dict(changes)})


def flat(protocol: Protocol) -> dict[str, int | float]:
    """Every setting by its dotted name; none that a recipe with a schedule does not have."""
    values: dict[str, int | float] = {}
    for key in SETTINGS:
        part, _, field = key.rpartition(".")
        value = getattr(getattr(protocol, part) if part else protocol, field)
        if value is not None:
            values[key] = value
    return values
