"""Other views of the same cells: across students, tests, initialisations, and variations of one method."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from pcbench.common.grouping import grouped
from pcbench.protocols.asked import asked
from pcbench.records.labels import amount
from pcbench.records.layout import short
from pcbench.report.cells import Board, BoardRow, BoardSection, Entry, MeasuredCell, Place, chosen_by
from pcbench.report.compared import differences, grounded, leading
from pcbench.report.heat import Heat, HeatRow, HeatValue
from pcbench.report.tables import Block, Head, Heading, Line, Table, Value
from pcbench.report.text import number as rounded
from pcbench.report.text import shown, signed
from pcbench.report.values import (
    copies_notes,
    data_title,
    default_row,
    difference,
    draw_remark,
    head,
    method_page,
    place_heading,
    ppc_key,
    scored,
    setting_title,
)  # fmt: skip

INIT = "init"
"""The parameter that says what the synthetic clouds start from, in every method that has one."""


def cross_architecture(board: Board) -> list[Block]:
    """Rows of methods with students of other networks, columns of students; all else is the same."""
    found: list[Block] = []
    by_family = grouped(board.plain, lambda section: section.setting.family)
    for number, sections in enumerate(by_family.values(), 1):
        students = sorted(sections, key=lambda section: (section.setting.student, section.setting.digest))
        heads = [Heading(f"student{n}", _student(each, board)) for n, each in enumerate(students, 1)]
        protocol = _protocol(students[0])

        def other(entry: Entry, section: BoardSection) -> bool:
            return entry.network != section.setting.student

        found += _crossed(board, students, heads, f"x{number}", protocol, "student", other)
    return found


def robustness(board: Board) -> list[Block]:
    """Rows of methods whose students had other tests, columns of tests; all else is the same."""
    found: list[Block] = []
    by_student = grouped(
        board.sections, lambda s: (s.setting.family, s.setting.student, s.setting.student_source)
    )
    for number, sections in enumerate(by_student.values(), 1):
        tests = sorted(sections, key=lambda section: section.setting.order)
        heads = [
            Heading(f"test{n}", each.setting.test or "plain", brief=True) for n, each in enumerate(tests, 1)
        ]
        group = f"{_protocol(tests[0])}, student {_student(tests[0], board)}"

        def changed(_: Entry, section: BoardSection) -> bool:
            return bool(section.setting.test)

        found += _crossed(board, tests, heads, f"v{number}", group, "test", changed)
    return found


def initialisation(board: Board) -> list[Block]:
    """Rows of methods and PPC, columns of what the synthetic clouds start from."""
    found = []
    for title, group, name, section, places in _data_of_sections(board, "i"):
        ground = grounded(section.rows, places, asked(section.setting.base))
        rows = [row for row in ground.rows if INIT in row.entry.params and _only(row.entry, INIT)]
        starts = sorted({shown(row.entry.params[INIT]) for row in rows})
        if len(starts) < 2:
            continue
        lines = []
        alike = grouped(
            rows, lambda row: (row.entry.method, row.entry.network, row.entry.draw, row.entry.rest)
        )
        methods = [method for method, *_ in alike]
        for (method, network, draw, rest), members in sorted(alike.items()):
            others = draw_remark(draw)
            several = methods.count(method) > 1
            others += [f"distilled with {network}", f"version {short(rest)}"] if several else []
            for place in places:
                cells = {shown(r.entry.params[INIT]): r.cells[place] for r in members if place in r.cells}
                if not cells or place.whole:
                    continue
                best = _best(cells)
                values = tuple(scored(cells.get(start), best=start in best) for start in starts)
                about = Head(method, method_page(method), remarks=(amount(place.ppc), *others))
                lines.append(Line(about, values))
        headings = tuple(Heading(f"init{column}", start) for column, start in enumerate(starts, 1))
        caption = f"Overall accuracy by initialisation on {title}"
        table = Table(name, f"{caption}: {group}", headings, tuple(lines))
        notes = copies_notes(board, [section], {place.name for place in places})
        plots = (_heat(table, caption),)
        found.append(Block(name, title, tables=(table,), plots=plots, notes=notes, group=group))
    return found


def ablations(board: Board) -> list[Block]:
    """The variations of every method that has some, each against the method's defaults."""
    found = []
    for title, group, name, section, places in _data_of_sections(board, "a"):
        compared = [place for place in places if not place.whole]
        ground = grounded(section.rows, compared, asked(section.setting.base))
        by_method = grouped(ground.rows, lambda row: (row.entry.method, row.entry.draw))
        for number, ((method, draw), rows) in enumerate(sorted(by_method.items()), 1):
            if len(rows) < 2:
                continue
            about = ", ".join([f"{method} on {title}", *draw_remark(draw)])
            found.append(_ablated(board, section, rows, compared, f"{name}-{number}", about, group))
    return found


