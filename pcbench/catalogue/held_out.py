"""The validation part of a data set, `NAME:validation`: what parameters may be chosen on.

A fifth of the training clouds of every class is held out and takes the place of the test split; the other
four fifths are what is distilled. No test cloud is among them. It is a data set of its own name, so that no
table mixes its scores with those of the test split, and its results are open division.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

from pcbench.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

    from pcbench.api import Dataset, PointClouds, Splits

SUFFIX = ":validation"
"""What follows the name of a data set in the name of its validation part."""
SHARE = 5
"""One training cloud in so many of a class is held out, rounded up."""


def whole_of(name: str) -> str | None:
    """The data set that a name asks for the validation part of; None where it asks for none."""
    whole = name.removesuffix(SUFFIX)
    return whole if whole != name else None


@cache
def validation_part(dataset: type[Dataset]) -> type[Dataset]:
    """The data set whose training clouds are four fifths of another's, and whose test clouds are the rest."""

    def load(_: Dataset, points: int) -> Splits:
        return split(dataset().load(points), dataset.name)

    attributes: dict[str, Any] = {
        "__doc__": f"A fifth of the training clouds of {dataset.name}, to choose parameters on.",
        "name": dataset.name + SUFFIX,
        "variant": f"{dataset.variant}; a fifth of the training clouds held out",
        "test_counts": {},
        "archive": None,
        "shares": {},
        "load": load,
    }
    return type(f"{dataset.__name__}Validation", (dataset,), attributes)


def split(splits: Splits, name: str) -> Splits:
    """The training split in two, seeded by the data set's name; the clouds keep their order.

    Raises DataError where a class has fewer than two training clouds.
    """
    import torch

    from pcbench.common.files import digest

    held_out = held_out_clouds(splits.train, name)
    how = {"whole": splits.content_hash, "held out": torch.nonzero(held_out)[:, 0].tolist()}
    return replace(
        splits,
        train=splits.train.select(~held_out),
        test=splits.train.select(held_out),
        content_hash=digest(how),
        standard=False,
        official_order=False,
    )


def held_out_clouds(train: PointClouds, name: str) -> Tensor:
    """Which of B training clouds are held out, (B,) bool: of every class one in `SHARE`, rounded up."""
    import torch

    from pcbench.seeds import Streams

    generator = Streams({"level": "validation part", "dataset": name}).stream("held out")
    held_out = torch.zeros(len(train), dtype=torch.bool)
    for label, class_name in enumerate(train.class_names):
        own = torch.nonzero(train.labels == label)[:, 0]
        if len(own) < 2:
            few = f"has {len(own)} training clouds, of which none can be held out"
            raise DataError(f"{name}: class {class_name!r} {few}")
        shuffled = own[torch.randperm(len(own), generator=generator)]
        held_out[shuffled[: -(-len(own) // SHARE)]] = True
    return held_out
