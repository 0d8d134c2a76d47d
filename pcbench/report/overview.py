"""The overview: of each section and data set scores, ranks, tiers, gains, differences from the anchors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pcbench.protocols.asked import Asked, asked
from pcbench.records.labels import amount
from pcbench.report.cells import Board, BoardRow, BoardSection, CellScores, MeasuredCell, Place
from pcbench.report.compared import Standing, by_draw, differences, grounded, leading, standing
from pcbench.report.tables import MISSING, Block, Heading, Line, Table, Value
from pcbench.report.text import number
from pcbench.report.values import (
    ANCHOR,
    LEADER,
    USUAL_DRAW,
    copies_notes,
    data_title,
    default_row,
    difference,
    head,
    place_heading,
    ppc_key,
    scored,
    setting_title,
)
from pcbench.stats import Comparison, gain

APART = "‡ No mean is taken over copies of one data set. Ranks and tiers count each copy for itself."
Compared = Mapping[str, tuple[Comparison, int]]


def blocks(board: Board) -> list[Block]:
    """Of every section one block for all data sets where it has several, and one for each; of every draw."""
    found: list[Block] = []
    for number_, section in enumerate(board.plain, 1):
        several = len({place.data for place in section.places if not place.whole}) > 1
        blocks = [*_all(board, section, f"s{number_}")] if several else []
        for data_number, ((name, data), places) in enumerate(section.data.items(), 1):
            rows = [row for row in section.rows if any(place in row.cells for place in places)]
            for draw_number, (draw, drawn) in enumerate(by_draw(rows, USUAL_DRAW), 1):
                title = data_title(board, name, data, all(place.standard for place in places))
                part = Cut(board, section, places, drawn, draw)
                blocks.append(_one(part, title, name, _numbered(f"s{number_}-d{data_number}", draw_number)))
        blocks[0] = replace(blocks[0], text=section.setting.summary)
        found += blocks
    return found


def _numbered(name: str, number_: int) -> str:
    """The id of a block of the first, second, … draw."""
    return name if number_ == 1 else f"{name}-w{number_}"


@dataclass(frozen=True)
class Cut:
    """What one table is cut from the board: one section, some places, the rows of one draw."""

    board: Board
    """All results."""
    section: BoardSection
    """The section."""
    places: tuple[Place, ...]
    """The columns."""
    rows: Sequence[BoardRow]
    """The rows, in any order."""
    draw: str
    """The draw that their first clouds are of."""

    @property
    def asked(self) -> Asked:
        """What the protocol asks for."""
        return asked(self.section.setting.base)

    @property
    def title(self) -> str:
        """What the table is of beside its data."""
        return setting_title(self.section, self.board)

    @property
    def compared(self) -> list[Place]:
        """The places but the whole training split."""
        return [place for place in self.places if not place.whole]

    def line(self, row: BoardRow, stand: Standing, values: Sequence[Value]) -> Line:
        """A row with what is to be said of it; below the others where it is not ranked among them."""
        remarks = stand.ground.remarks(row)
        about = head(row.entry, self.board, self.section.setting.student, remarks)
        return Line(about, tuple(values), last=not stand.ground.counts(row))

    def notes(self, stand: Standing) -> tuple[str, ...]:
        """On what the rows are ranked, what the protocol asks for, and what is shown beside."""
        if not self.compared:
            return ()
        ground, found = stand.ground, []
        if stand.ranks:
            found.append(f"Ranked, sorted and told apart on what all ranked rows have: {ground.basis.text}.")
        elif len(self.rows) > 1:
            found.append("Nothing is ranked: fewer than two rows have repetition 0 of a cell in common.")
        others = [place for place in self.compared if stand.ranks and place not in ground.basis.places]
        if others:
            names = ", ".join(dict.fromkeys(amount(place.ppc) for place in others))
            found.append(
                f"Shown beside and not counted, for few have it or the protocol asks for none: {names}."
            )
        single = "; the draw authors is a single one" if self.draw == "authors" else ""
        found.append(f"The protocol asks for {self.asked.text}{single}.")
        return tuple(found)


def _all(board: Board, section: BoardSection, name: str) -> Iterator[Block]:
    """All data sets, a block a draw: mean of every cell, mean of all, ranks and tiers over all."""
    places = tuple(place for place in section.places if not place.whole)
    rows = [row for row in section.rows if any(place in row.cells for place in places)]
    for draw_number, (draw, drawn) in enumerate(by_draw(rows, USUAL_DRAW), 1):
        there = tuple(place for place in places if any(place in row.cells for row in drawn))
        yield _across(Cut(board, section, there, drawn, draw), _numbered(name, draw_number))


def _across(part: Cut, name: str) -> Block:
    board, section, places = part.board, part.section, part.places
    stand = standing(grounded(part.rows, places, part.asked))
    copies = section.copies.keys() & {place.name for place in places}
    headings = [
        *(
            Heading(
                f"{ppc_key(place)}-{column}",
                f"{data_title(board, place.name, place.data, place.standard)} {amount(place.ppc)}",
            )
            for column, place in enumerate(places, 1)
        ),
        Heading("mean", "Mean ‡" if copies else "Mean"),
        *ranked_headings(),
    ]
    best = _best(stand, places)
    lines = [
        part.line(
            row,
            stand,
            (
                *(_mean_of(row, place, best[place]) for place in places),
                MISSING if copies else _mean(row, stand),
                *ranked(row, stand),
            ),
        )
        for row in stand.ground.rows
    ]
    caption = f"Overall accuracy, all data sets: {part.title}"
    table = Table(f"{name}-all", caption, tuple(headings), tuple(lines))
    notes = copies_notes(board, [section], {place.name for place in places})
    notes += (APART,) if notes else ()
    title = "All data sets" + _draw_words(part.draw)
    return Block(name, title, tables=(table,), notes=(*notes, *part.notes(stand)), group=part.title)


def _draw_words(draw: str) -> str:
    return "" if draw == USUAL_DRAW else f", draw {draw}"


def _one(part: Cut, title: str, data: str, name: str) -> Block:
    """One data set: accuracy with everything that is derived from it, mean class accuracy, and spreads."""
    section, compared = part.section, part.compared
    places = tuple(place for place in part.places if any(place in row.cells for row in part.rows))
    stand = standing(grounded(part.rows, places, part.asked))
    ground, about = stand.ground, title + _draw_words(part.draw)
    scored_rows = [row for row in ground.rows if any(place in row.cells for place in compared)]
    columns = Columns(part, stand, places, scored_rows)
    accuracy = Table(
        f"{name}-oa",
        f"Overall accuracy on {about}: {part.title}",
        tuple(columns.headings()),
        tuple(part.line(row, stand, [*columns.values(row)]) for row in ground.rows),
    )
    folded = [macc_of(part, stand, places, f"{name}-macc", about)]
    folded += [spreads(part, stand, f"{name}-spread", about)] if compared else []
    notes = copies_notes(part.board, [section], {data})
    notes += ("† Not the data set of its card: classes or counts differ.",) if title.endswith("†") else ()
    return Block(
        name,
        about,
        tables=(accuracy,),
        folded=tuple(folded),
        folded_as="Mean class accuracy, and what chance decides",
        notes=(*notes, *part.notes(stand)),
        group=part.title,
    )


class Columns:
    """The columns of the table of one data set."""

    def __init__(
        self, part: Cut, stand: Standing, places: Sequence[Place], scored_rows: Sequence[BoardRow]
    ) -> None:
        rows, compared = stand.ground.rows, [place for place in places if not place.whole]
        self.part, self.stand, self.places, self.compared = part, stand, places, compared
        self.random = default_row(rows, ANCHOR, stand.ground.basis.places or compared)
        self.whole = default_row(rows, "whole", places)
        leader = stand.ground.leader
        anchors = [(key, row) for key, row in ((ANCHOR, self.random), (LEADER, leader)) if row is not None]
        self.anchors = anchors if len(scored_rows) > 1 else []
        self.gains = self.random is not None and self.whole is not None and bool(compared)
        self.against: dict[tuple[str, Place], Compared] = {
            (key, place): differences(
                row.cells.get(place),
                {r.entry.digest: r.cells[place] for r in scored_rows if r is not row and place in r.cells},
                place,
                part.asked,
            )
            for key, row in self.anchors
            for place in compared
        }
        self.best = _best(stand, places)

    def headings(self) -> Iterator[Heading]:
        """Their heads."""
        several = len(self.compared) > 1
        for place in self.places:
            yield place_heading(place)
            if place.whole:
                continue
            label, key = amount(place.ppc), ppc_key(place)
            if several:
                yield Heading(f"tier-{key}", f"Tier, {label}", note="of this cell")
            if self.gains:
                yield Heading(f"gain-{key}", f"Gain, {label}")
            yield from self.difference_headings(place, label)
        if several:
            yield Heading("mean", "Mean", brief=True)
        yield from ranked_headings() if self.compared else []

    def values(self, row: BoardRow) -> Iterator[Value]:
        """Those of a row."""
        several = len(self.compared) > 1
        for place in self.places:
            yield self.score(row, place)
            if place.whole:
                continue
            if several:
                yield _tier(self.stand.by_place.get(place, {}).get(row.entry.digest))
            if self.gains:
                yield self.gain(row, place)
            yield from self.differences(row, place)
        if several:
            yield _mean(row, self.stand)
        yield from ranked(row, self.stand) if self.compared else []

    def score(self, row: BoardRow, place: Place) -> Value:
        """The accuracy of a row."""
        return _scored(row.cells.get(place), place, self.stand, row.entry.digest in self.best[place])

    def differences(self, row: BoardRow, place: Place) -> Iterator[Value]:
        """What a row is better by than each of the anchors."""
        usual = self._repetitions(place)
        for key, anchor in self.anchors:
            yield (
                Value("anchor")
                if row is anchor
                else difference(self.against[key, place].get(row.entry.digest), usual)
            )

    def difference_headings(self, place: Place, label: str) -> Iterator[Heading]:
        """The heads of these differences. label: what tells their place from others, `PPC 3`."""
        for key, row in self.anchors:
            called = _called(key, row)
            title = f"{label} against {called}" if label else f"Against {called}"
            yield Heading(f"{key}-{ppc_key(place)}", title, anchor=key, anchor_label=called)

    def _repetitions(self, place: Place) -> int:
        """How many repetitions of a place are compared, as the notes say."""
        ground = self.stand.ground
        alone = ground.alone.get(place)
        return ground.basis.repetitions.get(place) or (alone[0].repetitions[place] if alone else 1)

    def gain(self, row: BoardRow, place: Place) -> Value:
        """Between random selection at this PPC and the whole split, on what both rows have in common."""
        cell, random = row.cells.get(place), self.random and self.random.cells.get(place)
        whole = self.whole and _whole(self.whole, place)
        if cell is None or not random or not whole:
            return MISSING
        common = min(self.part.asked.repetitions(place.ppc), cell.repetitions, random.repetitions)
        if not common:
            return MISSING
        found = gain(_mean_first(cell, common), _mean_first(random, common), whole.oa.mean)
        return MISSING if found is None else Value(number(found, 2), found)


def _mean_first(cell: MeasuredCell, repetitions: int) -> float:
    """The mean of the first repetitions, each counting once."""
    groups = cell.oa.first(repetitions, cell.students)
    return sum(sum(group) / len(group) for group in groups) / len(groups)


def _scored(cell: MeasuredCell | None, place: Place, stand: Standing, best: bool) -> Value:
    """A cell; with the mean of what is compared of it, where that is not all."""
    ground = stand.ground
    alone = ground.alone.get(place)
    number_ = ground.basis.repetitions.get(place) or (alone[0].repetitions[place] if alone else 0)
    if cell is None or not 0 < number_ < len(cell.oa.groups) or cell.repetitions < number_:
        return scored(cell, best=best)
    return scored(cell, best=best, counted=_mean_first(cell, number_), repetitions=number_)


def _best(
    stand: Standing,
    places: Sequence[Place],
    scores: Callable[[MeasuredCell], CellScores] = lambda cell: cell.oa,
) -> dict[Place, frozenset[str]]:
    """The rows that have the best mean of a place, on the repetitions that all who may be ranked have."""
    best: dict[Place, frozenset[str]] = {place: frozenset() for place in places}
    for place, (basis, rows) in stand.ground.alone.items():
        number_ = basis.repetitions[place]
        means = {}
        for row in rows:
            cell = row.cells[place]
            groups = scores(cell).first(number_, cell.students)
            means[row.entry.digest] = sum(sum(group) / len(group) for group in groups) / number_
        best[place] = leading(means)
    return best


def macc_of(part: Cut, stand: Standing, places: Sequence[Place], name: str, about: str) -> Table:
    """The mean class accuracy of all rows."""
    best = _best(stand, places, lambda cell: cell.macc)
    lines = []
    for row in stand.ground.rows:
        cells = [(row.cells.get(place), best[place]) for place in places]
        values = [scored(cell, cell.macc if cell else None, row.entry.digest in most) for cell, most in cells]
        lines.append(part.line(row, stand, values))
    headings = tuple(place_heading(place, "macc-") for place in places)
    return Table(name, f"Mean class accuracy on {about}: {part.title}", headings, tuple(lines)).unlinked


def spreads(part: Cut, stand: Standing, name: str, about: str) -> Table:
    """The spread between draws beside that between students, and which of them an interval covers."""
    places = [place for place in part.compared if any(place in row.cells for row in part.rows)]
    headings = []
    for place in places:
        label, key = amount(place.ppc), ppc_key(place)
        headings.append(Heading(f"draws-{key}", f"{label}, between draws", note="of their means"))
        headings.append(Heading(f"students-{key}", f"{label}, between students", note="of one draw"))
        headings.append(Heading(f"covers-{key}", f"{label}, interval covers", "text"))
    lines = [
        part.line(row, stand, [value for place in places for value in _spread(row.cells.get(place))])
        for row in stand.ground.rows
        if any(place in row.cells for place in places)
    ]
    caption = f"Standard deviations between draws and between students on {about}, in points: {part.title}"
    return Table(name, caption, tuple(headings), tuple(lines))


def _spread(cell: MeasuredCell | None) -> tuple[Value, Value, Value]:
    if cell is None:
        return MISSING, MISSING, MISSING
    draws, students = cell.oa.between_draws, cell.oa.between_students
    number_ = len(cell.oa.groups)
    covers = "students of one draw" if cell.oa.interval.covers == "evaluation" else "draws and students"
    counted = [len(group) for group in cell.oa.groups.values()]
    return (
        replace(MISSING, note="one draw")
        if draws is None
        else Value(number(draws), draws, note=f"{number_} draws"),
        MISSING if students is None else Value(number(students), students, note=f"{max(counted)} students"),
        Value(covers, covers),
    )


def ranked_headings() -> list[Heading]:
    return [
        Heading("rank", "Rank", note="median and 95 % interval", brief=True),
        Heading("tier", "Tier", note="of the mean"),
        Heading("status", "Status", "text"),
    ]


def ranked(row: BoardRow, stand: Standing) -> list[Value]:
    digest, status = row.entry.digest, row.status
    state = Value("", status.state, badge=status.state, about=status.text)
    partial, found = stand.partial.get(digest), stand.ranks.get(digest)
    if partial is not None:
        on = f"of {partial.among} on {partial.basis.text}"
        return [Value(f"{partial.ranks.median:g}", partial.ranks.median, note=on), MISSING, state]
    if found is None:
        return [MISSING, MISSING, state]
    known = found.low is not None and found.high is not None and found.low != found.high
    span = f"{found.low:g}–{found.high:g}" if known else ""
    return [Value(f"{found.median:g}", found.median, note=span), _tier(stand.tiers[digest]), state]


def _tier(tier: int | None) -> Value:
    return MISSING if tier is None else Value(str(tier), float(tier), look="tier")


def _mean(row: BoardRow, stand: Standing) -> Value:
    """The mean of what is compared; none of a row that has not all of it."""
    basis = stand.ground.basis
    if not basis.places or not basis.holds(row):
        return MISSING
    return Value(number(basis.mean(row)), basis.mean(row))


def _mean_of(row: BoardRow, place: Place, best: frozenset[str]) -> Value:
    cell = row.cells.get(place)
    if cell is None:
        return MISSING
    return Value(number(cell.oa.mean), cell.oa.mean, best=row.entry.digest in best)


def _whole(whole: BoardRow, place: Place) -> MeasuredCell | None:
    return next((cell for each, cell in whole.cells.items() if each.whole and each.data == place.data), None)


def _called(key: str, row: BoardRow) -> str:
    return key if key == ANCHOR else f"{row.entry.method} (the leader)"