def _ablated(
    board: Board,
    section: BoardSection,
    rows: Sequence[BoardRow],
    places: Sequence[Place],
    name: str,
    title: str,
    group: str,
) -> Block:
    base = default_row(rows, rows[0].entry.method, places)
    changed = sorted(
        (row for row in rows if row is not base), key=lambda r: (r.entry.variation, r.entry.digest)
    )
    against = {
        place: differences(
            base.cells[place],
            {row.entry.digest: row.cells[place] for row in changed if place in row.cells},
            place,
            asked(section.setting.base),
        )
        for place in places
        if base and place in base.cells and any(place in row.cells for row in changed)
    }
    headings: list[Heading] = []
    for place in places:
        headings.append(place_heading(place))
        if place in against:
            headings.append(
                Heading(f"defaults-{ppc_key(place)}", f"{amount(place.ppc)} against the defaults")
            )
    lines, gains = [], []
    for row in [*([base] if base else []), *changed]:
        there = {place: difference(found.get(row.entry.digest)) for place, found in against.items()}
        values: list[Value] = []
        for place in places:
            values += [scored(row.cells.get(place)), *([there[place]] if place in there else [])]
        lacking = _lacking(row, rows, places)
        about = head(row.entry, board, section.setting.student, lacking)
        lines.append(Line(about, tuple(values), last=bool(lacking)))
        if row is not base:
            words = _changed(row.entry, about)
            gains.append(HeatRow(words, "", tuple(_heated(words, each, "points") for each in there.values())))
    table = Table(name, f"Variations of {title}: {group}", tuple(headings), tuple(lines))
    notes = copies_notes(board, [section], {place.name for place in places})
    columns = tuple(amount(place.ppc) for place in against)
    caption = f"Against the defaults: {title}"
    description = "In points of accuracy. Blue settings gain, orange ones lose."
    heat = Heat(f"{name}-heat", caption, description, columns, tuple(gains), diverging=True)
    plots = (heat,) if against else ()
    return Block(name, title, tables=(table,), plots=plots, notes=notes, group=group)


def _changed(entry: Entry, about: Head) -> str:
    """What tells a variation from the defaults: its setting's name where it has one, else its parameters."""
    values = [] if entry.setting else [f"{key}={value}" for key, value in entry.variation]
    return ", ".join([*values, *about.remarks])


def _lacking(row: BoardRow, rows: Sequence[BoardRow], places: Sequence[Place]) -> list[str]:
    """`incomplete`, where a row lacks a place that most of the others have."""
    common = [place for place in places if 2 * sum(place in each.cells for each in rows) > len(rows)]
    return [] if row.complete(common) else ["incomplete"]


def _best(cells: Mapping[str, MeasuredCell]) -> frozenset[str]:
    """The best of some cells, on the repetitions that all have."""
    common = min((cell.repetitions for cell in cells.values()), default=0)
    if not common:
        return frozenset()
    firsts = {name: cell.oa.first(common, cell.students) for name, cell in cells.items()}
    return leading({name: sum(map(sum, first)) / sum(map(len, first)) for name, first in firsts.items()})


def _crossed(
    board: Board,
    sections: Sequence[BoardSection],
    headings: Sequence[Heading],
    name: str,
    group: str,
    axis: str,
    counts: Callable[[Entry, BoardSection], bool],
) -> Iterator[Block]:
    """A block for each training set and PPC: columns of sections, rows that have a cell that counts.

    A section that tests on several copies of a data set has a column for each.
    """
    for number, (title, by_section) in enumerate(_places(board, sections), 1):
        entries: dict[str, Entry] = {}
        cells: dict[str, dict[int, MeasuredCell]] = {}
        placed: list[tuple[Heading, BoardSection, Place]] = []
        for heading, section in zip(headings, sections, strict=True):
            copies = by_section.get(section.setting.digest, [])
            for place in copies:
                own = heading if len(copies) == 1 else _of_copy(heading, board, place)
                placed.append((own, section, place))
        for column, (_, section, place) in enumerate(placed):
            for row in section.rows:
                if place in row.cells:
                    entries[row.entry.digest] = row.entry
                    cells.setdefault(row.entry.digest, {})[column] = row.cells[place]
        rows = {
            key: there
            for key, there in cells.items()
            if any(counts(entries[key], placed[column][1]) for column in there)
        }
        columns = [column for column in range(len(placed)) if any(column in there for there in rows.values())]
        if rows:
            heads = tuple(placed[column][0] for column in columns)
            lines = tuple(_crossed_lines(board, entries, rows, columns))
            table = Table(f"{name}-{number}", f"Overall accuracy by {axis} on {title}: {group}", heads, lines)
            notes = copies_notes(board, sections, {place.name for _, _, place in placed})
            plots = (_heat(table, f"Overall accuracy by {axis} on {title}"),) if len(columns) > 1 else ()
            yield Block(f"{name}-{number}", title, tables=(table,), plots=plots, notes=notes, group=group)


