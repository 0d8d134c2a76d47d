"""The three kinds of plugins: their contracts in `pcbench.api`, their words for people, their names."""

from __future__ import annotations

import re
from typing import Literal

Kind = Literal["method", "backbone", "dataset"]

CONTRACTS: dict[Kind, str] = {"method": "Method", "backbone": "Backbone", "dataset": "Dataset"}
"""The class of `pcbench.api` that a plugin of each kind derives from."""

LABELS: dict[Kind, str] = {"method": "method", "backbone": "backbone", "dataset": "data set"}
"""How messages call a plugin of each kind."""

_WORD = r"[A-Za-z0-9][A-Za-z0-9_.+-]*"
NAMES: dict[Kind, re.Pattern[str]] = {
    "method": re.compile(_WORD),
    "backbone": re.compile(_WORD),
    "dataset": re.compile(rf"{_WORD}(:{_WORD})?"),
}
"""What a plugin may be called. A data set's variant may follow its name, as in `scanobjectnn:obj_bg`."""


def split_backbone(spec: str) -> tuple[str, str | None]:
    """A backbone and its preset from "pointnet:canonical"; the preset is None where the text names none."""
    name, colon, preset = spec.partition(":")
    return name, preset if colon else None
