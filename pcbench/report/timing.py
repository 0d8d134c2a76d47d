"""Accuracy against distillation time: one plot and table a section, data set and hardware class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pcbench.protocols.asked import asked
from pcbench.records.labels import amount
from pcbench.report.cells import Board, BoardRow, BoardSection, MeasuredCell, Place
from pcbench.report.compared import grounded
from pcbench.report.svg import PlotData, PlotPoint, pareto
from pcbench.report.tables import MISSING, Block, Head, Heading, Line, Table, Value
from pcbench.report.text import duration, size, spread
from pcbench.report.values import (
    copies_notes,
    data_title,
    head,
    place_heading,
    ppc_key,
    scored,
    setting_title,
    timed,
)

NOTHING = 0.05
"""Seconds: what is faster reads as 0.0 s, and is drawn as such: the axis is logarithmic from there on."""


def blocks(board: Board) -> list[Block]:
    """Times are compared only within one hardware class, so that each has blocks of its own."""
    found = []
    for number, section in enumerate(board.plain, 1):
        for data_number, ((name, data), all_places) in enumerate(section.data.items(), 1):
            places = [place for place in all_places if not place.whole]
            title = data_title(board, name, data, all(place.standard for place in places))
            for hardware_number, hardware in enumerate(section.hardware, 1):
                there = grounded(section.rows, places, asked(section.setting.base)).rows
                rows = [row for row in there if any(_on(row, place, hardware) for place in places)]
                name_ = f"t{number}-{data_number}-{hardware_number}"
                about, left_out = f"{title}, {hardware}", _left_out(there, places, hardware)
                if rows:
                    block = _block(board, section, rows, places, hardware, name_, about)
                    found.append(replace(block, notes=(*left_out, *block.notes)))
                elif left_out:
                    found.append(Block(name_, about, notes=left_out, group=setting_title(section, board)))
    return found


def _left_out(rows: Sequence[BoardRow], places: Sequence[Place], hardware: str) -> tuple[str, ...]:
    """A note of the times that are left out because the machine was busy, where there are any."""
    busy = sum(row.cells[place].busy(hardware) for row in rows for place in places if place in row.cells)
    return (f"Times left out because the machine was busy: {busy}.",) if busy else ()


def _block(
    board: Board,
    section: BoardSection,
    rows: Sequence[BoardRow],
    places: Sequence[Place],
    hardware: str,
    name: str,
    title: str,
) -> Block:
    student, group = section.setting.student, setting_title(section, board)
    heads = [head(row.entry, board, student, row.chosen) for row in rows]
    series = []
    for style, place in enumerate(places):
        points = [
            timed_point(cell, hardware, about, amount(place.ppc))
            for row, about in zip(rows, heads, strict=True)
            if (cell := _on(row, place, hardware))
        ]
        series += [PlotData(amount(place.ppc), tuple(points), style)] if points else []
    with_memory = {
        place
        for place in places
        if any((cell := _on(row, place, hardware)) and cell.memory(hardware) is not None for row in rows)
    }
    headings: list[Heading] = []
    for place in places:
        label, key = amount(place.ppc), ppc_key(place)
        headings.append(place_heading(place))
        headings.append(Heading(f"seconds-{key}", f"Time, {label}", note="seconds in exports"))
        if place in with_memory:
            note = "of the GPU, without one of the method's process; bytes in exports"
            headings.append(Heading(f"memory-{key}", f"Peak memory, {label}", note=note))
    lines = []
    for row, about in zip(rows, heads, strict=True):
        values: list[Value] = []
        for place in places:
            cell = _on(row, place, hardware)
            values += [scored(cell), timed(cell, hardware)]
            values += [_memory(cell, hardware)] if place in with_memory else []
        lines.append(Line(about, tuple(values)))
    plot = pareto(
        f"{name}-plot",
        f"Accuracy against distillation time on {title}",
        "Each point leads to its method; bars are 95 % intervals.",
        "distillation time in seconds, logarithmic",
        "overall accuracy in %",
        series,
    )
    table = Table(
        name,
        f"{'Time and memory' if with_memory else 'Time'} on {title}: {group}",
        tuple(headings),
        tuple(lines),
    )
    notes = copies_notes(board, [section], {place.name for place in places})
    return Block(name, title, tables=(table,), plots=(plot,), notes=notes, group=group)


def _on(row: BoardRow, place: Place, hardware: str) -> MeasuredCell | None:
    """The cell of a place, where it was distilled on that hardware."""
    cell = row.cells.get(place)
    return cell if cell and cell.seconds(hardware) is not None else None


def timed_point(cell: MeasuredCell, hardware: str, about: Head, ppc: str) -> PlotPoint:
    """A cell over its time on some hardware."""
    interval, seconds = cell.oa.interval, cell.seconds(hardware) or 0.0
    said = f"{about.text}, {ppc}: {spread(interval.mean, interval.std)} % in {duration(seconds)}"
    at = 0.0 if seconds < NOTHING else seconds, interval.mean, interval.low, interval.high
    return PlotPoint(*at, about.name, said, about.page)


def _memory(cell: MeasuredCell | None, hardware: str) -> Value:
    """The largest peak memory of its distillations."""
    memory = cell.memory(hardware) if cell else None
    return MISSING if memory is None else Value(size(memory), float(memory))
