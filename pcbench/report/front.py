"""The first screen: one data set, PPC, student and protocol, as a chart, a table and links to the others."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pcbench.common.grouping import grouped
from pcbench.protocols.protocol import QUICK
from pcbench.records.labels import amount, bare_amount
from pcbench.records.layout import short
from pcbench.report import by_cloud, charts
from pcbench.report.against_papers import measured_row
from pcbench.report.answers import Answers
from pcbench.report.cells import Board, BoardRow, BoardSection, CellScores, Place
from pcbench.report.compared import Standing, by_draw, grounded, standing
from pcbench.report.counterparts import Beside, beside
from pcbench.report.dots import Dot, Dots, Line, dots
from pcbench.report.overview import Columns, Cut, macc_of, ranked, ranked_headings, spreads
from pcbench.report.papers import Reported
from pcbench.report.tables import MISSING, Block, Head, Heading, Table, Value
from pcbench.report.tables import Line as TableLine
from pcbench.report.text import file_stem, number, spread
from pcbench.report.values import (
    USUAL_DRAW,
    bounds,
    copies_notes,
    data_title,
    draw_remark,
    method_page,
    scored,
)  # fmt: skip

AXES: Mapping[str, int] = {"Data set": 16, "PPC": 1, "Student": 4, "Protocol": 8, "Draw": 2}
"""What is chosen, in this order, with what it weighs: where no page has all of a choice, the one is shown
that keeps most of it."""


ENOUGH = 4
"""So many methods are a comparison; of several the one of the usual draw is shown first."""
MORE = "Mean class accuracy with its intervals"
"""What is folded away below the table."""


@dataclass(frozen=True)
class Choice:
    """One page of the board: what its chart and its table show."""

    words: Mapping[str, str]
    """What is chosen of every axis."""
    page: str
    """Its page within the site."""
    cut: Cut
    """The section, its places, and the rows of the draw."""
    place: Place
    """The data set and PPC."""

    @property
    def whole(self) -> Place | None:
        """The whole training split of the same data set, where it was measured."""
        alike = (p for p in self.cut.places if p.whole and p.data == self.place.data and p != self.place)
        return next(alike, None)

    @property
    def title(self) -> str:
        """`modelnet10, PPC 3`."""
        return f"{self.words['Data set']}, {amount(self.place.ppc)}"


@dataclass(frozen=True)
class Option:
    """What can be chosen of an axis."""

    words: str
    """What it is."""
    page: str
    """Where it leads."""
    chosen: bool
    """Whether it is what is shown."""
    also: str
    """What else changes with it, in words; empty where nothing does."""


@dataclass(frozen=True)
class Control:
    """An axis with all that can be chosen of it."""

    axis: str
    """What it is."""
    options: tuple[Option, ...]
    """What can be chosen."""


@dataclass(frozen=True)
class Best:
    """The best method of a page."""

    head: Head
    """Which it is."""
    text: str
    """Its accuracy."""
    bounds: str
    """Its 95 % interval, as `53.1 to 55.5`; empty where there is none."""
    equals: tuple[Head, ...]
    """Those that cannot be told from it."""
    alone: bool
    """Whether it is the only one that is ranked."""


@dataclass(frozen=True)
class Strip:
    """Distilled clouds of one class, method beside method."""

    name: str = ""
    """The name of the files that hold them; empty where there are none to show."""
    tiles: tuple[tuple[str, str], ...] = ()
    """Of each its words, and the name of its run's page."""
    class_name: str = ""
    """The class."""
    note: str = ""
    """What they are of, where that is not what the chart is of, or why there are none."""


@dataclass(frozen=True)
class Front:
    """What a page of the board shows."""

    choice: Choice
    """What it is of."""
    shown: charts.Shown
    """The rows that it is of."""
    controls: tuple[Control, ...]
    """The links to the others."""
    best: Best | None
    """The best method; None where nothing can be ranked."""
    chart: Dots
    """All methods with their intervals."""
    block: Block
    """The table of all methods."""
    strip: Strip
    """Clouds of one class, method beside method."""
    charts: tuple[Block, ...] = ()
    """Closer looks at the same cells."""


