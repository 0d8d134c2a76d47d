"""Data sets that a user imported under names of their own, as plugins: found by the store's manifests."""

from __future__ import annotations

import importlib
import json
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pcbench.catalogue.kinds import NAMES
from pcbench.catalogue.loading import Plugin, Unusable
from pcbench.catalogue.neighbours import Sources
from pcbench.errors import PcbenchError

if TYPE_CHECKING:
    from pcbench.api import Dataset


class OwnData(Plugin["Dataset"]):
    """A data set in the store, whose code is that of `folder`; what else it is stands in its manifest."""

    def literal(self, attribute: str) -> object:
        said = {"name": self.name, "redistributable": False, **_own(Path(self.origin))}
        return said[attribute] if attribute in said else super().literal(attribute)

    def _load(self) -> type[Dataset]:
        try:
            loaded = importlib.import_module("pcbench.datasets.folder").named(self.name)
        except PcbenchError as error:
            raise Unusable(str(error)) from error
        return cast("type[Dataset]", loaded)


def own_data(root: Path, code: Path, others: Collection[str], sources: Sources) -> list[OwnData]:
    """Those in the store at `root`, sorted. code: the file of `folder`. others: names that are not theirs."""
    manifests = sorted(path for path in root.glob("*/manifest.json") if path.parent.name not in others)
    return [
        OwnData(
            "dataset",
            path.parent.name,
            "Your own, imported under this name.",
            str(path),
            code,
            class_name="Folder",
            sources=sources,
        )
        for path in manifests
        if NAMES["dataset"].fullmatch(path.parent.name) and _own(path)
    ]


def _own(manifest: Path) -> dict[str, Any]:
    """What a manifest says that the user said; empty where it is of no such data set, or cannot be read."""
    try:
        said = json.loads(manifest.read_bytes())
        return dict(said.get("own") or {})
    except (OSError, ValueError, RecursionError, AttributeError, TypeError):
        return {}
