"""A data set of two classes of noise, for what shows clouds; of its registry only what that asks for."""

from __future__ import annotations

import torch

from pcbench.api import Dataset, Splits
from pcbench.clouds import PointClouds
from pcbench.errors import DataError

NAMES = ("chair", "</script>")


def some(seed: int, per_class: int) -> PointClouds:
    points = torch.randn(2 * per_class, 64, 3, generator=torch.Generator().manual_seed(seed))
    return PointClouds(points, torch.arange(2).repeat(per_class), NAMES)


class Toy(Dataset):
    """Two classes of noise."""

    name = "toy"
    variant = "noise"
    up_axis = "z"
    classes, train_size, test_size = 2, 8, 8

    def present(self) -> bool:
        return True

    def how_to_get(self) -> str:
        return ""

    def load(self, points: int) -> Splits:  # noqa: ARG002
        return Splits(some(9, 4), some(8, 4), "3" * 64, "surface")


class Absent(Toy):
    """A data set that is not here."""

    def load(self, points: int) -> Splits:
        raise DataError(f"no {points} points")


class Free(Toy):
    """May be passed on."""

    redistributable = True


class Registry:
    """A registry of one data set, and the plugin that it has of it."""

    def __init__(self, dataset: type[Dataset]) -> None:
        self.dataset = dataset

    def names(self) -> list[str]:
        return ["toy"]

    def load(self, name: str) -> type[Dataset]:
        assert name == "toy"
        return self.dataset

    def __contains__(self, name: str) -> bool:
        return name == "toy"

    def get(self, name: str) -> Registry:
        assert name == "toy"
        return self

    def literal(self, attribute: str) -> object:
        return getattr(self.dataset, attribute)