@dataclass
class Pages:
    """All pages of the board, the one that is shown first among them."""

    board: Board
    """All results."""
    choices: list[Choice] = field(init=False)
    """What each page is of, in the order of the board."""

    def __post_init__(self) -> None:
        choices = list(_choices(self.board))
        stems = [_stem(choice) for choice in choices]
        clear = Counter(stems)
        self.choices = [
            replace(choice, page=f"board/{stem if clear[stem] == 1 else file_stem(_spoken(choice))}")
            for choice, stem in zip(choices, stems, strict=True)
        ]

    @property
    def first(self) -> Choice | None:
        """What is shown without a choice: the most methods, by the rules that make them comparable.

        The demonstration is shown first only where there is nothing else, another draw than the usual one
        only where that has few methods.
        """

        def order(choice: Choice) -> tuple[bool, bool, bool, bool, int, bool, int, int]:
            setting, place = choice.cut.section.setting, choice.place
            methods = len({row.entry.method for row in _having(choice.cut.rows, place)})
            comparable, earnest = setting.division == "closed", setting.base != QUICK.name
            fit = not setting.validation, comparable, not place.whole, earnest
            return *fit, min(methods, ENOUGH), choice.words["Draw"] == USUAL_DRAW, methods, place.ppc

        return max(self.choices, key=order, default=None)

    def controls(self, shown: Choice) -> tuple[Control, ...]:
        """For every axis with two options or more, where each leads; for the others what they are."""
        return tuple(self._control(axis, shown) for axis in AXES if self._worth(axis))

    def _worth(self, axis: str) -> bool:
        """Whether an axis is shown: a draw only where somebody chose another than the usual one."""
        return axis != "Draw" or {choice.words[axis] for choice in self.choices} != {USUAL_DRAW}

    def _control(self, axis: str, shown: Choice) -> Control:
        by_words = grouped(self.choices, lambda choice: choice.words[axis])
        options = [
            _option(axis, words, shown, max(there, key=lambda choice: likeness(choice, shown)))
            for words, there in by_words.items()
        ]
        return Control(axis, tuple(options))


def _option(axis: str, words: str, shown: Choice, leads: Choice) -> Option:
    changed = [
        f"{other} {leads.words[other]}"
        for other in AXES
        if other != axis and leads.words[other] != shown.words[other]
    ]
    return Option(words, leads.page, words == shown.words[axis], ", ".join(changed))


def likeness(choice: Choice, shown: Choice) -> int:
    """How much of a choice another one keeps."""
    return sum(weight for axis, weight in AXES.items() if choice.words[axis] == shown.words[axis])


def _spoken(choice: Choice) -> str:
    """All that is chosen in one line; the usual draw goes without saying."""
    return " ".join(words for words in choice.words.values() if words != USUAL_DRAW)


def _stem(choice: Choice) -> str:
    """The name of its page, as it can be read: other choices may have the same."""
    return re.sub(r"[^a-z0-9_.]+", "-", _spoken(choice).lower()).strip("-.")[:80] or "choice"


def _choices(board: Board) -> Iterator[Choice]:
    titles = Counter(_section_words(board, section) for section in board.plain)
    for section in board.plain:
        protocol, student = _section_words(board, section)
        if titles[protocol, student] > 1:
            protocol = f"{protocol} ({short(section.setting.digest)})"
        for (name, data), places in section.data.items():
            rows = [row for row in section.rows if any(place in row.cells for place in places)]
            title = data_title(board, name, data, all(place.standard for place in places))
            for draw, drawn in by_draw(rows, USUAL_DRAW):
                cut = Cut(board, section, places, drawn, draw)
                there = [p for p in places if _having(drawn, p)]
                for place in [p for p in there if not p.whole] or there:
                    words = {
                        "Data set": title,
                        "PPC": bare_amount(place.ppc),
                        "Student": student,
                        "Protocol": protocol,
                        "Draw": draw,
                    }
                    yield Choice(words, "", cut, place)


