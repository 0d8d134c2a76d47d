"""The compare pages: the methods of one page of the board against one another, pair by pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pcbench.report import by_cloud, charts
from pcbench.report.answers import Answers
from pcbench.report.cells import BoardRow
from pcbench.report.compared import differences
from pcbench.report.front import Choice, Control, Front, Strip
from pcbench.report.tables import MISSING, Block, Head, Heading, Line, Table
from pcbench.report.values import difference, scored

MOST = 12
"""So many methods are compared with one another, the best ones."""


@dataclass(frozen=True)
class ComparePage:
    """What a compare page shows."""

    choice: Choice
    """What it is of."""
    page: str
    """Its page within the site."""
    controls: tuple[Control, ...]
    """The links to the others."""
    pairs: Block
    """Every method against every other one."""
    by_cloud: Block | None
    """The same on the same test clouds; None where no two methods have kept their students' answers."""
    strip: Strip
    """Clouds of one class, method beside method."""
    charts: tuple[Block, ...]
    """Snapshots and classes of the same methods."""


def compare_page(front: Front, answers: Answers) -> ComparePage:
    """The compare page beside a page of the board."""
    shown, choice = front.shown, front.choice
    lines = shown.lines[:MOST]
    return ComparePage(
        choice=choice,
        page=choice.page.replace("board/", "compare/", 1),
        controls=front.controls,
        pairs=Block("pairs", "Paired differences", tables=(_pairs(shown, lines),), notes=NOTES),
        by_cloud=by_cloud.pairs(shown, lines, answers),
        strip=front.strip,
        charts=tuple(block for block in front.charts if block.name in ("over-iterations", "by-classes")),
    )


NOTES = (
    "Row minus column, in points of accuracy, paired by the seeds of distillation and student, with the 95 % "
    "interval; p is adjusted for all rows of the column. Colour: p below 0.05.",
)


def _pairs(shown: charts.Shown, lines: Sequence[tuple[BoardRow, Head]]) -> Table:
    place, cells = shown.place, {row.entry.digest: row.cells[shown.place] for row, _ in lines}
    against = {
        anchor: differences(
            cell, {digest: each for digest, each in cells.items() if digest != anchor}, place, shown.cut.asked
        )
        for anchor, cell in cells.items()
    }
    headings = [
        Heading("oa", "Accuracy"),
        *(Heading(f"m{number}", f"− {about.text}") for number, (_, about) in enumerate(lines, 1)),
    ]
    found = []
    for row, about in lines:
        values = [scored(row.cells[place])]
        for other, _ in lines:
            same = other is row
            values.append(MISSING if same else difference(against[other.entry.digest].get(row.entry.digest)))
        found.append(Line(about, tuple(values)))
    return Table("pairs-table", f"Paired differences on {shown.title}", tuple(headings), tuple(found))
