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


def split_spec(spec: str) -> tuple[str, str | None]:
    """A name and what follows it or None: the preset of "pointnet:canonical", the setting of "sadm:paper"."""
    name, colon, preset = spec.partition(":")
    return name, preset if colon else None
