"""Heat maps: rows and columns of numbers on grounds that say how large they are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from pcbench.common.text import one_line
from pcbench.report.placing import LETTER

LEFT, ACROSS, ROW = 150, 54, 26
"""Pixels: of the rows' labels at most, of a column, of a row."""
WORDS = 18
"""A column's label has so many letters at most."""
SLANT = math.radians(40)
"""How far the labels of columns are turned; the template turns them."""
STEPS = 9
"""Grounds from the least to the largest value, or to either side of 0."""


@dataclass(frozen=True)
class HeatValue:
    """A number of a heat map."""

    value: float | None
    """The number; None where nothing was measured."""
    text: str
    """How it is written."""
    title: str
    """Words that a pointer over it shows."""


@dataclass(frozen=True)
class HeatRow:
    """A row of a heat map."""

    label: str
    """What it is of."""
    page: str
    """The page within the site that it leads to; empty for none."""
    values: tuple[HeatValue, ...]
    """One a column."""


@dataclass(frozen=True)
class Heat:
    """A heat map."""

    name: str
    """Its id, its own on a page."""
    title: str
    """What it shows."""
    description: str
    """How to read it."""
    columns: tuple[str, ...]
    """What the columns are of."""
    rows: tuple[HeatRow, ...]
    """The rows."""
    diverging: bool
    """Whether values are differences, so that the ground is none at 0 and has two colours."""
    kind: Literal["heat"] = "heat"
    """Which template draws it."""

    @property
    def marks(self) -> int:
        """The number of values."""
        return len(self.rows) * len(self.columns)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, in pixels."""
        last = LETTER * len(self.heads[-1]) if self.heads else 0.0
        beyond = max(6, math.ceil(20 + math.cos(SLANT) * last) - ACROSS + 6)  # of the last column's label
        return self.left + ACROSS * len(self.columns) + beyond, self.above + ROW * len(self.rows) + 6

    @property
    def left(self) -> int:
        """The room of the rows' labels, in pixels."""
        return min(LEFT, math.ceil(14 + LETTER * max((len(row.label) for row in self.rows), default=0)))

    @property
    def above(self) -> int:
        """The room of the columns' labels, in pixels."""
        return math.ceil(20 + math.sin(SLANT) * LETTER * max(map(len, self.heads), default=0))

    @property
    def heads(self) -> tuple[str, ...]:
        """The words of the columns, cut to their room."""
        return tuple(one_line(words, WORDS) for words in self.columns)

    def label(self, words: str) -> str:
        """The words of a row, cut to their room."""
        return one_line(words, int((LEFT - 14) / LETTER))

    def corner(self, row: int, column: int) -> tuple[int, int]:
        """Left and top of a value, in pixels."""
        return self.left + ACROSS * column, self.above + ROW * row

    def ground(self, value: float | None) -> str:
        """The class of the ground of a value: `shade-0` to `shade-9`, or `less-4` to `less-1`, `more-1` …"""
        if value is None:
            return "shade-none"
        low, high = self._range
        if not self.diverging:
            return f"shade-{round(STEPS * (value - low) / (high - low))}" if high > low else "shade-4"
        most = max(-low, high) or 1.0
        step = min(4, round(4 * abs(value) / most))
        return "shade-none" if step == 0 else f"{'more' if value > 0 else 'less'}-{step}"

    @property
    def _range(self) -> tuple[float, float]:
        values = [each.value for row in self.rows for each in row.values if each.value is not None]
        return min(values, default=0.0), max(values, default=0.0)