def _section_words(board: Board, section: BoardSection) -> tuple[str, str]:
    """Protocol and student as they are chosen."""
    setting = section.setting
    version = board.versions.get(setting.student_source, "")
    protocol = setting.protocol + (", open division" if setting.division == "open" else "")
    protocol += ", validation parts" if setting.validation else ""
    return protocol, setting.student + (f" ({version})" if version else "")


def _having(rows: Sequence[BoardRow], place: Place) -> list[BoardRow]:
    return [row for row in rows if place in row.cells]


def page(pages: Pages, choice: Choice, strip: Strip, figures: Sequence[Reported], answers: Answers) -> Front:
    """Everything that a page of the board shows. figures: those that papers report."""
    cut, place = choice.cut, choice.place
    places = tuple(p for p in (place, choice.whole) if p is not None)
    rows = [row for row in cut.rows if any(p in row.cells for p in places)]
    asked = cut.asked
    stand = standing(grounded(rows, places, asked))
    view = Cut(cut.board, cut.section, places, rows, cut.draw)
    columns = Columns(view, stand, places, _having(stand.ground.rows, place))
    names = {
        row.entry.digest: _without_draw(view.line(row, stand, ()), row.entry.draw)
        for row in stand.ground.rows
    }
    heads = [(row, names[row.entry.digest].head) for row in _having(stand.ground.rows, place)]
    spread_table = None if place.whole else spreads(view, stand, "board-spread", choice.title)
    shown = charts.Shown(cut, place, choice.title, heads, columns, spread_table)
    block = Block(
        "results",
        "Results",
        tables=(_table(choice, view, stand, columns, names),),
        folded=(macc_of(view, stand, places, "board-macc", choice.title),),
        folded_as=MORE,
        notes=(*copies_notes(cut.board, [cut.section], {place.name}), *view.notes(stand)),
    )
    return Front(
        choice=choice,
        shown=shown,
        controls=pages.controls(choice),
        best=_best(choice, stand, names),
        chart=_chart(choice, stand, columns, names, figures),
        block=block,
        strip=strip,
        charts=(*charts.blocks(shown), *by_cloud.of_board(shown, answers)),
    )


def _without_draw(line: TableLine, draw: str) -> TableLine:
    """A line that does not name the draw, which the page's controls do."""
    remarks = tuple(remark for remark in line.head.remarks if remark not in draw_remark(draw))
    return replace(line, head=replace(line.head, remarks=remarks))


def _table(
    choice: Choice, view: Cut, stand: Standing, columns: Columns, lines: Mapping[str, TableLine]
) -> Table:
    """Accuracy first, then what is derived from it; the whole split in the same column."""
    place, whole = choice.place, choice.whole
    differs = not place.whole
    headings = [
        Heading("oa", "Accuracy", note="%, mean ± std"),
        *(columns.difference_headings(place, "") if differs else []),
        *([Heading("gain", "Gain")] if columns.gains else []),
        Heading("macc", "Class mean", note="mean of the classes, %"),
        *(ranked_headings() if differs else []),
    ]
    found = []
    for row in stand.ground.rows:
        cell, reference = row.cells.get(place), whole is not None and row.cells.get(whole)
        if cell is None and reference:
            values = [scored(reference), *[MISSING] * (len(columns.anchors) + columns.gains)]
            values += [_plain(reference.macc), *(ranked(row, stand) if differs else [])]
        else:
            values = [columns.score(row, place), *(columns.differences(row, place) if differs else [])]
            values += [columns.gain(row, place)] if columns.gains else []
            values += [_plain(cell.macc) if cell else MISSING, *(ranked(row, stand) if differs else [])]
        line = lines[row.entry.digest]
        found.append(TableLine(line.head, tuple(values), line.last))
    caption = f"Overall accuracy on {choice.title}: {view.title}"
    return Table("board", caption, tuple(headings), tuple(found))


