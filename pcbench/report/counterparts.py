"""The counterparts of papers' figures: what was measured for the cells of each, and whether they agree."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pcbench.common.grouping import grouped
from pcbench.report.cells import Place
from pcbench.report.papers import Reported
from pcbench.stats import Interval, hierarchical_interval, mean_interval, printed_difference

PAPERS_PROTOCOL, PAPERS_DRAW, PAPERS_SAMPLING = "paper", "authors", "farthest"
"""What the papers' figures were made by: their protocol, the one draw of their code, and how the points of a
cloud were taken from the dense ones."""


@dataclass(frozen=True)
class Ours:
    """What was measured in one place."""

    scores: Sequence[Sequence[float]]
    """Overall accuracy in percent of every distillation's students."""
    hours: float | None
    """The mean clock of the distillations; None where all machines were busy."""
    pages: Sequence[str]
    """The names of the runs' pages."""
    status: str
    """What the scores are worth, as `run here`."""
    status_by: str = ""
    """Who made them, when, on what."""
    resolution: float = 0.0
    """What one test cloud is worth, in points of accuracy."""


@dataclass(frozen=True)
class MeasuredRow:
    """A method as it was run here, with one student network under one protocol."""

    method: str
    """Its name."""
    params: Mapping[str, Any]
    """All parameters in effect."""
    variation: Collection[str]
    """The names of the parameters that differ from their defaults."""
    network: str
    """`name:preset` of the network that it was distilled with."""
    student: str
    """`name:preset` of the students' network."""
    cells: Mapping[Place, Ours]
    """What was measured, by data set, copy and PPC."""
    protocol: str
    """The protocol's label."""
    draw: str
    """Which training clouds it started from, by the name of the draw."""
    versions: tuple[str, ...] = ()
    """What tells it from another row that reads the same, in words; empty where there is none."""

    def unlike(self, places: Iterable[Place]) -> tuple[str, ...]:
        """Why its figures in some places are no counterparts of a paper's: `protocol lite`, `draw nested`,
        `sampling first`; nothing where they are. The whole training split is drawn from nothing."""
        there = list(places)
        drawn = any(not place.whole for place in there)
        samplings = sorted({place.sampling for place in there} - {PAPERS_SAMPLING})
        return (
            *([f"protocol {self.protocol}"] if self.protocol != PAPERS_PROTOCOL else []),
            *([f"draw {self.draw}"] if drawn and self.draw != PAPERS_DRAW else []),
            *([f"sampling {', '.join(samplings)}"] if samplings else []),
        )

    def choices(self, figure: Reported) -> Iterator[tuple[Place, ...]]:
        """The places that a figure is the mean of, once for every choice of copies of its data sets.

        A figure's mean is of one copy of each data set, the same at all PPC. No choice where one is missing.
        """
        copies = grouped(self.cells, lambda place: (place.name, place.data))
        complete: list[list[tuple[Place, ...]]] = []
        for name in figure.data:
            of_name = [places for (called, _), places in copies.items() if called == name]
            by_ppc = [{place.ppc: place for place in places} for places in of_name]
            complete.append(
                [tuple(each[ppc] for ppc in figure.ppc) for each in by_ppc if set(figure.ppc) <= each.keys()]
            )
        for choice in itertools.product(*complete):
            yield tuple(itertools.chain.from_iterable(choice))


@dataclass(frozen=True)
class Beside:
    """A reported figure and ours."""

    reported: Reported
    """The figure."""
    measured: MeasuredRow
    """The row here that it stands beside."""
    places: tuple[Place, ...]
    """The places of that row that ours is the mean of, one copy of each data set."""
    ours: Interval
    """The mean over the places, in the figure's unit."""
    difference: Interval | None
    """Ours minus theirs with the joint interval (stats.printed_difference); None for hours, since times of
    other hardware are not compared."""
    inside: bool | None
    """Whether the joint interval holds 0, None where there is none, or nothing that could be compared."""
    unlike: tuple[str, ...]
    """Why ours is not comparable, a reason each; none where it is."""
    rule: Literal["", "distillations", "students", "students, none reported"]
    """What the joint interval is made over, empty where there is none."""

    @property
    def pages(self) -> list[str]:
        """The runs that ours is of."""
        return [page for place in self.places for page in self.measured.cells[place].pages]


def beside(figures: Iterable[Reported], rows: Sequence[MeasuredRow]) -> list[Beside]:
    """Every figure with each row of the same kind that has all of its cells, in the order of the figures.

    Where a row has several copies of a data set, the figure stands beside each of them, never beside a mean.
    Of the same kind: distilled with `pointnet:paper`, students in the preset `paper`, the parameters that the
    paper's table names as they are there, and no other that differs from its default, but for the values that
    its appendix states. Whether protocol, draw and sampling are the papers' too, each says.
    """
    return [
        _beside(figure, row, places)
        for figure in figures
        for row in rows
        if _same(figure, row)
        for places in row.choices(figure)
        if figure.metric != "hours" or all(row.cells[place].hours is not None for place in places)
    ]


def _same(figure: Reported, row: MeasuredRow) -> bool:
    return (
        figure.method == row.method
        and row.student == f"{figure.backbone}:paper"
        and row.network == "pointnet:paper"
        and all(key in figure.variation or _is(row, key, figure.stated) for key in row.variation)
        and all(_is(row, key, figure.variation) for key in figure.variation)
    )


def _is(row: MeasuredRow, key: str, values: Mapping[str, Any]) -> bool:
    """Whether a parameter of a row is that of a paper."""
    return key in values and key in row.params and row.params[key] == values[key]


def _beside(figure: Reported, row: MeasuredRow, places: tuple[Place, ...]) -> Beside:
    cells, unlike = [row.cells[place] for place in places], row.unlike(places)
    if figure.metric == "hours":
        clock = Interval(statistics.fmean(cell.hours or 0.0 for cell in cells), None, None, None, 1)
        return Beside(figure, row, places, clock, None, None, unlike, "")
    parts = [hierarchical_interval(cell.scores) for cell in cells]
    coarsest = max(cell.resolution for cell in cells)
    difference = printed_difference(
        parts, figure.value, figure.std, figure.students or 1, resolution=coarsest
    )
    if unlike or difference.low is None or difference.high is None:
        return Beside(figure, row, places, mean_interval(parts), difference, None, unlike, "")
    several = any(part.covers == "distillation" for part in parts)
    single: Literal["students", "students, none reported"] = (
        "students, none reported" if figure.std is None else "students"
    )
    inside = difference.low <= 0 <= difference.high
    rule = "distillations" if several else single
    return Beside(figure, row, places, mean_interval(parts), difference, inside, unlike, rule)
