"""The overview: of each section and data set scores, ranks, tiers, gains, differences from the anchors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from pcbench.records.labels import amount
from pcbench.report.cells import Board, BoardRow, BoardSection, MeasuredCell, Place
from pcbench.report.tables import MISSING, Block, Heading, Line, Table, Value
from pcbench.report.text import number
from pcbench.report.values import (
    ANCHOR,
    LEADER,
    copies_notes,
    data_title,
    default_row,
    difference,
    differences,
    head,
    is_top,
    place_heading,
    ppc_key,
    remarks,
    scored,
    setting_title,
    top,
)  # fmt: skip
from pcbench.stats import Comparison, Ranks, gain, rank_intervals, tiers

DRAWS = 2000
APART = "‡ No mean is taken over copies of one data set. Ranks and tiers count each copy for itself."


def blocks(board: Board) -> list[Block]:
    """One block for all data sets of a section where it has several, and one for each."""
    found: list[Block] = []
    for number_, section in enumerate(board.plain, 1):
        several = len({place.data for place in section.places if not place.whole}) > 1
        blocks = [_across(board, section, f"s{number_}")] if several else []
        blocks += [
            _one(board, section, name, data, places, f"s{number_}-d{data_number}")
            for data_number, ((name, data), places) in enumerate(section.data.items(), 1)
        ]
        blocks[0] = replace(blocks[0], text=section.setting.summary)
        found += blocks
    return found


def standing(rows: Sequence[BoardRow], places: Sequence[Place]) -> tuple[dict[str, Ranks], dict[str, int]]:
    """Rank intervals and tiers of the rows that are complete, by the digest of their entry.

    Two copies of a data set are two places, and each counts.
    """
    complete = [row for row in rows if row.complete(places)]
    cells = {
        place.key: {row.entry.digest: row.cells[place].oa.by_distillation for row in complete}
        for place in places
    }
    if not places or len(complete) < 2:
        return {}, {}
    return rank_intervals(cells, draws=DRAWS), tiers(cells)


def _across(board: Board, section: BoardSection, name: str) -> Block:
    """All data sets: mean of every cell, mean of all, ranks and tiers over all."""
    places = [place for place in section.places if not place.whole]
    rows = [row for row in section.there(places) if any(place in row.cells for place in places)]
    ranks, tier = standing(rows, places)
    headings = [
        *_ranked_headings(),
        *(
            Heading(
                f"{ppc_key(place)}-{column}",
                f"{data_title(board, place.name, place.data, place.standard)} {amount(place.ppc)}",
            )
            for column, place in enumerate(places, 1)
        ),
        Heading("mean", "Mean ‡" if section.copies.keys() & {place.name for place in places} else "Mean"),
    ]
    copies = section.copies.keys() & {place.name for place in places}
    best = {place: top(row.cells.get(place) for row in rows) for place in places}
    lines = [
        Line(
            head(row.entry, board, section.setting.student, remarks(row, places)),
            (
                *_ranked(row, ranks, tier),
                *(_mean_of(row, place, best[place]) for place in places),
                MISSING if copies else _mean(row, places),
            ),
            last=not row.complete(places),
        )
        for row in rows
    ]
    title = setting_title(section, board)
    table = Table(f"{name}-all", f"Overall accuracy, all data sets: {title}", tuple(headings), tuple(lines))
    notes = copies_notes(board, [section], {place.name for place in places})
    notes += (APART,) if notes else ()
    return Block(name, "All data sets", tables=(table,), notes=notes, group=title)


def _one(
    board: Board, section: BoardSection, data: str, version: str, places: tuple[Place, ...], name: str
) -> Block:
    """One data set: accuracy with everything that is derived from it, and mean class accuracy."""
    student = section.setting.student
    compared = [place for place in places if not place.whole]
    rows = section.there(places)
    scored_rows = [row for row in rows if any(place in row.cells for place in compared)]
    ranks, tier = standing(scored_rows, compared)
    random, whole = default_row(rows, ANCHOR, compared), default_row(rows, "whole", places)
    leader = next((row for row in scored_rows if row.complete(compared)), None)
    gains = random is not None and whole is not None and bool(compared)
    anchors = [(key, row) for key, row in ((ANCHOR, random), (LEADER, leader)) if row is not None]
    anchors = anchors if len(scored_rows) > 1 else []
    against = {
        (key, place): differences(
            row.cells.get(place),
            {r.entry.digest: r.cells[place] for r in scored_rows if r is not row and place in r.cells},
        )
        for key, row in anchors
        for place in compared
    }
    best = {place: top(row.cells.get(place) for row in rows) for place in places}
    headings = [*(_ranked_headings() if compared else [])]
    for place in places:
        headings.append(place_heading(place))
        if not place.whole:
            label = amount(place.ppc)
            headings += [Heading(f"gain-{ppc_key(place)}", f"Gain, {label}")] if gains else []
            headings += [
                Heading(
                    f"{key}-{ppc_key(place)}",
                    f"{label} against {_called(key, row)}",
                    anchor=key,
                    anchor_label=_called(key, row),
                )
                for key, row in anchors
            ]
    several = len(compared) > 1
    headings += [Heading("mean", "Mean", brief=True)] if several else []

    def line(row: BoardRow) -> Line:
        values: list[Value] = [*(_ranked(row, ranks, tier) if compared else [])]
        for place in places:
            cell = row.cells.get(place)
            values.append(scored(cell, best=cell is not None and is_top(cell.oa, best[place])))
            if not place.whole:
                values += [_gain(row, random, whole, place)] if gains else []
                values += [_against(row, anchor, against[key, place]) for key, anchor in anchors]
        values += [_mean(row, compared)] if several else []
        return Line(
            head(row.entry, board, student, remarks(row, compared)),
            tuple(values),
            last=not row.complete(compared),
        )

    title = data_title(board, data, version, all(place.standard for place in places))
    setting = setting_title(section, board)
    oa = Table(
        f"{name}-oa", f"Overall accuracy on {title}: {setting}", tuple(headings), tuple(map(line, rows))
    )
    notes = copies_notes(board, [section], {data})
    notes += ("† Not the data set of its card: classes or counts differ.",) if title.endswith("†") else ()
    macc = _macc(
        board, section, rows, places, compared, f"{name}-macc", f"Mean class accuracy on {title}: {setting}"
    )
    return Block(name, title, tables=(oa, macc), notes=notes, group=setting)


def _macc(
    board: Board,
    section: BoardSection,
    rows: Sequence[BoardRow],
    places: Sequence[Place],
    compared: Sequence[Place],
    name: str,
    caption: str,
) -> Table:
    best = {place: top((row.cells.get(place) for row in rows), macc=True) for place in places}
    lines = []
    for row in rows:
        cells = [(row.cells.get(place), best[place]) for place in places]
        values = tuple(
            scored(cell, cell.macc if cell else None, cell is not None and is_top(cell.macc, most))
            for cell, most in cells
        )
        about = head(row.entry, board, section.setting.student, remarks(row, compared))
        lines.append(Line(about, values, last=not row.complete(compared)))
    return Table(name, caption, tuple(place_heading(place, "macc-") for place in places), tuple(lines))


def _ranked_headings() -> list[Heading]:
    return [
        Heading("rank", "Rank", note="median and 95 % interval", brief=True),
        Heading("tier", "Tier", note="not told apart within"),
        Heading("status", "Status", "text"),
    ]


def _ranked(row: BoardRow, ranks: Mapping[str, Ranks], tier: Mapping[str, int]) -> list[Value]:
    found = ranks.get(row.entry.digest)
    badges = {cell.badge for cell in row.cells.values()}
    badge = next(each for each in ("refuted", "reproduced", "verified") if each in badges)
    status = Value("", badge, badge=badge)
    if found is None:
        return [MISSING, MISSING, status]
    known = found.low is not None and found.high is not None and found.low != found.high
    span = f"{found.low:g}–{found.high:g}" if known else ""
    in_tier = tier[row.entry.digest]
    return [
        Value(f"{found.median:g}", found.median, note=span),
        Value(str(in_tier), float(in_tier), look="tier"),
        status,
    ]


def _mean(row: BoardRow, places: Sequence[Place]) -> Value:
    mean = row.mean(places)
    return MISSING if mean is None else Value(number(mean), mean)


def _mean_of(row: BoardRow, place: Place, best: float | None) -> Value:
    cell = row.cells.get(place)
    return MISSING if cell is None else Value(number(cell.oa.mean), cell.oa.mean, best=is_top(cell.oa, best))


def _gain(row: BoardRow, random: BoardRow | None, whole: BoardRow | None, place: Place) -> Value:
    """Of the mean, between random selection at this PPC and the whole split; students are the same."""
    cells = [row.cells.get(place), random and random.cells.get(place), whole and _whole(whole, place)]
    found = gain(*(cell.oa.mean if cell else None for cell in cells))
    return MISSING if found is None else Value(number(found, 2), found)


def _whole(whole: BoardRow, place: Place) -> MeasuredCell | None:
    return next((cell for each, cell in whole.cells.items() if each.whole and each.data == place.data), None)


def _against(row: BoardRow, anchor: BoardRow, found: Mapping[str, Comparison]) -> Value:
    return Value("anchor") if row is anchor else difference(found.get(row.entry.digest))


def _called(key: str, row: BoardRow) -> str:
    return key if key == ANCHOR else f"{row.entry.method} (the leader)"
