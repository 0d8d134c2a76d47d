"""Rows of the board that somebody names, against the first of them: the site's comparison, cell by cell."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pcbench.errors import DataError, UsageError, did_you_mean
from pcbench.protocols.asked import asked
from pcbench.records.labels import amount
from pcbench.report.cells import Board, BoardRow, BoardSection, MeasuredCell, Place
from pcbench.report.compared import differences
from pcbench.stats import Comparison


@dataclass(frozen=True)
class Side:
    """What somebody names: a method with its parameters, or the row that a run is of."""

    text: str
    """As it was named."""
    entries: frozenset[str]
    """The digests of the rows' entries."""
    page: str = ""
    """The page of the run whose cell is meant; empty where all cells are."""

    def has(self, row: BoardRow, place: Place) -> bool:
        """Whether it has a cell there."""
        return (
            row.entry.digest in self.entries
            and place in row.cells
            and (not self.page or self.page in row.cells[place].pages)
        )


@dataclass(frozen=True)
class Pair:
    """One row against the first one, in one cell."""

    section: BoardSection
    """Protocol, student, test and division."""
    place: Place
    """Data set and PPC."""
    draw: str
    """The draw of the first clouds."""
    anchor: BoardRow
    """The row that was named first."""
    row: BoardRow
    """The other."""
    name: str
    """How the other was named."""
    comparison: Comparison = field(repr=False)
    """The paired difference, the other minus the first."""
    repetitions: int
    """How many repetitions both have, and are compared."""

    @property
    def cells(self) -> tuple[MeasuredCell, MeasuredCell]:
        """The first one's, and the other's."""
        return self.anchor.cells[self.place], self.row.cells[self.place]


def side(board: Board, text: str, runs: Mapping[str, str]) -> Side:
    """What a text names on the board. runs: the page of a run by the name of its folder.

    `sadm` is the method with its defaults, or what there is of it where that is one row; `sadm lr=5` the
    method with that parameter, as lists print it; the name of a run is the row of which the run is, in the
    run's cell. UsageError for a name of nothing, or of several; DataError for a run that cannot be compared.
    """
    rows = [row for section in board.sections for row in section.rows]
    if text in runs:
        return _of_run(board, text, runs[text])
    titles = {row.entry.title for row in rows}
    wanted = [row for row in rows if _words(row.entry.title) == _words(text)]
    if not wanted:
        variations = sorted({row.entry.title for row in rows if row.entry.method == text})
        if len(variations) > 1:
            raise UsageError(
                f"{text} was run with several parameters: name one of {', '.join(map(repr, variations))}"
            )
        wanted = [row for row in rows if row.entry.title in variations]
    if not wanted:
        reason = next((why for name, why in _set_apart(board) if name == text), "")
        if reason:
            raise DataError(f"{text} cannot be compared: {reason}")
        raise UsageError(f"no method and no run is called {text!r}. {did_you_mean(text, {*titles, *runs})}")
    return Side(text, frozenset(row.entry.digest for row in wanted))


def _words(title: str) -> set[str]:
    """The words of a title, in any order; `lr=5` is `lr=5.0`."""
    return set(map(_settled, title.split()))


def _settled(word: str) -> str:
    name, equals, value = word.partition("=")
    try:
        return f"{name}{equals}{float(value)}"
    except ValueError:
        return word


def _of_run(board: Board, text: str, page: str) -> Side:
    entries = {
        row.entry.digest
        for section in board.sections
        for row in section.rows
        for cell in row.cells.values()
        if page in cell.pages
    }
    if not entries:
        unfinished = {run.page: run.reason for run in board.unfinished}
        raise DataError(f"{text} cannot be compared: {unfinished.get(page, 'it is stale')}")
    return Side(text, frozenset(entries), page)


def _set_apart(board: Board) -> Iterator[tuple[str, str]]:
    """Rows that have no cell among those that count, with the reason."""
    for section in board.stale:
        for row in section.rows:
            reasons = {why for cell in row.cells.values() for result in cell.results for why in result.stale}
            yield row.entry.title, f"stale: {'; '.join(sorted(reasons))}"
    for run in board.unfinished:
        yield run.entry.title, run.reason


def pairs(board: Board, sides: Sequence[Side]) -> list[Pair]:
    """Every other side against the first one, in all cells that both have, as the site compares rows.

    Holm's adjustment is over the sides that are compared in a cell. DataError where nothing is in common.
    """
    first, *others = sides
    found: list[Pair] = []
    for section in board.sections:
        for place in section.places:
            if not place.whole:
                for draw in sorted({row.entry.draw for row in section.rows}):
                    rows = [row for row in section.rows if row.entry.draw == draw]
                    found += _compared(section, place, draw, rows, first, others)
    if not found:
        cells = "; ".join(f"{each.text} has {_cells(board, each)}" for each in sides)
        raise DataError(f"there is no cell to compare, with repetition 0 of both: {cells}")
    return found


def _compared(
    section: BoardSection,
    place: Place,
    draw: str,
    rows: Sequence[BoardRow],
    first: Side,
    others: Iterable[Side],
) -> Iterator[Pair]:
    anchor = _row(section, place, rows, first)
    there = {each.text: _row(section, place, rows, each) for each in others}
    having = {name: row for name, row in there.items() if row is not None and row is not anchor}
    if anchor is None or not having:
        return
    cells = {name: row.cells[place] for name, row in having.items()}
    base = asked(section.setting.base)
    for name, (comparison, repetitions) in differences(anchor.cells[place], cells, place, base).items():
        yield Pair(section, place, draw, anchor, having[name], name, comparison, repetitions)


def _row(section: BoardSection, place: Place, rows: Iterable[BoardRow], named: Side) -> BoardRow | None:
    """The row of a side in a cell; of several the one that was distilled with the students' network."""
    having = [row for row in rows if named.has(row, place)]
    own = [row for row in having if row.entry.network == section.setting.student]
    chosen = own if len(having) > 1 and own else having
    if len(chosen) > 1:
        raise UsageError(
            f"{named.text} on {place.name}, {amount(place.ppc)}, is {len(chosen)} versions of its code: "
            "name a run of the one that is meant, from 'pcbench results list'"
        )
    return chosen[0] if chosen else None


def _cells(board: Board, named: Side) -> str:
    """The cells of a side in words."""
    found = dict.fromkeys(
        f"{place.name} {amount(place.ppc)} ({section.setting.protocol}, {section.setting.student}, "
        f"draw {row.entry.draw}, repetitions {', '.join(map(str, row.cells[place].oa.groups))})"
        for section in board.sections
        for place in section.places
        for row in section.rows
        if named.has(row, place)
    )
    return ", ".join(found) or "nothing"
