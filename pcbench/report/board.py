"""Results to a board: sections of one protocol, student, test and division, with rows and places."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

from pcbench.common.grouping import grouped
from pcbench.records.layout import short
from pcbench.report.cells import Board, BoardRow, BoardSection, MeasuredCell, Result, Unfinished


def board(found: Iterable[Result], without: Iterable[Unfinished] = ()) -> Board:
    """The sections of all results, standard protocols and the closed division first, stale ones apart."""
    by_age = grouped(found, lambda result: bool(result.stale))
    sections, stale = _sections(by_age.get(False, [])), _sections(by_age.get(True, []))
    rest = sorted(without, key=lambda u: (u.method, u.data, u.ppc, u.status, u.reason, u.page))
    return Board(sections, stale, tuple(rest), _versions_in(stale) | _versions_in(sections))


def _sections(found: Iterable[Result]) -> tuple[BoardSection, ...]:
    by_setting = grouped(found, lambda result: result.setting.digest)
    return tuple(sorted(map(_section, by_setting.values()), key=lambda section: section.order))


def _versions_in(sections: Iterable[BoardSection]) -> dict[str, str]:
    """What tells entries, places and students of some sections apart, by their hash."""
    labels: list[tuple[Hashable, str]] = []
    for section in sections:
        labels.append(((section.setting.student,), section.setting.student_source))
        for place in section.places:
            labels.append(((section.setting.digest, place.name), place.data))
        for row in section.rows:
            entry = row.entry
            labels.append(
                (
                    (section.setting.digest, entry.method, entry.variation, entry.network, entry.draw),
                    entry.digest,
                )
            )
    return _versions(labels)


def _section(found: Sequence[Result]) -> BoardSection:
    rows = []
    for members in grouped(found, lambda result: result.entry.digest).values():
        cells = {
            place: MeasuredCell(tuple(sorted(group, key=lambda r: (r.repetition, r.page))))
            for place, group in grouped(members, lambda result: result.place).items()
        }
        rows.append(BoardRow(members[0].entry, cells))
    rows.sort(key=lambda row: (row.entry.method, row.entry.variation, row.entry.digest))
    places = sorted({result.place for result in found}, key=lambda place: place.order)
    return BoardSection(found[0].setting, tuple(places), tuple(rows))


def _versions(pairs: Iterable[tuple[Hashable, str]]) -> dict[str, str]:
    """For every hash, the digits that stand for it where its label is not its own, and else nothing."""
    hashes: dict[Hashable, set[str]] = {}
    for label, value in pairs:
        hashes.setdefault(label, set()).add(value)
    found: dict[str, str] = {}
    for values in hashes.values():
        for value in values:
            found[value] = short(value) if len(values) > 1 else found.get(value, "")
    return found
