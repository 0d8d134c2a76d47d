"""Records as one list for people and programs: a line a run or a cell, whatever became of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pcbench.protocols.variants import PLAIN
from pcbench.records.labels import bare_amount
from pcbench.report import stale
from pcbench.report.cells import Board, BoardSection, Entry, MeasuredCell, Place, Unfinished
from pcbench.report.gather import Gathered
from pcbench.report.text import spread
from pcbench.report.values import USUAL_DRAW

FINISHED, STALE, NOT_EVALUATED = "finished", "stale", "not evaluated"
STATES = {
    "ok": NOT_EVALUATED,
    "failed": "failed",
    "timeout": "timeout",
    "oom": "out of memory",
    "interrupted": "interrupted",
}
"""Of a run without a score, by how its distillation ended."""


@dataclass(frozen=True)
class Listed:
    """A cell, or one of its runs."""

    entry: Entry
    """The method with all that tells its rows apart."""
    data: str
    """The data set's name."""
    ppc: int
    """Point clouds per class, 0 for the whole training split."""
    protocol: str
    """The protocol's label; empty where nothing was evaluated."""
    division: str
    """`closed` or `open`; empty where nothing was evaluated."""
    student: str
    """The students' network; empty where there are none."""
    test: str
    """How test clouds were changed, as `plain`."""
    repetitions: tuple[int, ...]
    """Which of the repeated distillations."""
    state: str
    """`finished`, `stale`, `not evaluated`, `failed`, `timeout`, `out of memory` or `interrupted`."""
    reason: str
    """Why it is in that state; empty where it is finished."""
    cell: MeasuredCell | None
    """The scores, where there are some."""
    runs: tuple[str, ...]
    """The names of the folders."""

    @property
    def method(self) -> str:
        """`sadm lr=5 rotate=false`."""
        return self.entry.title

    @property
    def oa(self) -> str:
        """`54.3 ± 1.2`, or nothing."""
        return spread(self.cell.oa.mean, self.cell.oa.interval.std) if self.cell else ""

    @property
    def values(self) -> dict[str, Any]:
        """All of it for programs, scores in percent."""
        cell = self.cell
        oa, macc = (cell.oa.interval, cell.macc.interval) if cell else (None, None)
        return {
            "method": self.entry.method,
            "setting": self.entry.setting,
            "parameters": dict(self.entry.variation),
            "data": self.data,
            "ppc": self.ppc,
            "protocol": self.protocol,
            "division": self.division,
            "distilled_with": self.entry.network,
            "student": self.student,
            "test": self.test,
            "draw": self.entry.draw,
            "repetitions": list(self.repetitions),
            "students": cell.students if cell else None,
            "state": self.state,
            "reason": self.reason,
            "oa": oa and oa.mean,
            "oa_std": oa and oa.std,
            "oa_low": oa and oa.low,
            "oa_high": oa and oa.high,
            "macc": macc and macc.mean,
            "macc_std": macc and macc.std,
            "seconds": cell.seconds() if cell else None,
            "badge": cell.badge if cell else None,
            "runs": list(self.runs),
        }


def by_run(gathered: Gathered, board: Board) -> list[Listed]:
    """A line for every evaluation of every run, and for every run without one."""
    lines = []
    for section, is_stale in _sections(board):
        for row in section.rows:
            for place, cell in row.cells.items():
                for result in cell.results:
                    one = MeasuredCell((result,))
                    lines.append(_measured(gathered, section, row.entry, place, one, is_stale))
    return _sorted([*lines, *_without(gathered, board)])


def by_cell(gathered: Gathered, board: Board) -> list[Listed]:
    """A line for every cell, its repetitions together as on the site; cells without a score among them."""
    lines = [
        _measured(gathered, section, row.entry, place, cell, is_stale)
        for section, is_stale in _sections(board)
        for row in section.rows
        for place, cell in row.cells.items()
    ]
    return _sorted([*lines, *_without(gathered, board)])


def _sections(board: Board) -> Iterable[tuple[BoardSection, bool]]:
    yield from ((section, False) for section in board.sections)
    yield from ((section, True) for section in board.stale)


def _measured(
    gathered: Gathered, section: BoardSection, entry: Entry, place: Place, cell: MeasuredCell, is_stale: bool
) -> Listed:
    return Listed(
        entry=entry,
        data=place.name,
        ppc=place.ppc,
        protocol=section.setting.protocol,
        division=section.setting.division,
        student=section.setting.student,
        test=section.setting.test or PLAIN.label,
        repetitions=tuple(cell.oa.groups),
        state=STALE if is_stale else FINISHED,
        reason=stale.why(cell),
        cell=cell,
        runs=tuple(gathered.kept[page].folder.name for page in cell.pages),
    )


def _without(gathered: Gathered, board: Board) -> list[Listed]:
    return [_unfinished(gathered, each) for each in board.unfinished]


def _unfinished(gathered: Gathered, run: Unfinished) -> Listed:
    return Listed(
        entry=run.entry,
        data=run.data,
        ppc=run.ppc,
        protocol="",
        division="",
        student="",
        test="",
        repetitions=(run.repetition,),
        state=STATES[run.status],
        reason=run.reason,
        cell=None,
        runs=(gathered.kept[run.page].folder.name,),
    )


def _sorted(lines: Iterable[Listed]) -> list[Listed]:
    return sorted(
        lines,
        key=lambda line: (
            line.data, line.ppc == 0, line.ppc, line.protocol, line.student, line.test, line.entry.draw,
            line.method, line.entry.network, line.repetitions, line.runs,
        ),
    )  # fmt: skip


@dataclass(frozen=True)
class Column:
    """A column of the list."""

    title: str
    """What people read."""
    text: Callable[[Listed], str]
    """What stands in it."""
    usual: str | None = None
    """Where all lines say this, the column says nothing and is left out."""
    number: bool = False
    """Whether it is aligned as a number."""
    long: bool = False
    """Whether it may have several lines, where a terminal is narrow."""


COLUMNS = (
    Column("method", lambda line: line.method),
    Column("data set", lambda line: line.data),
    Column("PPC", lambda line: bare_amount(line.ppc), number=True),
    Column("protocol", lambda line: line.protocol, long=True),
    Column("student", lambda line: line.student),
    Column("distilled with", lambda line: _other_network(line), usual=""),
    Column("test", lambda line: line.test or PLAIN.label, usual=PLAIN.label),
    Column("draw", lambda line: line.entry.draw, usual=USUAL_DRAW),
    Column("repetitions", lambda line: ", ".join(map(str, line.repetitions)), number=True),
    Column("students", lambda line: str(line.cell.students) if line.cell else "", number=True),
    Column("state", lambda line: line.state),
    Column("OA", lambda line: line.oa, number=True),
)


def _other_network(line: Listed) -> str:
    """The network that was distilled with, where students are of another one."""
    return "" if line.student in ("", line.entry.network) else line.entry.network


def columns(lines: Sequence[Listed]) -> list[Column]:
    """Those that say something of these lines."""
    return [
        each for each in COLUMNS if each.usual is None or {each.text(line) for line in lines} != {each.usual}
    ]
