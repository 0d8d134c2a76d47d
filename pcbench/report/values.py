"""Cells as values of tables: scores, differences from an anchor, times; one way to write each."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Literal

from pcbench.records.labels import amount
from pcbench.report.cells import Board, BoardRow, BoardSection, CellScores, Entry, MeasuredCell, Place
from pcbench.report.compared import repetitions_text
from pcbench.report.tables import MISSING, Head, Heading, Link, Value
from pcbench.report.text import MINUS, duration, file_stem, number, signed, spread
from pcbench.stats import Comparison, Interval

LEADER = "leader"
USUAL_DRAW = "nested"
"""The draw of the first clouds that is not mentioned beside a method."""

ANCHOR = "random"
"""The method that others are compared with, beside the leader: pcbench's own, with its defaults."""


def method_page(name: str) -> str:
    """The page of a method."""
    return f"methods/{file_stem(name)}"


def run_page(name: str) -> str:
    """The page of a run."""
    return f"runs/{name}"


def head(entry: Entry, board: Board, student: str, remarks: Sequence[str] = ()) -> Head:
    """The head of an entry's line: the draw where it is not the usual one, the network where the student is
    another."""
    said = [f"distilled with {entry.network}"] if entry.network != student else []
    said += [f"setting {entry.setting}"] if entry.setting else []
    said += [*draw_remark(entry.draw), *_version(entry, board)]
    return Head(entry.method, method_page(entry.method), entry.variation, (*said, *remarks))


def draw_remark(draw: str) -> list[str]:
    """`draw authors`; nothing of the usual one."""
    return [f"draw {draw}"] if draw != USUAL_DRAW else []


def _version(entry: Entry, board: Board) -> list[str]:
    """`version 3f9c0a12be`, where another entry reads the same."""
    version = board.versions.get(entry.digest, "")
    return [f"version {version}"] if version else []


def scored(
    cell: MeasuredCell | None,
    scores: CellScores | None = None,
    best: bool = False,
    counted: float | None = None,
    repetitions: int = 0,
) -> Value:
    """`54.3 ± 1.2` with its interval and counts, and links to the runs. scores: OA unless given.

    counted, repetitions: where not all repetitions are compared with others, the mean of those that are, and
    how many they are.
    """
    if cell is None:
        return MISSING
    interval = (scores or cell.oa).interval
    link, more = run_links(cell.pages)
    compared = [] if counted is None else [f"compared: {number(counted)}, {repetitions_text(repetitions)}"]
    return Value(
        text=spread(interval.mean, interval.std),
        value=interval.mean,
        note=", ".join([*bounds(interval), cell.counts, *compared]),
        link=link,
        more=more,
        badge="" if cell.badge == "run here" else cell.badge,
        about="" if cell.badge == "run here" else cell.status.text,
        best=best,
        std=interval.std,
    )


def run_links(pages: Sequence[str]) -> tuple[Link, tuple[Link, ...]]:
    """The link of a value to the first of its runs, and those to the others by number."""
    first, *others = pages
    return Link(run_page(first)), tuple(Link(run_page(page), str(n)) for n, page in enumerate(others, 2))


def bounds(interval: Interval) -> list[str]:
    """`53.1 to 55.5`, or nothing where one score has no spread."""
    if interval.low is None or interval.high is None:
        return []
    return [f"{number(interval.low)} to {number(interval.high)}"]


def signed_bounds(interval: Interval) -> list[str]:
    """`+3.1 to +5.5`."""
    if interval.low is None or interval.high is None:
        return []
    return [f"{signed(interval.low)} to {signed(interval.high)}"]


def difference(found: tuple[Comparison, int] | None, usual: int = 1) -> Value:
    """`+5.1` with its interval and Holm's p; the repetitions that were compared where they are not the usual
    number."""
    if found is None:
        return MISSING
    comparison, repetitions = found
    p = "p < 0.001" if comparison.p_holm < 0.001 else f"p {comparison.p_holm:.3f}"
    mean, std = comparison.difference.mean, comparison.difference.std
    text = signed(mean)
    look: Literal["", "up", "down"] = (
        "up" if text.startswith("+") else "down" if text.startswith(MINUS) else ""
    )
    told = look if comparison.p_holm < 0.05 else ""
    on = [] if repetitions == usual else [repetitions_text(repetitions)]
    return Value(
        text, mean, note=", ".join([*signed_bounds(comparison.difference), p, *on]), std=std, look=told
    )


