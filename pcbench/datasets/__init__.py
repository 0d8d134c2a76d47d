"""The built-in data sets, one file a family, and the store that keeps them on this machine."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from pcbench.api import Dataset
from pcbench.catalogue import Registry
from pcbench.datasets.importing import Imported
from pcbench.datasets.store import Importable
from pcbench.errors import DataError, UsageError


@dataclass(frozen=True)
class Listing:
    """What a list of data sets says of one; error: why its plugin cannot be used, or None.

    Variant and sizes are those of the copy in the store, where it has one, else those of the card, None where
    that does not know them; at_most: whether it only knows that there are no more.
    """

    name: str
    variant: str = ""
    classes: int | None = None
    train: int | None = None
    test: int | None = None
    at_most: bool = False
    up_axis: str = ""
    present: bool = False
    state: Literal["present", "incomplete", "absent"] = "absent"
    how_to_get: str = ""
    error: str | None = None


def listing(datasets: Registry[Dataset]) -> list[Listing]:
    """All data sets of a catalogue by name."""
    found = []
    for plugin in datasets.plugins():
        try:
            dataset = plugin.load()()
        except UsageError as error:
            found.append(Listing(plugin.name, error=str(error)))
            continue
        found.append(_listed(dataset))
    return found


def _listed(dataset: Dataset) -> Listing:
    present = dataset.present()
    card = Listing(
        name=dataset.name,
        variant=dataset.variant,
        classes=_known(dataset.classes),
        train=_known(dataset.train_size),
        test=_known(dataset.test_size),
        at_most=isinstance(dataset, Imported) and dataset.at_most,
        up_axis=dataset.up_axis,
        present=present,
        state="present" if present else "absent",
        how_to_get=dataset.how_to_get(),
    )
    if not isinstance(dataset, Importable):
        return card
    try:
        manifest = dataset.manifest()
    except DataError as error:
        return replace(card, present=False, error=str(error))
    if manifest is None or manifest.name != dataset.name:
        incomplete = manifest is not None and not manifest.complete
        return replace(card, state="incomplete") if incomplete else card
    return replace(
        card,
        variant=manifest.variant,
        classes=len(manifest.class_names),
        at_most=False,
        train=manifest.train,
        test=manifest.test,
        state="present" if manifest.complete else "incomplete",
    )


def _known(size: int) -> int | None:
    """A number of a card, where 1 stands for one that nobody knows."""
    return None if size == 1 else size
