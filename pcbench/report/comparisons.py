"""Other views of the same cells: across students, tests, initialisations, and variations of one method."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from pcbench.records import ppc_label
from pcbench.report.cells import Board, Cell, Entry, Place, Row, Section, grouped
from pcbench.report.tables import MISSING, Block, Heading, Line, Method, Table
from pcbench.report.text import shown
from pcbench.report.values import (
    data_title,
    default_row,
    difference,
    differences,
    head,
    is_top,
    method_page,
    place_heading,
    ppc_key,
    remarks,
    scored,
    setting_title,
    top,
)  # fmt: skip

INIT = "init"
"""The parameter that says what the synthetic clouds start from, in every method that has one."""


def cross_architecture(board: Board) -> list[Block]:
    """Rows of methods, columns of students: one block for all sections that differ in the student alone."""
    found = []
    for number, family in enumerate(_families(board.plain), 1):
        students = sorted(family, key=lambda section: (section.setting.student, section.setting.digest))
        if len(students) < 2:
            continue
        headings = [
            Heading(f"student{column}", _student(section, board))
            for column, section in enumerate(students, 1)
        ]
        for place_number, (title, by_section) in enumerate(_places(board, students), 1):
            name = f"x{number}-{place_number}"
            found.append(_crossed(board, students, by_section, headings, name, title, "Student"))
    return found


def robustness(board: Board) -> list[Block]:
    """Rows of methods, columns of tests: one block for all sections that differ in the test alone."""
    found = []
    by_student = grouped(
        board.sections, lambda s: (s.setting.family, s.setting.student, s.setting.student_source)
    )
    for number, sections in enumerate(by_student.values(), 1):
        tests = sorted(sections, key=lambda section: section.setting.order)
        if all(not section.setting.test for section in tests):
            continue
        headings = [
            Heading(f"test{column}", section.setting.test or "plain", brief=True)
            for column, section in enumerate(tests, 1)
        ]
        for place_number, (title, by_section) in enumerate(_places(board, tests), 1):
            name = f"v{number}-{place_number}"
            found.append(_crossed(board, tests, by_section, headings, name, title, "Test"))
    return found


def initialisation(board: Board) -> list[Block]:
    """Rows of methods and PPC, columns of what the synthetic clouds start from."""
    found = []
    for title, group, name, section, places in _data_of_sections(board, "i"):
        rows = [row for row in section.there(places) if INIT in row.entry.params and _only(row.entry, INIT)]
        starts = sorted({shown(row.entry.params[INIT]) for row in rows})
        if len(starts) < 2:
            continue
        lines = []
        keys = grouped(rows, lambda row: (row.entry.method, row.entry.network, row.entry.source))
        for (method, *_), members in sorted(keys.items()):
            for place in places:
                cells = {shown(r.entry.params[INIT]): r.cells[place] for r in members if place in r.cells}
                if not cells or not place.ppc:
                    continue
                best = top(cells.get(start) for start in starts)
                values = tuple(
                    scored(cell, best=cell is not None and is_top(cell.oa, best))
                    for cell in map(cells.get, starts)
                )
                about = Method(method, method_page(method), remarks=(ppc_label(place.ppc),))
                lines.append(Line(about, values))
        headings = tuple(Heading(f"init{column}", start) for column, start in enumerate(starts, 1))
        table = Table(name, f"Overall accuracy by initialisation on {title}: {group}", headings, tuple(lines))
        found.append(Block(name, title, tables=(table,), group=group))
    return found


def ablations(board: Board) -> list[Block]:
    """The variations of every method that has some, each against the method's defaults."""
    found = []
    for title, group, name, section, places in _data_of_sections(board, "a"):
        compared = [place for place in places if place.ppc]
        by_method = grouped(section.there(compared), lambda row: row.entry.method)
        for number, (method, rows) in enumerate(sorted(by_method.items()), 1):
            if len(rows) < 2:
                continue
            found.append(
                _ablated(board, section, rows, compared, f"{name}-{number}", f"{method} on {title}", group)
            )
    return found


