"""Tables as templates show them: headings, lines of values, notes; and the blocks that pages are made of."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from pcbench.report.dots import Dots
from pcbench.report.heat import Heat
from pcbench.report.svg import Plot

CELLS_A_PAGE = 2000
"""A page of tables ends where the next block would bring more values than this: some 350 kB."""


@dataclass(frozen=True, slots=True)
class Link:
    """A link within the site."""

    page: str
    """The page without its ending, as in `runs/3f9c0a12be`."""
    text: str = ""
    """The words to click; empty where the value itself is the link."""


@dataclass(frozen=True)
class Heading:
    """A column's head."""

    key: str
    """The column's name in exports, its own in a table."""
    title: str
    """What people read."""
    kind: Literal["text", "number"] = "number"
    """How the column is sorted and aligned."""
    note: str = ""
    """Small print below the title."""
    anchor: str = ""
    """What the column compares with, `random` or `leader`; empty where it compares nothing."""
    anchor_label: str = ""
    """The same for people."""
    brief: bool = False
    """Whether the Markdown table has the column, too."""


@dataclass(frozen=True, slots=True)
class Value:
    """What stands in one column of a line."""

    text: str
    """What is read."""
    value: float | str | None = None
    """What sorts and is exported; None where nothing was measured."""
    note: str = ""
    """Small print: an interval, counts."""
    link: Link | None = None
    """Where the text leads: the first of the runs that it is of."""
    more: tuple[Link, ...] = ()
    """Where the others of those runs are, by number."""
    badge: str = ""
    """A state of `pcbench.report.status`, as `claimed` or `reported`, or `busy machine`; empty for none."""
    about: str = ""
    """What the badge is by: who, when, on what."""
    best: bool = False
    """Whether it is the best of its column."""
    std: float | None = None
    """The standard deviation, for exports."""
    look: Literal["", "tier", "up", "down", "meter"] = ""
    """How it is drawn: as a tier, a gain, a loss, or with a meter of percents."""

    @property
    def data(self) -> str:
        """The value as it is exported: numbers with six digits."""
        return (
            "" if self.value is None else self.value if isinstance(self.value, str) else exported(self.value)
        )

    @property
    def bare(self) -> bool:
        """Whether it is its text and nothing else, as most values are."""
        return not (self.note or self.link or self.badge or self.best or self.look or self.more)

    @property
    def spread(self) -> str:
        """The standard deviation as it is exported, or nothing."""
        return "" if self.std is None else exported(self.std)


def exported(value: float) -> str:
    """Six digits."""
    return format(value, ".6g")


MISSING = Value("–")


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a line: mostly a method."""

    name: str
    """The method's name, or that of what else the line is of."""
    page: str
    """Its page within the site; empty for none."""
    variation: tuple[tuple[str, str], ...] = ()
    """The parameters that differ from the defaults."""
    remarks: tuple[str, ...] = ()
    """What tells the line from others, and what is wrong with it."""

    @property
    def text(self) -> str:
        """All of it in one line."""
        changed = ", ".join(f"{key}={value}" for key, value in self.variation)
        words = f"{self.name} ({changed})" if changed else self.name
        return ", ".join([words, *self.remarks])


@dataclass(frozen=True, slots=True)
class Line:
    """One row of values."""

    head: Head
    """What it is of."""
    values: tuple[Value, ...]
    """One for each heading of the table."""
    last: bool = False
    """Whether it stays below the others, however they are sorted."""

    def under(self, headings: Sequence[Heading]) -> Iterator[tuple[Heading, Value]]:
        """Its values with the headings that they stand under."""
        return zip(headings, self.values, strict=True)


@dataclass(frozen=True)
class Table:
    """A table."""

    name: str
    """Its id, its own on a page."""
    caption: str
    """What it shows, in a sentence."""
    headings: tuple[Heading, ...]
    """The columns' heads, but that of the lines' heads."""
    lines: tuple[Line, ...]
    """The rows."""
    first: str = "Method"
    """The title of the column of the lines' heads."""

    @property
    def cells(self) -> int:
        """The number of values."""
        return len(self.lines) * len(self.headings)

    @property
    def unlinked(self) -> Table:
        """The same without links, of which a page of many rows has too many: one of its tables has them."""
        lines = (
            replace(
                line,
                head=replace(line.head, page=""),
                values=tuple(replace(value, link=None, more=()) for value in line.values),
            )
            for line in self.lines
        )
        return replace(self, lines=tuple(lines))


Chart: TypeAlias = Plot | Dots | Heat
"""What a block can draw."""


@dataclass(frozen=True)
class Block:
    """A part of a page with a heading."""

    name: str
    """Its id, its own on a page."""
    title: str
    """The heading."""
    text: str = ""
    """A paragraph below the heading."""
    tables: tuple[Table, ...] = ()
    """Its tables, below the plots."""
    plots: tuple[Chart, ...] = ()
    """Its plots, below the text."""
    notes: tuple[str, ...] = ()
    """Small print below the tables."""
    group: str = ""
    """Blocks of one group that follow one another have a common heading: this."""
    folded: tuple[Table, ...] = ()
    """Tables that are folded away below the others."""
    folded_as: str = "The numbers"
    """What is pressed to see these."""

    @property
    def all_tables(self) -> tuple[Table, ...]:
        """Its tables, and those that are folded away."""
        return *self.tables, *self.folded

    @property
    def cells(self) -> int:
        """The number of values and of marks, which make a page long."""
        return sum(table.cells for table in self.all_tables) + sum(plot.marks for plot in self.plots)


@dataclass(frozen=True)
class Part:
    """One of the pages that a set of blocks needs."""

    page: str
    """The page within the site."""
    blocks: tuple[Block, ...]
    """Its blocks."""


def paginated(page: str, blocks: Iterable[Block], room: int = CELLS_A_PAGE) -> list[Part]:
    """The blocks on as few pages as hold them in their order: `page`, `page-2`, `page-3`, …"""
    parts: list[list[Block]] = [[]]
    used = 0
    for block in (piece for whole in blocks for piece in split(whole, room)):
        if parts[-1] and used + block.cells > room:
            parts.append([])
            used = 0
        parts[-1].append(block)
        used += block.cells
    return [
        Part(page if number == 1 else f"{page}-{number}", tuple(part)) for number, part in enumerate(parts, 1)
    ]


def split(block: Block, room: int) -> Iterator[Block]:
    """The block itself where it fits, or its lines in pieces that do; plots stay with the first piece."""
    if block.cells <= room or not block.all_tables:
        yield block
        return
    width = sum(len(table.headings) for table in block.all_tables)
    step = max(1, room // max(width, 1))
    longest = max(len(table.lines) for table in block.all_tables)
    pieces = math.ceil(longest / step)
    for number in range(pieces):
        tables, folded = (
            tuple(
                replace(table, lines=table.lines[number * step : (number + 1) * step])
                for table in those
                if len(table.lines) > number * step
            )
            for those in (block.tables, block.folded)
        )
        title = f"{block.title}, part {number + 1} of {pieces}"
        name = block.name if number == 0 else f"{block.name}-{number + 1}"
        plots = block.plots if number == 0 else ()
        yield replace(block, name=name, title=title, tables=tables, folded=folded, plots=plots)
