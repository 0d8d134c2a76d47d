"""Tables as templates show them: headings, lines of values, notes; and the blocks that pages are made of."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from pcbench.report.svg import Plot

CELLS_A_PAGE = 2000
"""A page of tables ends where the next block would bring more values than this: some 350 kB."""


@dataclass(frozen=True)
class Link:
    """A link within the site: a page without its ending, as in `runs/3f9c0a12be`, and its words."""

    page: str
    text: str = ""


@dataclass(frozen=True)
class Heading:
    """A column's head. key: its name in exports. anchor: of the comparison that it shows, or empty.

    brief: the Markdown table has the column, too.
    """

    key: str
    title: str
    kind: Literal["text", "number"] = "number"
    note: str = ""
    anchor: str = ""
    anchor_label: str = ""
    brief: bool = False


@dataclass(frozen=True)
class Value:
    """One cell: what is read, what sorts and is exported (None: not measured), small print, links."""

    text: str
    value: float | str | None = None
    note: str = ""
    link: Link | None = None
    more: tuple[Link, ...] = ()
    badge: str = ""
    best: bool = False
    std: float | None = None
    look: Literal["", "tier", "up", "down", "meter"] = ""

    @property
    def data(self) -> str:
        """The value as it is exported: numbers with six digits."""
        return (
            "" if self.value is None else self.value if isinstance(self.value, str) else exported(self.value)
        )

    @property
    def spread(self) -> str:
        """The standard deviation as it is exported, or nothing."""
        return "" if self.std is None else exported(self.std)


def exported(value: float) -> str:
    """Six digits."""
    return format(value, ".6g")


MISSING = Value("–")


@dataclass(frozen=True)
class Head:
    """The head of a line: a method, how it differs from its defaults, and remarks."""

    name: str
    page: str
    variation: tuple[tuple[str, str], ...] = ()
    remarks: tuple[str, ...] = ()
    number: int | None = None

    @property
    def text(self) -> str:
        """All of it in one line."""
        changed = ", ".join(f"{key}={value}" for key, value in self.variation)
        words = f"{self.name} ({changed})" if changed else self.name
        return ", ".join([words, *self.remarks])


@dataclass(frozen=True)
class Line:
    """One row of values. last: it stays below the others, however they are sorted."""

    head: Head
    values: tuple[Value, ...]
    last: bool = False


@dataclass(frozen=True)
class Table:
    """A table with a name that is its own on a page."""

    name: str
    caption: str
    headings: tuple[Heading, ...]
    lines: tuple[Line, ...]
    first: str = "Method"

    @property
    def cells(self) -> int:
        return len(self.lines) * len(self.headings)


@dataclass(frozen=True)
class Block:
    """A part of a page with its own heading: words, plots, tables and notes below them."""

    name: str
    title: str
    text: str = ""
    tables: tuple[Table, ...] = ()
    plots: tuple[Plot, ...] = ()
    notes: tuple[str, ...] = ()
    group: str = ""

    @property
    def cells(self) -> int:
        return sum(table.cells for table in self.tables) + sum(plot.marks for plot in self.plots)


@dataclass(frozen=True)
class Part:
    """The blocks of one page; a set of tables may need several. page: its name."""

    page: str
    blocks: tuple[Block, ...]


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
    if block.cells <= room or not block.tables:
        yield block
        return
    width = sum(len(table.headings) for table in block.tables)
    step = max(1, room // max(width, 1))
    longest = max(len(table.lines) for table in block.tables)
    pieces = math.ceil(longest / step)
    for number in range(pieces):
        tables = tuple(
            replace(table, lines=table.lines[number * step : (number + 1) * step])
            for table in block.tables
            if len(table.lines) > number * step
        )
        title = f"{block.title}, part {number + 1} of {pieces}"
        name = block.name if number == 0 else f"{block.name}-{number + 1}"
        plots = block.plots if number == 0 else ()
        yield replace(block, name=name, title=title, tables=tables, plots=plots)
