"""The built-in data sets, one file a family, and the store that keeps them on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pcbench.errors import UsageError
from pcbench.plugins import datasets


@dataclass(frozen=True)
class Listing:
    """What a list of data sets says of one; error: why its plugin cannot be used, or None."""

    name: str
    variant: str = ""
    classes: int | None = None
    train: int | None = None
    test: int | None = None
    up_axis: str = ""
    present: bool = False
    how_to_get: str = ""
    error: str | None = None


def listing(extra: Sequence[Path] = ()) -> list[Listing]:
    """All data sets by name: built-in ones, the user's and those in the folders `extra`."""
    found = []
    for plugin in datasets(extra).plugins():
        try:
            dataset = plugin.load()()
        except UsageError as error:
            found.append(Listing(plugin.name, error=str(error)))
            continue
        found.append(
            Listing(
                dataset.name,
                dataset.variant,
                dataset.classes,
                dataset.train_size,
                dataset.test_size,
                dataset.up_axis,
                dataset.present(),
                dataset.how_to_get(),
            )
        )
    return found
