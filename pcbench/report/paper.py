"""Papers against here: every reported figure with what was measured for its cells, and whether they agree."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pcbench.report.papers import Reported
from pcbench.stats import Interval, hierarchical_interval, mean_interval, printed_difference


@dataclass(frozen=True)
class Ours:
    """One data set and PPC: percents of every distillation's students, the mean clock, the runs' pages."""

    scores: Sequence[Sequence[float]]
    hours: float
    pages: Sequence[str]


@dataclass(frozen=True)
class Measured:
    """A method as it was run here, with one student network under one protocol.

    params: all in effect; variation: the names of those that differ from the defaults. network: `name:preset`
    of the distillation; student: of the students. cells: by data set and PPC, 0 for the whole split.
    """

    method: str
    params: Mapping[str, Any]
    variation: Collection[str]
    network: str
    student: str
    cells: Mapping[tuple[str, int], Ours]


@dataclass(frozen=True)
class Beside:
    """A reported figure and ours. ours: in the figure's unit, the mean over its cells.

    difference: ours minus theirs with the joint interval (stats.printed_difference); None for hours, since
    times of other hardware are not compared. inside: whether the interval holds 0, None where there is none.
    rule: of what the interval is made, empty where there is none.
    """

    reported: Reported
    measured: Measured
    ours: Interval
    difference: Interval | None
    inside: bool | None
    rule: Literal["", "distillations", "students", "students, none reported"]

    @property
    def pages(self) -> list[str]:
        """The runs that ours is of."""
        return [page for cell in cells_of(self.reported) for page in self.measured.cells[cell].pages]


def beside(figures: Iterable[Reported], rows: Sequence[Measured]) -> list[Beside]:
    """Every figure with each row of the same kind that has all of its cells, in the order of the figures.

    Of the same kind: distilled with `pointnet:paper`, students in the preset `paper`, the parameters that the
    paper names as they are there, and no other that differs from its default. The rows' protocol is for the
    caller to choose and to say.
    """
    return [
        _beside(figure, row)
        for figure in figures
        for row in rows
        if _same(figure, row) and all(cell in row.cells for cell in cells_of(figure))
    ]


def cells_of(figure: Reported) -> list[tuple[str, int]]:
    """The data sets and PPCs that a figure is the mean of."""
    return [(data, ppc) for data in figure.data for ppc in figure.ppc]


def _same(figure: Reported, row: Measured) -> bool:
    return (
        figure.method == row.method
        and row.student == f"{figure.backbone}:paper"
        and row.network == "pointnet:paper"
        and set(row.variation) <= figure.variation.keys()
        and all(key in row.params and row.params[key] == value for key, value in figure.variation.items())
    )


def _beside(figure: Reported, row: Measured) -> Beside:
    cells = [row.cells[cell] for cell in cells_of(figure)]
    if figure.metric == "hours":
        clock = Interval(sum(cell.hours for cell in cells) / len(cells), None, None, None, 1)
        return Beside(figure, row, clock, None, None, "")
    parts = [hierarchical_interval(cell.scores) for cell in cells]
    difference = printed_difference(parts, figure.value, figure.std, figure.students or 1)
    if difference.low is None or difference.high is None:
        return Beside(figure, row, mean_interval(parts), difference, None, "")
    several = any(part.covers == "distillation" for part in parts)
    single: Literal["students", "students, none reported"] = (
        "students, none reported" if figure.std is None else "students"
    )
    inside = difference.low <= 0 <= difference.high
    return Beside(
        figure, row, mean_interval(parts), difference, inside, "distillations" if several else single
    )
