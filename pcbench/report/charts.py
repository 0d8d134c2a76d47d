"""Closer looks at one page of the board: PPC, bytes, time, snapshots, classes, spreads; method by method."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pcbench.records.labels import amount
from pcbench.report.cells import BoardRow, MeasuredCell, Place
from pcbench.report.details import by_class, class_shares, learning_curves
from pcbench.report.heat import Heat, HeatRow, HeatValue
from pcbench.report.overview import Columns, Cut
from pcbench.report.svg import PlotData, PlotPoint, curves, pareto, scatter
from pcbench.report.tables import Block, Head, Heading, Line, Table
from pcbench.report.text import number, signed, size, spread
from pcbench.report.timing import timed_point
from pcbench.report.values import method_page, scored, timed

MOST = 8
"""So many methods have a line in a chart, the best ones and random selection: more cannot be told apart."""


@dataclass(frozen=True)
class Shown:
    """The rows that charts are of."""

    cut: Cut
    """The section, all its places of the data set, and the rows of the draw."""
    place: Place
    """The data set and PPC."""
    title: str
    """`modelnet10, PPC 3`."""
    lines: Sequence[tuple[BoardRow, Head]]
    """The rows that have the place, the best first, with their heads."""
    columns: Columns
    """Their table, which knows its anchors."""
    spreads: Table | None
    """The spreads between draws and between students."""

    @property
    def few(self) -> list[tuple[int, BoardRow, Head]]:
        """The rows that have lines of their own, with the number of their colour."""
        random = self.columns.random
        best = [each for each in self.lines if each[0] is not random][: MOST - 1]
        kept = [each for each in self.lines if each in best or each[0] is random]
        return [(style, row, about) for style, (row, about) in enumerate(kept)]

    def cells(self) -> dict[str, MeasuredCell]:
        """The cells of these rows by their words."""
        return {about.text: row.cells[self.place] for _, row, about in self.few}


def blocks(shown: Shown) -> tuple[Block, ...]:
    """One block a chart that has something to say, its numbers folded below it."""
    found = [*_over_ppc(shown), *_against_time(shown), *_over_iterations(shown), *_classes(shown)]
    return tuple(
        replace(block, tables=(), folded=tuple(table.unlinked for table in block.tables))
        for block in (*found, *_spreads(shown))
    )


def _over_ppc(shown: Shown) -> Iterator[Block]:
    """Accuracy over the clouds per class; over bytes too, where some sets are not kept as plain clouds."""
    places = [place for place in shown.cut.places if not place.whole]
    if len(places) < 2:
        return
    headings = tuple(Heading(f"ppc{place.ppc}", amount(place.ppc)) for place in places)
    lines = tuple(
        Line(about, tuple(scored(row.cells.get(place)) for place in places)) for _, row, about in shown.few
    )
    title = f"Accuracy over clouds per class on {places[0].name}"
    table = Table("by-ppc", title, headings, lines)
    description = "Areas are 95 % intervals."
    y_label = "overall accuracy in %"
    data = [_line(style, row, about, places) for style, row, about in shown.few]
    at = [float(place.ppc) for place in places]
    plots = [curves("by-ppc-plot", title, description, "clouds per class", y_label, data, at=at)]
    cells = [row.cells[place] for _, row, _ in shown.few for place in places if place in row.cells]
    if any(result.step_factor != 1 for cell in cells for result in cell.results):
        data = [_line(style, row, about, places, by_bytes=True) for style, row, about in shown.few]
        title = f"Accuracy over bytes on {places[0].name}"
        plots.append(
            curves("by-bytes-plot", title, description, "bytes, logarithmic", y_label, data, log=True)
        )
    yield Block("over-ppc", "What more clouds bring", tables=(table,), plots=tuple(plots))


def _line(
    style: int, row: BoardRow, about: Head, places: Sequence[Place], by_bytes: bool = False
) -> PlotData:
    points = []
    for place in places:
        cell = row.cells.get(place)
        taken = cell and cell.set_bytes
        if cell is None or (by_bytes and taken is None):
            continue
        interval = cell.oa.interval
        at = f"{size(taken)}" if by_bytes and taken else amount(place.ppc)
        words = f"{about.text}, {at}: {spread(interval.mean, interval.std)} %"
        x = float(taken if by_bytes and taken else place.ppc)
        points.append(PlotPoint(x, interval.mean, interval.low, interval.high, title=words))
    return PlotData(about.text, tuple(points), style)


def _against_time(shown: Shown) -> Iterator[Block]:
    """Accuracy against the time of a distillation, on the hardware that most methods ran on."""
    counts = Counter(
        hardware
        for row, _ in shown.lines
        for hardware in {result.hardware for result in row.cells[shown.place].results if not result.busy}
    )
    if not counts:
        return
    hardware = max(sorted(counts), key=lambda each: counts[each])
    points, lines = [], []
    for row, about in shown.lines:
        cell = row.cells[shown.place]
        if cell.seconds(hardware) is None:
            continue
        points.append(timed_point(cell, hardware, about, amount(shown.place.ppc)))
        lines.append(Line(about, (scored(cell), timed(cell, hardware))))
    if len(points) < 2:
        return
    title = f"Accuracy against distillation time on {shown.title}, {hardware}"
    description = "No method is both more accurate and faster than those on the dashed line."
    plot = pareto(
        "time-plot", title, description, "seconds of one distillation, logarithmic", "overall accuracy in %",
        [PlotData("methods", tuple(points))],
    )  # fmt: skip
    headings = (Heading("oa", "Accuracy"), Heading("seconds", "Time", note="seconds in exports"))
    table = Table("by-time", title, headings, tuple(lines))
    yield Block("over-time", "What it costs", tables=(table,), plots=(plot,))


def _over_iterations(shown: Shown) -> Iterator[Block]:
    plots, tables = learning_curves("by-iteration", shown.title, shown.cells())
    if plots:
        yield Block("over-iterations", "How it is learned", tables=(*tables,), plots=(*plots,))


def _classes(shown: Shown) -> Iterator[Block]:
    """Accuracy by class, as differences from random selection where that was measured."""
    random = shown.columns.random
    anchor = random.cells.get(shown.place) if random else None
    cells = {words: cell for words, cell in shown.cells().items() if cell is not anchor}
    if not cells:
        return
    first = next(iter(cells.values()))
    names = first.results[0].class_names
    base = class_shares(anchor) if anchor and anchor.results[0].class_names == names else None
    rows = [
        HeatRow(words, "", tuple(_class(words, *each, base is not None) for each in zip(
            names, class_shares(cell), base or [None] * len(names), strict=True)))
        for words, cell in cells.items()
        if cell.results[0].class_names == names
    ]  # fmt: skip
    against = " against random selection, in points" if base else ", in percent"
    title = f"Accuracy by class{against}: {shown.title}"
    description = (
        "Blue classes gain, orange ones lose." if base else "The darker, the more accurate."
    ) + " Over all students of all distillations."
    heat = Heat("classes-heat", title, description, names, tuple(rows), base is not None)
    tables = by_class("by-class", shown.title, shown.cells())
    yield Block("by-classes", "Which classes gain", tables=(*tables,), plots=(heat,))


def _class(words: str, name: str, share: float | None, base: float | None, differs: bool) -> HeatValue:
    if share is None or (differs and base is None):
        return HeatValue(None, "–", f"{words}, {name}: no test cloud")
    value = share - base if base is not None else share
    text = signed(value, 0) if differs else number(value, 0)
    return HeatValue(
        value, text, f"{words}, {name}: {number(share)} %" + (f", {signed(value)}" if differs else "")
    )


def _spreads(shown: Shown) -> Iterator[Block]:
    """The spread between draws against that between students, of the methods that have both."""
    points = []
    for row, about in shown.lines:
        scores = row.cells[shown.place].oa
        draws, students = scores.between_draws, scores.between_students
        if draws is None or students is None:
            continue
        words = f"{about.text}: {number(draws)} between draws, {number(students)} between students"
        points.append(PlotPoint(students, draws, label=about.name, title=words, page=method_page(about.name)))
    if not points or shown.spreads is None:
        return
    title = f"Standard deviation between draws against that between students: {shown.title}"
    description = (
        "In points of accuracy. Above the students' spread, the draw of the first clouds decides more."
    )
    plot = scatter(
        "spread-plot", title, description, "between students of one draw", "between draws",
        [PlotData("methods", tuple(points))],
    )  # fmt: skip
    yield Block("spreads", "What chance decides", tables=(shown.spreads,), plots=(plot,))