def _plain(scores: CellScores) -> Value:
    interval = scores.interval
    return Value(spread(interval.mean, interval.std), interval.mean, std=interval.std)


def _best(choice: Choice, stand: Standing, lines: Mapping[str, TableLine]) -> Best | None:
    leader = stand.ground.leader
    if leader is None or choice.place not in leader.cells:
        return None
    tier = stand.tiers.get(leader.entry.digest)
    equals = [
        lines[row.entry.digest].head
        for row in stand.ground.rows
        if row is not leader and tier is not None and stand.tiers.get(row.entry.digest) == tier
    ]
    interval = leader.cells[choice.place].oa.interval
    return Best(
        head=lines[leader.entry.digest].head,
        text=number(interval.mean),
        bounds=", ".join(bounds(interval)),
        equals=tuple(equals),
        alone=len(stand.ground.ranked) < 2,
    )


def _chart(
    choice: Choice,
    stand: Standing,
    columns: Columns,
    lines: Mapping[str, TableLine],
    figures: Sequence[Reported],
) -> Dots:
    rows = _having(stand.ground.rows, choice.place)
    reported = {row.entry.digest: _reported(choice, row, figures) for row in rows}
    unlike = {reason for found in reported.values() for each in found for reason in each.unlike}
    found = any(reported.values())
    return dots(
        "chart",
        f"Overall accuracy on {choice.title}",
        "Dots are means, lines their 95 % intervals. Methods on one ground, of one tier, cannot be told from "
        "its best.",
        "overall accuracy in %",
        [_dot(choice, stand, row, lines[row.entry.digest].head, reported[row.entry.digest]) for row in rows],
        list(_references(choice, columns)),
        f"reported in a paper{_not_comparable(unlike)}" if found else "",
    )


def _not_comparable(unlike: Collection[str]) -> str:
    return f", not comparable: here it is {', '.join(sorted(unlike))}" if unlike else ""


def _dot(choice: Choice, stand: Standing, row: BoardRow, about: Head, reported: Sequence[Beside]) -> Dot:
    interval, tier = row.cells[choice.place].oa.interval, stand.tiers.get(row.entry.digest)
    words = f"{about.text}: {spread(interval.mean, interval.std)} %"
    words += "".join(f", 95 % interval {each}" for each in bounds(interval))
    return Dot(
        label=" ".join([about.name, *(f"{key}={value}" for key, value in about.variation)]),
        page=method_page(row.entry.method),
        mean=interval.mean,
        low=interval.low,
        high=interval.high,
        text=number(interval.mean),
        title=words,
        tier=tier,
        reported=tuple((each.reported.value, _words(row, each)) for each in reported),
    )


def _words(row: BoardRow, found: Beside) -> str:
    """Who reports a figure, and why ours is no counterpart of it."""
    figure = found.reported
    table = f", table {figure.table}" if figure.table else ""
    by = f"{row.entry.method}: {figure.printed} % reported by {figure.source}{table}"
    return by + _not_comparable(found.unlike)


def _reported(choice: Choice, row: BoardRow, figures: Sequence[Reported]) -> list[Beside]:
    """The figures that papers report of a cell."""
    place, cut = choice.place, choice.cut
    if not place.standard or not row.entry.genuine or cut.section.setting.division != "closed":
        return []
    measured = measured_row(cut.board, cut.section, row, {place: row.cells[place]})
    alike = [f for f in figures if (f.metric, f.data, f.ppc) == ("oa", (place.name,), (place.ppc,))]
    return beside(alike, [measured])


def _references(choice: Choice, columns: Columns) -> Iterator[Line]:
    random = columns.random and columns.random.cells.get(choice.place)
    whole = choice.whole and columns.whole and columns.whole.cells.get(choice.whole)
    if random:
        yield Line(f"random {number(random.oa.mean)}", random.oa.mean)
    if whole:
        yield Line(f"whole training split {number(whole.oa.mean)}", whole.oa.mean)
