"""The page "paper against here": every figure of the papers' tables, and ours for its cells beside it."""

from __future__ import annotations

from collections.abc import Sequence

from pcbench.records.labels import amount
from pcbench.report.cells import Board, BoardSection, MeasuredCell, grouped
from pcbench.report.counterparts import Beside, MeasuredRow, Ours, beside
from pcbench.report.papers import PaperTable, Reported, tables
from pcbench.report.tables import MISSING, Block, Head, Heading, Line, Table, Value
from pcbench.report.text import number, plain, shown, signed, spread
from pcbench.report.values import (
    bounds,
    copies_notes,
    data_title,
    method_page,
    run_links,
    signed_bounds,
    versions,
)

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
        name = paper.anchor
        here = [
            (protocol, ours)
            for protocol, sections in by_protocol.items()
            if (ours := beside(paper.figures, _measured(board, sections)))
        ]
        for place, (protocol, ours) in enumerate(here, 1):
            notes = copies_notes(board, by_protocol[protocol], {p.name for each in ours for p in each.places})
            lines = _lines(board, paper, ours)
            found.append(
                _block(
                    paper, f"{name}-{place}", f"Protocol {protocol}", _summary(protocol, ours), lines, notes
                )
            )
        if not here:
            nothing = "Nothing measured here has its cells yet."
            found.append(_block(paper, name, "Reported alone", nothing, _lines(board, paper, []), ()))
    return found


def _measured(board: Board, sections: Sequence[BoardSection]) -> list[MeasuredRow]:
    return [
        MeasuredRow(
            method=row.entry.method,
            params=row.entry.params,
            variation=[key for key, _ in row.entry.variation],
            network=row.entry.network,
            student=section.setting.student,
            cells={
                place: Ours(cell.oa.by_distillation, _hours(cell), cell.pages)
                for place, cell in row.cells.items()
                if place.standard
            },
            versions=versions(row.entry, section, board),
        )
        for section in sections
        for row in section.rows
    ]


def _hours(cell: MeasuredCell) -> float | None:
    """The mean clock of all distillations, whatever they ran on: never compared with theirs."""
    seconds = cell.seconds()
    return None if seconds is None else seconds / 3600


def _summary(protocol: str, ours: Sequence[Beside]) -> str:
    """How many figures have a counterpart, and how many differences lie outside their interval."""
    figures = len({id(each.reported) for each in ours})
    outside = sum(each.inside is False for each in ours)
    judged = sum(each.inside is not None for each in ours)
    text = f"{figures} figures have a counterpart; of {judged} differences {outside} lie outside."
    return text + ("" if protocol == "paper" else f" The protocol here is {protocol}, not the paper's.")


def _lines(board: Board, paper: PaperTable, ours: Sequence[Beside]) -> list[Line]:
    """A line for every figure and each of its counterparts, or alone where it has none."""
    by_figure = grouped(ours, lambda each: id(each.reported))
    return [
        _line(board, figure, each) for figure in paper.figures for each in by_figure.get(id(figure), [None])
    ]


def _block(
    paper: PaperTable, name: str, title: str, text: str, lines: Sequence[Line], notes: tuple[str, ...]
) -> Block:
    unit = "hours" if paper.metric == "hours" else "overall accuracy in percent"
    group = f"{paper.called}: {paper.title}"
    table = Table(name, f"{group}; {title.lower()}, {unit}", HEADINGS, tuple(lines))
    return Block(name, title, text, (table,), notes=(*paper.notes, *notes), group=group)


def _line(board: Board, figure: Reported, ours: Beside | None) -> Line:
    name = plain(figure.method)
    variation = tuple((key, shown(value)) for key, value in figure.variation.items())
    titles = (
        [data_title(board, place.name, place.data, True) for place in ours.places] if ours else figure.data
    )
    data, ppc = ", ".join(dict.fromkeys(titles)), ", ".join(amount(each) for each in figure.ppc)
    values = (
        Value(data, data),
        Value(ppc, ppc),
        Value(figure.backbone, figure.backbone),
        Value(figure.printed, figure.value, std=figure.std, badge="reported"),
        *_compared(figure, ours),
    )
    remarks = ours.measured.versions if ours else ()
    page = method_page(name) if ours else ""  # a paper's method that is not one of ours has no page
    return Line(Head(name, page, variation, remarks), values)


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