def _ablated(
    board: Board,
    section: Section,
    rows: Sequence[Row],
    places: Sequence[Place],
    name: str,
    title: str,
    group: str,
) -> Block:
    base = default_row(rows, rows[0].entry.method, places)
    headings: list[Heading] = []
    for place in places:
        label = ppc_label(place.ppc)
        headings.append(place_heading(place))
        headings += [Heading(f"defaults-{ppc_key(place)}", f"{label} against the defaults")] if base else []
    against = {
        place: differences(
            base.cells.get(place) if base else None,
            {row.entry.digest: row.cells[place] for row in rows if row is not base and place in row.cells},
        )
        for place in places
    }
    lines = []
    for row in sorted(rows, key=lambda row: (row is not base, row.entry.variation, row.entry.digest)):
        values = []
        for place in places:
            values.append(scored(row.cells.get(place)))
            values += [difference(against[place].get(row.entry.digest))] if base else []
        about = head(row.entry, board, section.setting.student, remarks(row, places))
        lines.append(Line(about, tuple(values), last=not row.complete(places)))
    table = Table(name, f"Variations of {title}: {group}", tuple(headings), tuple(lines))
    return Block(name, title, tables=(table,), group=group)


def _crossed(
    board: Board, sections: Sequence[Section], by_section: Mapping[str, Place], headings: Sequence[Heading],
    name: str, title: str, axis: str,
) -> Block:  # fmt: skip
    entries: dict[str, Entry] = {}
    cells: dict[str, dict[int, Cell]] = {}
    for column, section in enumerate(sections):
        place = by_section.get(section.setting.digest)
        for row in section.rows:
            if place in row.cells and place is not None:
                entries[row.entry.digest] = row.entry
                cells.setdefault(row.entry.digest, {})[column] = row.cells[place]
    columns = range(len(sections))
    best = [top(each.get(column) for each in cells.values()) for column in columns]

    def order(key: str) -> tuple[bool, float, str, str]:
        there = cells[key]
        mean = sum(cell.oa.mean for cell in there.values()) / len(there)
        return len(there) < len(sections), -mean, entries[key].method, key

    lines = []
    for key in sorted(cells, key=order):
        there = cells[key]
        said = [] if len(there) == len(sections) else ["incomplete"]
        values = tuple(
            scored(cell, best=cell is not None and is_top(cell.oa, best[column])) if cell else MISSING
            for column, cell in ((column, there.get(column)) for column in columns)
        )
        about = head(
            entries[key], board, entries[key].network, [f"distilled with {entries[key].network}", *said]
        )
        lines.append(Line(about, values, last=bool(said)))
    setting = sections[0].setting
    group = f"Protocol {setting.protocol}" + (", open division" if setting.division == "open" else "")
    group += f", student {setting.student}" if axis == "Test" else ""
    caption = f"Overall accuracy by {axis.lower()} on {title}: {group}"
    return Block(name, title, tables=(Table(name, caption, tuple(headings), tuple(lines)),), group=group)


def _families(sections: Iterable[Section]) -> list[list[Section]]:
    return list(grouped(sections, lambda section: section.setting.family).values())


def _places(board: Board, sections: Sequence[Section]) -> list[tuple[str, dict[str, Place]]]:
    """Every training set and PPC with its place in each section that has it, by the section's digest."""
    pairs = [(section.setting.digest, place) for section in sections for place in section.places]
    by_training = grouped(pairs, lambda pair: (pair[1].name, pair[1].training, pair[1].ppc))
    found = []
    for (name, *_), members in sorted(by_training.items(), key=lambda item: item[1][0][1].order):
        place = members[0][1]
        title = f"{data_title(board, name, place.data, place.standard)}, {ppc_label(place.ppc)}"
        found.append((title, dict(members)))
    return found


def _data_of_sections(
    board: Board, letter: str
) -> Iterable[tuple[str, str, str, Section, tuple[Place, ...]]]:
    """Title, group, name and places of every data set of every section with a plain test."""
    for number, section in enumerate(board.plain, 1):
        for data_number, ((name, data), places) in enumerate(section.data.items(), 1):
            title = data_title(board, name, data, all(place.standard for place in places))
            yield title, setting_title(section, board), f"{letter}{number}-{data_number}", section, places


def _only(entry: Entry, parameter: str) -> bool:
    """Whether no other parameter differs from its default."""
    return all(key == parameter for key, _ in entry.variation)


def _student(section: Section, board: Board) -> str:
    version = board.versions.get(section.setting.student_source, "")
    return section.setting.student + (f" ({version})" if version else "")


VIEWS: Mapping[str, Callable[[Board], list[Block]]] = {
    "cross-architecture": cross_architecture,
    "initialisation": initialisation,
    "ablations": ablations,
    "robustness": robustness,
}