def timed(cell: MeasuredCell | None, hardware: str) -> Value:
    """The mean time of a distillation on that hardware; that of a busy machine is not given."""
    seconds = cell.seconds(hardware) if cell else None
    if cell is None or seconds is None:
        return replace(MISSING, note="busy machine") if cell and cell.busy(hardware) else MISSING
    beginning = cell.beginning(hardware) or 0.0
    return Value(duration(seconds), seconds, note=beginning_note(beginning, seconds))


WORTH_SAYING = 1.0
"""Seconds: less time before the first clouds is not mentioned."""


def beginning_note(beginning: float, seconds: float) -> str:
    """How much of a time went by before the first clouds: mostly the training of the network they are chosen
    by."""
    if beginning < WORTH_SAYING:
        return ""
    part = "all" if duration(beginning) == duration(seconds) else duration(beginning)
    return f"training of its network: {part}"


def place_heading(place: Place, prefix: str = "", brief: bool = True) -> Heading:
    """The head of a place's column: its PPC."""
    return Heading(f"{prefix}{ppc_key(place)}", amount(place.ppc), brief=brief)


def ppc_key(place: Place) -> str:
    """`ppc3`, or `whole`."""
    return "whole" if place.whole else f"ppc{place.ppc}"


def data_title(board: Board, name: str, data: str, standard: bool) -> str:
    """A data set's name, with its version where there are two, and † where it is not that of its card."""
    version = board.versions.get(data, "")
    return name + (f" ({version})" if version else "") + ("" if standard else " †")


def copies_notes(board: Board, sections: Iterable[BoardSection], names: Collection[str]) -> tuple[str, ...]:
    """For each of the data sets of which a section has several copies, a note of what tells them apart."""
    found: dict[str, None] = {}
    for section in sections:
        for name, places in section.copies.items():
            if name in names:
                told = "; ".join(
                    f"{data_title(board, name, place.data, place.standard)}: "
                    + ", ".join(f"{key} {text}" for key, text in place.about)
                    for place in places
                )
                found[f"{len(places)} copies of {name} are here, and none is taken for another. {told}."] = (
                    None
                )
    return tuple(found)


def versions(entry: Entry, section: BoardSection, board: Board) -> tuple[str, ...]:
    """What tells an entry from others that read the same: draw, version, its students' source."""
    source = board.versions.get(section.setting.student_source, "")
    words = [f"student source {source}"] if source else []
    return (*draw_remark(entry.draw), *_version(entry, board), *words)


def setting_title(section: BoardSection, board: Board) -> str:
    """`Protocol lite, student pointnet:paper`, with test, source and open division where they matter."""
    setting = section.setting
    words = [f"Protocol {setting.protocol}", f"student {setting.student}"]
    words += [f"test {setting.test}"] if setting.test else []
    version = board.versions.get(setting.student_source, "")
    words += [f"source {version}"] if version else []
    words += ["open division"] if setting.division == "open" else []
    words += ["parameters tried on validation parts"] if setting.validation else []
    return ", ".join(words)


def default_row(rows: Iterable[BoardRow], method: str, places: Sequence[Place]) -> BoardRow | None:
    """The row of a method with its defaults; None where it was not run so.

    Where the method has the name of a built-in one, only rows of pcbench's own code. Of several the one with
    most of the places counts, then one that was made here, then the one of the usual draw.
    """

    def order(row: BoardRow) -> tuple[int, bool, bool, str]:
        usual = row.entry.draw == USUAL_DRAW
        return sum(p in row.cells for p in places), not row.claimed, usual, row.entry.digest

    by_default = [
        row for row in rows if row.entry.method == method and not row.entry.variation and row.entry.genuine
    ]
    return max(by_default, key=order, default=None)
