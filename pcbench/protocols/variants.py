"""What may be done to the test clouds before students see them, as data: rotation, corruption, density."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import Field, model_validator

from pcbench.common.schema import Abridged
from pcbench.errors import UsageError, did_you_mean

Kind = Literal["plain", "up", "so3", "jitter", "dropout", "occlusion", "scale", "outliers", "points"]

SEVERITIES: Mapping[str, tuple[float, float, float, float, float]] = {
    "jitter": (0.01, 0.02, 0.03, 0.04, 0.05),  # standard deviation, in radii of the cloud
    "dropout": (0.1, 0.3, 0.5, 0.7, 0.9),  # share of the points
    "occlusion": (0.1, 0.2, 0.3, 0.4, 0.5),  # share of the points
    "scale": (1.2, 1.4, 1.6, 1.8, 2.0),  # largest factor of an axis
    "outliers": (0.01, 0.02, 0.05, 0.1, 0.2),  # share of the points
}
"""How much each corruption does at severities 1 to 5.

The numbers are pcbench's own choice: scores do not compare with those on ModelNet40-C (Sun et al. 2022) or
ModelNet-C (Ren et al. 2022), whose corruptions are others.
"""

KINDS: tuple[Kind, ...] = (
    "plain", "up", "so3", "jitter", "dropout", "occlusion", "scale", "outliers", "points",
)  # fmt: skip


class Variant(Abridged):
    """One way to change the test clouds. A field that is None has no meaning for the kind."""

    kind: Kind = "plain"
    """What is done to the clouds; `plain` is nothing."""
    severity: int | None = Field(None, ge=1, le=5)
    """How strong a corruption is, 1 to 5."""
    amount: float | None = Field(None, gt=0, le=100)
    """What `SEVERITIES` said for that severity, in the corruption's own unit."""
    axis: Literal["x", "y", "z"] | None = None
    """The axis that `up` turns about: the data set's up axis."""
    points: int | None = Field(None, ge=1, le=1 << 20)
    """Points of a test cloud, for the kind `points`."""
    on: str | None = None
    """Another data set, of which the test clouds of the shared classes are taken."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        corrupts = self.kind in SEVERITIES
        given = (self.severity, self.amount, self.axis, self.points)
        needed = (corrupts, corrupts, self.kind == "up", self.kind == "points")
        if tuple(value is not None for value in given) != needed:
            raise ValueError(
                f"{self.kind}: a corruption has a severity and an amount, up an axis, points their number, "
                "and nothing else"
            )
        return self

    def idle(self) -> set[str]:
        """What this kind of test does not have."""
        return {name for name in type(self).model_fields if getattr(self, name) is None}

    @property
    def label(self) -> str:
        """As it is asked for: `plain`, `up`, `so3`, `jitter:3`, `points=512`, `on=shapenet55+so3`."""
        own: str = self.kind
        if self.points is not None:
            own = f"{self.kind}={self.points}"
        elif self.severity is not None:
            own = f"{self.kind}:{self.severity}"
        if self.on is None:
            return own
        return f"on={self.on}" if self.kind == "plain" else f"on={self.on}+{own}"

    @property
    def order(self) -> tuple[int, int]:
        """Sorts variants for people: by kind, those on another data set last; by severity or points."""
        behind = 0 if self.on is None else len(KINDS)
        return behind + KINDS.index(self.kind), self.severity or self.points or 0


PLAIN = Variant()


def listed(variant: Variant) -> bool:
    """Whether a corruption's amount is that of its severity in SEVERITIES."""
    if variant.severity is None:
        return True
    return variant.amount == SEVERITIES[variant.kind][variant.severity - 1]


def split(label: str) -> tuple[str | None, str]:
    """The other data set that a label asks for, or None, and the rest of the label."""
    if not label.startswith("on="):
        return None, label
    other, _, rest = label.removeprefix("on=").partition("+")
    return other, rest or "plain"


def named(label: str, dataset: str, up_axis: Literal["x", "y", "z", "none"]) -> Variant:
    """The variant of that label for a data set; UsageError where there is none, or no axis to turn about.

    Where the label names another data set, `dataset` is that one.
    """
    other, own = split(label)
    variant = _named(own, dataset, up_axis)
    return variant if other is None else variant.model_copy(update={"on": other})


def _named(label: str, dataset: str, up_axis: Literal["x", "y", "z", "none"]) -> Variant:
    kind, sign, number = label.partition("=" if label.startswith("points") else ":")
    if kind not in KINDS:
        raise UsageError(f"test {label}: there is no such test. {did_you_mean(kind, KINDS)}", "test")
    if kind in SEVERITIES:
        table = SEVERITIES[kind]
        if number not in map(str, range(1, len(table) + 1)):
            raise UsageError(f"test {label}: a severity is needed, {kind}:1 to {kind}:{len(table)}", "test")
        return Variant(kind=kind, severity=int(number), amount=table[int(number) - 1])
    if kind == "points":
        if not (number.isascii() and number.isdigit() and len(number) < 9 and int(number) > 0):
            raise UsageError(f"test {label}: a number of points is needed, as in points=512", "test")
        return Variant(kind=kind, points=int(number))
    if sign:
        raise UsageError(f"test {label}: {kind} takes no number", "test")
    if kind == "up":
        if up_axis == "none":
            raise UsageError(f"test up: {dataset} has no up axis to turn about: choose so3", "test")
        return Variant(kind=kind, axis=up_axis)
    return Variant(kind=kind)
