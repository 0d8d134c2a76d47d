"""The page "paper against here": the figures of the papers' tables that we have something beside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pcbench.common.grouping import grouped
from pcbench.records.labels import amount
from pcbench.report.cells import Board, BoardRow, BoardSection, MeasuredCell, Place
from pcbench.report.counterparts import (
    PAPERS_DRAW,
    PAPERS_PROTOCOL,
    PAPERS_SAMPLING,
    Beside,
    MeasuredRow,
    Ours,
    beside,
)
from pcbench.report.papers import PaperTable, tables
from pcbench.report.status import MEANING, WEAKEST
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
    """What is comparable first; then every table of the papers, once a protocol that has figures for it."""
    by_protocol = grouped(
        (section for section in board.plain if section.setting.division == "closed"),
        lambda section: section.setting.protocol,
    )
    measured = {protocol: _measured(board, sections) for protocol, sections in by_protocol.items()}
    pairs = {
        paper.anchor: {
            protocol: ours for protocol, rows in measured.items() if (ours := beside(paper.figures, rows))
        }
        for paper in tables()
    }
    found = [_opening(pairs)]
    for paper in tables():
        for place, (protocol, ours) in enumerate(pairs[paper.anchor].items(), 1):
            names = {place.name for each in ours for place in each.places}
            notes = copies_notes(board, by_protocol[protocol], names)
            found.append(_block(board, paper, f"{paper.anchor}-{place}", protocol, ours, notes))
    return found if len(found) > 1 else []


def _opening(pairs: dict[str, dict[str, list[Beside]]]) -> Block:
    """How many figures can be compared, what is not run, and why the rest cannot be compared."""
    ours = [each for by_protocol in pairs.values() for those in by_protocol.values() for each in those]
    comparable = [each for each in ours if not each.unlike]
    judged = [each for each in comparable if each.inside is not None]
    outside = sum(each.inside is False for each in judged)
    figures = sum(len(paper.figures) for paper in tables())
    absent = figures - len({id(each.reported) for each in ours})
    text = (
        f"Comparable is what was made as the papers' figures were: protocol {PAPERS_PROTOCOL}, draw "
        f"{PAPERS_DRAW}, sampling {PAPERS_SAMPLING}. Of {figures} printed figures {absent} have no cell here "
        f"and are left out. {len(comparable)} of ours are comparable; of {len(judged)} judged differences "
        f"{outside} lie outside."
    )
    reasons = grouped((each for each in ours if each.unlike), lambda each: each.unlike)
    notes = [f"Not comparable, for {' / '.join(unlike)}: {len(those)}." for unlike, those in reasons.items()]
    meanings = [f"{state}: {meaning}" for state, meaning in MEANING.items()]
    return Block("comparable", "What is comparable", text, notes=(*notes, "; ".join(meanings) + "."))


def _measured(board: Board, sections: Sequence[BoardSection]) -> list[MeasuredRow]:
    return [
        measured_row(board, section, row, row.cells)
        for section in sections
        for row in section.rows
        if row.entry.genuine
    ]


def measured_row(
    board: Board, section: BoardSection, row: BoardRow, cells: Mapping[Place, MeasuredCell]
) -> MeasuredRow:
    """A row with some of its cells, as papers' figures are compared with it."""
    return MeasuredRow(
        method=row.entry.method,
        params=row.entry.params,
        variation=[key for key, _ in row.entry.variation],
        network=row.entry.network,
        student=section.setting.student,
        cells={
            place: Ours(
                cell.oa.by_distillation,
                _hours(cell),
                cell.pages,
                cell.badge,
                cell.status.text,
                cell.resolution,
            )
            for place, cell in cells.items()
            if place.standard
        },
        protocol=section.setting.protocol,
        draw=row.entry.draw,
        versions=versions(row.entry, section, board),
    )


def _hours(cell: MeasuredCell) -> float | None:
    """The mean clock of all distillations, whatever they ran on: never compared with theirs."""
    seconds = cell.seconds()
    return None if seconds is None else seconds / 3600


def _summary(ours: Sequence[Beside]) -> str:
    """How many figures have a counterpart, how many are comparable, and how many of these differ."""
    figures = len({id(each.reported) for each in ours})
    comparable = [each for each in ours if not each.unlike]
    judged = [each for each in comparable if each.inside is not None]
    outside = sum(each.inside is False for each in judged)
    text = f"{figures} figures have a counterpart; {len(comparable)} of {len(ours)} lines are comparable"
    return f"{text}; of {len(judged)} judged differences {outside} lie outside."


def _block(
    board: Board, paper: PaperTable, name: str, protocol: str, ours: Sequence[Beside], notes: tuple[str, ...]
) -> Block:
    unit = "hours" if paper.metric == "hours" else "overall accuracy in percent"
    group = f"{paper.called}: {paper.title}"
    lines = tuple(_line(board, each) for each in sorted(ours, key=lambda each: bool(each.unlike)))
    table = Table(name, f"{group}; protocol {protocol}, {unit}", HEADINGS, lines)
    title = f"Protocol {protocol}"
    return Block(name, title, _summary(ours), (table,), notes=(*paper.notes, *notes), group=group)


def _line(board: Board, ours: Beside) -> Line:
    figure, name = ours.reported, plain(ours.reported.method)
    beyond = {key: ours.measured.params[key] for key in ours.measured.variation}
    variation = tuple((key, shown(value)) for key, value in {**figure.variation, **beyond}.items())
    titles = [data_title(board, place.name, place.data, True) for place in ours.places]
    data, ppc = ", ".join(dict.fromkeys(titles)), ", ".join(amount(each) for each in figure.ppc)
    by = f"{figure.source}, table {figure.table}" if figure.table else figure.source
    values = (
        Value(data, data),
        Value(ppc, ppc),
        Value(figure.backbone, figure.backbone),
        Value(figure.printed, figure.value, std=figure.std, badge="reported", about=f"reported by {by}"),
        *_compared(ours),
    )
    return Line(Head(name, method_page(name), variation, ours.measured.versions), values)


def _compared(ours: Beside) -> tuple[Value, Value, Value]:
    interval = ours.ours
    cells = [ours.measured.cells[place] for place in ours.places]
    weakest = min(cells, key=lambda cell: [*map(str, WEAKEST)].index(cell.status))
    link, more = run_links(ours.pages)
    hours = ours.reported.metric == "hours"
    here = Value(
        number(interval.mean, 4) if hours else spread(interval.mean, interval.std),
        interval.mean,
        note="" if hours else ", ".join(bounds(interval)),
        std=None if hours else interval.std,
        link=link,
        more=more,
        badge=weakest.status,
        about=weakest.status_by,
    )
    if ours.unlike:
        return here, MISSING, Value("not comparable", "not comparable", note=" / ".join(ours.unlike))
    if ours.difference is None:
        return here, MISSING, MISSING
    mean = ours.difference.mean
    apart = Value(signed(mean), mean, note=", ".join(signed_bounds(ours.difference)))
    if ours.inside is None:
        return here, apart, MISSING
    word = "inside" if ours.inside else "outside"
    return here, apart, Value(word, word, note=RULES.get(ours.rule, ""))
