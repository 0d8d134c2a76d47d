"""On what the rows of a table are ranked and compared: the cells and repetitions that they have in common.

Nobody's rank suffers from what others did beside: a cell that few have is shown and not counted, a repetition
that some lack is left out, and a row that lacks a cell has its rank on those that it has.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pcbench.protocols.asked import Asked
from pcbench.records.labels import bare_amount
from pcbench.report.cells import BoardRow, MeasuredCell, Place, expanded_remarks
from pcbench.report.text import DECIMALS
from pcbench.stats import Comparison, Ranks, compare_pairs, rank_intervals, tiers

DRAWS = 2000
"""Draws of the bootstrap of ranks."""


@dataclass(frozen=True)
class Basis:
    """What rows are compared on."""

    repetitions: Mapping[Place, int]
    """How many repetitions of every place, from the first on."""

    @property
    def places(self) -> tuple[Place, ...]:
        """The places that count."""
        return tuple(self.repetitions)

    def scores(self, cell: MeasuredCell, place: Place) -> list[list[float]]:
        """What counts of a cell, in percent: students by repetition."""
        return cell.oa.first(self.repetitions[place], cell.students)

    def holds(self, row: BoardRow) -> bool:
        """Whether a row has all of it."""
        return all(has(row, place, repetitions) for place, repetitions in self.repetitions.items())

    def mean(self, row: BoardRow) -> float:
        """The mean over the places, all weighing the same; KeyError where a row has not all of it."""
        means = [
            statistics.fmean(map(statistics.fmean, self.scores(row.cells[place], place)))
            for place in self.places
        ]
        return statistics.fmean(means)

    @property
    def text(self) -> str:
        """`PPC 1 (repetitions 0 to 2), PPC 3, 10 (repetition 0)`; of several data sets with their names."""
        several = len({place.data for place in self.places}) > 1
        alike: dict[tuple[str, str, int], list[str]] = {}
        for place, number in self.repetitions.items():
            alike.setdefault((place.name, place.data, number), []).append(bare_amount(place.ppc))
        return ", ".join(
            f"{name + ' ' if several else ''}PPC {', '.join(ppc)} ({repetitions_text(number)})"
            for (name, _, number), ppc in alike.items()
        )


def repetitions_text(number: int) -> str:
    """`repetition 0`, `repetitions 0 to 2`."""
    return "repetition 0" if number == 1 else f"repetitions 0 to {number - 1}"


@dataclass(frozen=True)
class Ground:
    """The rows of a table in their order, and what each is compared on."""

    rows: tuple[BoardRow, ...]
    """Those that are ranked, the best first; those that lack something; those that are not ranked; and those
    of the whole training split."""
    ranked: tuple[BoardRow, ...]
    """Those that have all that is compared."""
    basis: Basis
    """What these are compared on."""
    partial: Mapping[str, tuple[Basis, tuple[BoardRow, ...]]]
    """Of rows that lack something, by digest: what they are compared on, and all rows that have that."""
    alone: Mapping[Place, tuple[Basis, tuple[BoardRow, ...]]]
    """For every place: what is compared of it, and all rows that may be ranked and have it."""

    @cached_property
    def _ranked(self) -> frozenset[str]:
        return frozenset(row.entry.digest for row in self.ranked)

    def counts(self, row: BoardRow) -> bool:
        """Whether a row is among those that have all that is compared."""
        return row.entry.digest in self._ranked

    @property
    def leader(self) -> BoardRow | None:
        """The best of those that are ranked."""
        return self.rows[0] if self.ranked else None

    def remarks(self, row: BoardRow) -> tuple[str, ...]:
        """What keeps a row from standing among the others."""
        lacks = row.entry.digest in self.partial or (self.ranked and not self.basis.holds(row))
        words = ["incomplete"] if lacks and not all(place.whole for place in row.cells) else []
        expanded = expanded_remarks([*row.cells.values()])
        return (*words, *row.chosen, *expanded, *(["not ranked"] if not rankable(row) else []))


@dataclass(frozen=True)
class Partial:
    """The rank of a row that has not all that the others are ranked on."""

    basis: Basis
    """What it has of it."""
    ranks: Ranks
    """Its rank on that, among all that have it."""
    among: int
    """The number of those rows."""


@dataclass(frozen=True)
class Standing:
    """How the rows of a table stand to one another; rows by the digest of their entry."""

    ground: Ground
    """What they are compared on."""
    ranks: Mapping[str, Ranks]
    """The ranks of those that have all that is compared."""
    tiers: Mapping[str, int]
    """Their tiers."""
    partial: Mapping[str, Partial]
    """The ranks of those that lack something."""
    by_place: Mapping[Place, Mapping[str, int]]
    """Tiers in every single place, of all rows that may be ranked and have it."""


def standing(ground: Ground) -> Standing:
    """Ranks and tiers of the rows of a table."""
    together = len(ground.ranked) > 1
    cells = _by_digest(ground.ranked, ground.basis)
    drawn: dict[tuple[Place, ...], dict[str, Ranks]] = {}
    partial = {}
    for digest, (basis, rows) in ground.partial.items():
        if basis.places not in drawn:
            drawn[basis.places] = rank_intervals(_by_digest(rows, basis), draws=DRAWS)
        partial[digest] = Partial(basis, drawn[basis.places][digest], len(rows))
    return Standing(
        ground=ground,
        ranks=rank_intervals(cells, draws=DRAWS) if together else {},
        tiers=tiers(cells, resolution=_resolutions(ground.ranked, ground.basis)) if together else {},
        partial=partial,
        by_place={
            place: tiers(_by_digest(rows, basis), resolution=_resolutions(rows, basis))
            for place, (basis, rows) in ground.alone.items()
            if len(rows) > 1
        },
    )


def grounded(rows: Iterable[BoardRow], places: Sequence[Place], asked: Asked) -> Ground:
    """What rows are compared on in some places; two copies of a data set are two places, and each counts."""
    there = [row for row in rows if any(place in row.cells for place in places)]
    compared = [place for place in places if not place.whole]
    may = [row for row in there if rankable(row)]
    counted = core([row for row in may if any(place in row.cells for place in compared)], compared, asked)
    ranked = [row for row in may if counted and all(has(row, place) for place in counted)]
    names = {row.entry.digest for row in ranked}
    basis = _basis(ranked, counted, asked)
    shared: dict[tuple[Place, ...], tuple[Basis, tuple[BoardRow, ...]]] = {}
    partial = {}
    for row in may:
        own = tuple(place for place in compared if has(row, place))
        if row.entry.digest in names or not own:
            continue
        if own not in shared:
            those, others = _shared(own, may, counted)
            shared[own] = _basis(others, those, asked), tuple(others)
        if shared[own][1]:
            partial[row.entry.digest] = shared[own]

    def order(row: BoardRow) -> tuple[Any, ...]:
        digest = row.entry.digest
        on = basis if digest in names else partial[digest][0] if digest in partial else None
        whole = not any(place in row.cells for place in compared)
        group = 3 if whole else 2 if on is None else 0 if digest in names else 1
        places = [place.order for place in on.places] if on and group else []
        return group, places, -on.mean(row) if on else 0.0, row.entry.method, row.entry.variation, digest

    by_place = {place: tuple(row for row in may if has(row, place)) for place in places}
    return Ground(
        rows=tuple(sorted(there, key=order)),
        ranked=tuple(ranked),
        basis=basis,
        partial=partial,
        alone={
            place: (_basis(having, [place], asked), having) for place, having in by_place.items() if having
        },
    )


def rankable(row: BoardRow) -> bool:
    """Whether a row may have a rank: nobody chose its parameters, and nobody found other scores."""
    return not row.entry.chosen and row.status.state != "refuted"


def has(row: BoardRow, place: Place, repetitions: int = 1) -> bool:
    """Whether a row has the first repetitions of a place, each with the first students."""
    return place in row.cells and row.cells[place].repetitions >= repetitions


def core(rows: Sequence[BoardRow], places: Sequence[Place], asked: Asked) -> list[Place]:
    """The places that rows are ranked on: the PPC that the protocol asks for, if more than half have them.

    Where none of these is had by so many, all places may count.
    """
    wanted = [place for place in places if place.ppc in asked.ppc]
    return _had_by_most(rows, wanted) or _had_by_most(rows, places)


def _had_by_most(rows: Sequence[BoardRow], places: Sequence[Place]) -> list[Place]:
    """One place after the other, those that most methods have first, as long as more than half of the
    methods, and two rows where there are two, have all of them. A method counts once, whatever its rows."""
    methods = len({row.entry.method for row in rows})

    def share(those: Sequence[Place]) -> tuple[int, int]:
        having = [row for row in rows if all(has(row, place) for place in those)]
        return len({row.entry.method for row in having}), len(having)

    counted: list[Place] = []
    for place in sorted(places, key=lambda place: (*(-n for n in share([place])), place.order)):
        having, lines = share([*counted, place])
        if 2 * having > methods and lines >= min(2, len(rows)):
            counted.append(place)
    return sorted(counted, key=lambda place: place.order)


def _basis(rows: Sequence[BoardRow], places: Iterable[Place], asked: Asked) -> Basis:
    """The repetitions of some places that all rows have, and the protocol counts."""
    return Basis(
        {
            place: min([asked.repetitions(place.ppc), *(row.cells[place].repetitions for row in rows)])
            for place in places
        }
    )


def _shared(
    own: Sequence[Place], rows: Sequence[BoardRow], counted: Sequence[Place]
) -> tuple[list[Place], list[BoardRow]]:
    """Of the places that a row has those that count or, if none, all, as far as another row has them too; and
    all rows that have these."""
    common = [place for place in own if sum(has(other, place) for other in rows) > 1]
    having = [place for place in common if place in counted] or common
    for those in (having, *([place] for place in having)):
        others = [other for other in rows if all(has(other, place) for place in those)]
        if those and len(others) > 1:
            return those, others
    return [], []


def _by_digest(rows: Sequence[BoardRow], basis: Basis) -> dict[str, dict[str, list[list[float]]]]:
    """The scores that count, by place and row, as the statistics take them."""
    return {
        place.key: {row.entry.digest: basis.scores(row.cells[place], place) for row in rows}
        for place in basis.places
    }


def _resolutions(rows: Sequence[BoardRow], basis: Basis) -> dict[str, float]:
    return {place.key: rows[0].cells[place].resolution for place in basis.places}


def leading(means: Mapping[str, float]) -> frozenset[str]:
    """Those whose mean is printed like the best one; none where there is nothing to be better than."""
    printed = {name: round(mean, DECIMALS) for name, mean in means.items()}
    best = max(printed.values(), default=0.0)
    return (
        frozenset(name for name, mean in printed.items() if mean == best) if len(printed) > 1 else frozenset()
    )


def differences(
    anchor: MeasuredCell | None, others: Mapping[str, MeasuredCell], place: Place, asked: Asked
) -> dict[str, tuple[Comparison, int]]:
    """Every cell against the anchor's, paired by the seeds of distillation and student, with the repetitions
    that both have: the first ones, as many as the protocol counts.

    p is adjusted for those that were compared.
    """
    if anchor is None:
        return {}
    common = {
        name: min(asked.repetitions(place.ppc), anchor.repetitions, cell.repetitions)
        for name, cell in others.items()
    }
    pairs = {
        name: (anchor.oa.first(number, anchor.students), others[name].oa.first(number, anchor.students))
        for name, number in common.items()
        if number
    }
    found = compare_pairs(pairs, resolution=anchor.resolution)
    return {name: (comparison, common[name]) for name, comparison in found.items()}


def by_draw(rows: Sequence[BoardRow], usual: str) -> Iterator[tuple[str, list[BoardRow]]]:
    """Rows by the draw that their first clouds are of, the usual one first: two draws share no repetition.

    Rows of the whole training split, which nothing is drawn from, stand with every draw.
    """
    whole = [row for row in rows if all(place.whole for place in row.cells)]
    drawn = [row for row in rows if not all(place.whole for place in row.cells)]
    draws = sorted({row.entry.draw for row in drawn}, key=lambda draw: (draw != usual, draw))
    if not draws:
        yield usual, whole
    for draw in draws:
        yield draw, [row for row in drawn if row.entry.draw == draw] + whole