def _heat(table: Table, title: str) -> Heat:
    """The means of a table as a heat map."""
    rows = tuple(
        HeatRow(
            line.head.text,
            line.head.page,
            tuple(_heated(line.head.text, value, "%") for value in line.values),
        )
        for line in table.lines
    )
    description = "Means in percent; the darker, the more accurate."
    return Heat(f"{table.name}-heat", title, description, brief(table), rows, diverging=False)


def _heated(words: str, value: Value, unit: str) -> HeatValue:
    """A value of a table as one of a heat map; words: what the line is of."""
    if not isinstance(value.value, float):
        return HeatValue(None, value.text, f"{words}: not measured")
    text = signed(value.value, 0) if unit == "points" else rounded(value.value, 0)
    note = f", {value.note}" if unit == "points" else ""
    return HeatValue(value.value, text, f"{words}: {value.text} {unit}{note}")


def brief(table: Table) -> tuple[str, ...]:
    """The titles of columns, of networks without their presets where these are told apart without."""
    titles = [heading.title for heading in table.headings]
    names = [title.partition(":")[0] for title in titles]
    return tuple(names if len(set(names)) == len(names) else titles)


def _of_copy(heading: Heading, board: Board, place: Place) -> Heading:
    """A section's heading for one of the copies that it tests on."""
    version = board.versions.get(place.data, "")
    return replace(heading, key=f"{heading.key}-{version}", title=f"{heading.title} ({version})")


def _crossed_lines(
    board: Board,
    entries: Mapping[str, Entry],
    rows: Mapping[str, Mapping[int, MeasuredCell]],
    columns: Sequence[int],
) -> Iterator[Line]:
    by_draw = grouped(rows, lambda key: entries[key].draw)
    best = {
        (column, draw): _best(
            {key: rows[key][column] for key in keys if column in rows[key] and not entries[key].chosen}
        )
        for column in columns
        for draw, keys in by_draw.items()
    }
    networks = {entries[key].network for key in rows}
    common = [c for c in columns if 2 * sum(c in there for there in rows.values()) > len(rows)]

    def order(key: str) -> tuple[bool, float, str, str]:
        means = [rows[key][column].oa.mean for column in common if column in rows[key]]
        mean = sum(means) / len(means) if means else 0.0
        return len(means) < len(common), -mean, entries[key].method, key

    for key in sorted(rows, key=order):
        there, entry = rows[key], entries[key]
        said = [f"distilled with {entry.network}"] if len(networks) > 1 else []
        missing = not there.keys() >= set(common)
        said += ["incomplete"] if missing else []
        about = head(entry, board, entry.network, [*said, *chosen_by(entry, there.values())])
        values = tuple(scored(there.get(column), best=key in best[column, entry.draw]) for column in columns)
        yield Line(about, values, last=missing)


def _protocol(section: BoardSection) -> str:
    open_division = ", open division" if section.setting.division == "open" else ""
    validation = ", validation parts" if section.setting.validation else ""
    return f"Protocol {section.setting.protocol}{open_division}{validation}"


def _places(board: Board, sections: Sequence[BoardSection]) -> list[tuple[str, dict[str, list[Place]]]]:
    """Every training set and PPC with its places in each section that has it, by the section's digest."""
    pairs = [(section.setting.digest, place) for section in sections for place in section.places]
    by_training = grouped(pairs, lambda pair: (pair[1].name, pair[1].training, pair[1].ppc))
    found = []
    for (name, *_), members in sorted(by_training.items(), key=lambda item: item[1][0][1].order):
        place = members[0][1]
        by_section: dict[str, list[Place]] = {}
        for section, each in members:
            by_section.setdefault(section, []).append(each)
        several = any(len(places) > 1 for places in by_section.values())
        title = name if several else data_title(board, name, place.data, place.standard)
        found.append((f"{title}, {amount(place.ppc)}", by_section))
    return found


def _data_of_sections(
    board: Board, letter: str
) -> Iterable[tuple[str, str, str, BoardSection, tuple[Place, ...]]]:
    """Title, group, name and places of every data set of every section with a plain test."""
    for number, section in enumerate(board.plain, 1):
        for data_number, ((name, data), places) in enumerate(section.data.items(), 1):
            title = data_title(board, name, data, all(place.standard for place in places))
            yield title, setting_title(section, board), f"{letter}{number}-{data_number}", section, places


def _only(entry: Entry, parameter: str) -> bool:
    """Whether no other parameter differs from its default."""
    return all(key == parameter for key, _ in entry.variation)


def _student(section: BoardSection, board: Board) -> str:
    version = board.versions.get(section.setting.student_source, "")
    return section.setting.student + (f" ({version})" if version else "")


VIEWS: Mapping[str, Callable[[Board], list[Block]]] = {
    "cross-architecture": cross_architecture,
    "initialisation": initialisation,
    "ablations": ablations,
    "robustness": robustness,
}
