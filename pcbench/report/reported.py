"""The page "paper against here": every figure of the papers' tables, and ours for its cells beside it."""

from __future__ import annotations

from collections.abc import Sequence

from pcbench.records.labels import ppc_label
from pcbench.report.cells import Board, Cell, Row, Section, grouped
from pcbench.report.paper import Beside, Measured, Ours, beside
from pcbench.report.papers import Reported, tables
from pcbench.report.papers import Table as PaperTable
from pcbench.report.tables import MISSING, Block, Heading, Line, Method, Table, Value
from pcbench.report.text import number, plain, shown, signed, spread
from pcbench.report.values import bounds, method_page, run_links, signed_bounds

HEADINGS = (
    Heading("data", "Data set", "text"),
    Heading("ppc", "PPC", "text"),
    Heading("student", "Student", "text"),
    Heading("reported", "Reported"),
    Heading("here", "Here"),
    Heading("difference", "Difference", note="here − reported"),
    Heading("inside", "Joint interval", "text"),
)
RULES = {
    "distillations": "over distillations",
    "students": "over students",
    "students, none reported": "over our students alone",
}


def blocks(board: Board) -> list[Block]:
    """Every table of the papers, once a protocol that has a counterpart, or alone where none has."""
    by_protocol = grouped(
        (section for section in board.plain if section.setting.division == "closed"),
        lambda section: section.setting.protocol,
    )
    found = []
    for paper in tables():
        name = f"p{paper.number}"
        here = [
            (protocol, ours)
            for protocol, sections in by_protocol.items()
            if (ours := beside(paper.figures, _measured(sections)))
        ]
        for place, (protocol, ours) in enumerate(here, 1):
            found.append(_block(paper, f"{name}-{place}", f"Protocol {protocol}", protocol, ours))
        if not here:
            found.append(_block(paper, name, "Reported alone", "", []))
    return found


def _measured(sections: Sequence[Section]) -> list[Measured]:
    return [
        Measured(
            method=row.entry.method,
            params=row.entry.params,
            variation=[key for key, _ in row.entry.variation],
            network=row.entry.network,
            student=section.setting.student,
            cells=_cells(row),
        )
        for section in sections
        for row in section.rows
    ]


def _cells(row: Row) -> dict[tuple[str, int], Ours]:
    return {
        (place.name, place.ppc): Ours(
            [list(g.values()) for g in cell.oa.groups.values()], _hours(cell), cell.pages
        )
        for place, cell in row.cells.items()
        if place.standard
    }


def _hours(cell: Cell) -> float:
    """The mean clock of all distillations, whatever they ran on: the papers do not say theirs."""
    seconds = {result.page: result.seconds for result in cell.results}
    return sum(seconds.values()) / len(seconds) / 3600


def _block(paper: PaperTable, name: str, title: str, protocol: str, ours: Sequence[Beside]) -> Block:
    by_figure = grouped(ours, lambda each: id(each.reported))
    lines = [_line(figure, each) for figure in paper.figures for each in by_figure.get(id(figure), [None])]
    text = "Nothing measured here has its cells yet."
    if ours:
        outside = sum(each.inside is False for each in ours)
        judged = sum(each.inside is not None for each in ours)
        text = f"{len(ours)} figures have a counterpart; of {judged} differences {outside} lie outside."
        text += "" if protocol == "paper" else f" The protocol here is {protocol}, not the paper's."
    unit = "hours" if paper.metric == "hours" else "overall accuracy in percent"
    group = f"Table {paper.number} of {paper.source}: {paper.title}"
    table = Table(name, f"{group}; {title.lower()}, {unit}", HEADINGS, tuple(lines))
    return Block(name, title, text, (table,), notes=paper.notes, group=group)


def _line(figure: Reported, ours: Beside | None) -> Line:
    name = plain(figure.method)
    variation = tuple((key, shown(value)) for key, value in figure.variation.items())
    data, ppc = ", ".join(figure.data), ", ".join(ppc_label(each) for each in figure.ppc)
    values = (
        Value(data, data),
        Value(ppc, ppc),
        Value(figure.backbone, figure.backbone),
        Value(figure.printed, figure.value, std=figure.std, badge="reported"),
        *_compared(figure, ours),
    )
    return Line(Method(name, method_page(name), variation), values)


def _compared(figure: Reported, ours: Beside | None) -> tuple[Value, Value, Value]:
    if ours is None:
        return MISSING, MISSING, MISSING
    interval = ours.ours
    link, more = run_links(ours.pages)
    if figure.metric == "hours":
        clock = Value(number(interval.mean, 4), interval.mean, link=link, more=more, badge="reproduced")
        return clock, MISSING, MISSING
    here = Value(
        spread(interval.mean, interval.std),
        interval.mean,
        note=", ".join(bounds(interval)),
        std=interval.std,
        link=link,
        more=more,
        badge="reproduced",
    )
    if ours.difference is None:
        return here, MISSING, MISSING
    mean = ours.difference.mean
    apart = Value(signed(mean), mean, note=", ".join(signed_bounds(ours.difference)))
    if ours.inside is None:
        return here, apart, MISSING
    word = "inside" if ours.inside else "outside"
    return here, apart, Value(word, word, note=RULES.get(ours.rule, ""))
