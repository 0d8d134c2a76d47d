"""Dots with intervals, a row a method: laid out for a wide screen and for a narrow one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pcbench.common.text import one_line
from pcbench.report.placing import LETTER
from pcbench.report.svg import Tick, linear_ticks, pixel, short_number

ROW, ABOVE, BELOW = 25, 40, 40
"""Heights in pixels: of a row, of the lines of words above the first, of the axis below the last."""


@dataclass(frozen=True)
class Dot:
    """A method's row, in percent."""

    label: str
    """What it is called."""
    page: str
    """The page within the site that it leads to."""
    mean: float
    """The mean."""
    low: float | None
    """The lower end of its interval, None where it has none."""
    high: float | None
    """The upper end of its interval, None where it has none."""
    text: str
    """The mean, as it is written."""
    title: str
    """Words that a pointer over it shows."""
    tier: int | None = None
    """Rows of one tier cannot be told from its best; None of a row that is not ranked."""
    reported: tuple[tuple[float, str], ...] = ()
    """What papers report of it: the figure, and who reports it."""


@dataclass(frozen=True)
class Line:
    """A line across all rows that they are compared with, in percent."""

    label: str
    """What it is."""
    at: float
    """Where it is."""


@dataclass(frozen=True)
class DotPlace:
    """A row on the page."""

    dot: Dot
    """The row."""
    label: str
    """What it is called, cut to its room."""
    y: float
    """Its middle, in pixels from the top."""
    x: float
    """The mean, in pixels from the left."""
    low: float
    """The lower end of its interval; the mean where it has none."""
    high: float
    """The upper end of its interval; the mean where it has none."""
    reported: tuple[tuple[float, str], ...]
    """What papers report: where, and the words of it."""


@dataclass(frozen=True)
class Band:
    """The rows of one tier."""

    top: float
    """The upper edge, in pixels."""
    height: float
    """The height, in pixels."""
    label: str
    """`tier 1`, or `not ranked`."""
    odd: bool
    """Whether it has the ground of every second one."""


@dataclass(frozen=True)
class LinePlace:
    """A line across all rows on the page."""

    x: float
    """Where it is, in pixels from the left."""
    top: float
    """Where its words stand, in pixels from the top."""
    label: str
    """Its words."""
    anchor: Literal["start", "end"]
    """On which side of the line the words stand."""


@dataclass(frozen=True)
class DotsLayout:
    """The chart at one size, in pixels."""

    width: int
    """Width of the picture."""
    height: int
    """Height of the picture."""
    left: int
    """The left edge of the field."""
    right: int
    """The right edge of the field."""
    ticks: tuple[Tick, ...]
    """The marks of the axis."""
    rows: tuple[DotPlace, ...]
    """The rows."""
    bands: tuple[Band, ...]
    """Their tiers."""
    lines: tuple[LinePlace, ...]
    """What they are compared with."""

    @property
    def bottom(self) -> int:
        """The lower edge of the field."""
        return self.height - BELOW

    @property
    def top(self) -> int:
        """The upper edge of the field."""
        return ABOVE


@dataclass(frozen=True)
class Dots:
    """A finished chart."""

    name: str
    """Its id, its own on a page."""
    title: str
    """What it shows."""
    description: str
    """How to read it."""
    x_label: str
    """What the axis measures."""
    wide: DotsLayout
    """The chart for wide screens."""
    narrow: DotsLayout
    """The chart for telephones."""
    reported: str
    """What the figures of papers are worth beside ours; empty where it shows none."""
    kind: Literal["dots"] = "dots"
    """Which template draws it."""

    @property
    def marks(self) -> int:
        """The number of rows."""
        return len(self.wide.rows)


def dots(
    name: str,
    title: str,
    description: str,
    x_label: str,
    rows: Sequence[Dot],
    lines: Sequence[Line],
    reported: str = "",
) -> Dots:
    """The chart of rows in their order; rows of one tier stand together."""
    wide = _layout(rows, lines, width=680, left=176, right=568, ticks=6)
    narrow = _layout(rows, lines, width=340, left=104, right=230, ticks=4)
    return Dots(name, title, description, x_label, wide, narrow, reported)


def _layout(
    rows: Sequence[Dot], lines: Sequence[Line], width: int, left: int, right: int, ticks: int
) -> DotsLayout:
    values = [end for row in rows for end in (row.mean, row.low, row.high) if end is not None]
    values += [value for row in rows for value, _ in row.reported] + [line.at for line in lines]
    marks = linear_ticks(max(0.0, min(values)), min(100.0, max(values)), ticks)
    first, last = marks[0], marks[-1]

    def along(value: float) -> float:
        inside = min(max(value, first), last)
        return pixel(left + (inside - first) / (last - first) * (right - left))

    room = int((left - 12) / LETTER)
    placed = tuple(
        DotPlace(
            dot=row,
            label=one_line(row.label, room),
            y=ABOVE + ROW * (number + 0.5),
            x=along(row.mean),
            low=along(row.mean if row.low is None else row.low),
            high=along(row.mean if row.high is None else row.high),
            reported=tuple((along(value), words) for value, words in row.reported),
        )
        for number, row in enumerate(rows)
    )
    return DotsLayout(
        width=width,
        height=ABOVE + ROW * len(rows) + BELOW,
        left=left,
        right=right,
        ticks=tuple(Tick(along(at), short_number(at)) for at in marks),
        rows=placed,
        bands=tuple(_bands(rows)),
        lines=tuple(
            LinePlace(
                x=along(line.at),
                top=14 + 15 * number,
                label=line.label,
                anchor="end" if along(line.at) > (left + right) / 2 else "start",
            )
            for number, line in enumerate(lines)
        ),
    )


def _bands(rows: Sequence[Dot]) -> list[Band]:
    starts = [place for place, row in enumerate(rows) if place == 0 or row.tier != rows[place - 1].tier]
    return [
        Band(
            top=ABOVE + ROW * start,
            height=ROW * (end - start),
            label="not ranked" if rows[start].tier is None else f"tier {rows[start].tier}",
            odd=number % 2 == 0,
        )
        for number, (start, end) in enumerate(zip(starts, [*starts[1:], len(rows)], strict=True))
    ]
