"""How far the plans of a folder of runs are, by the names of its files: quick for ten thousand cells."""

from __future__ import annotations

import contextlib
import itertools
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from pcbench.common.text import one_line
from pcbench.errors import DataError
from pcbench.records import attempts, layout, plans
from pcbench.records.attempts import Attempt
from pcbench.records.plans import Plan, PlannedCell
from pcbench.records.store import read_distillation

Word = Literal[
    "done", "running", "queued", "lost", "failed", "timeout", "oom", "interrupted", "to evaluate", "to do"
]
"""What there is of a cell; `lost`: whoever worked at it is gone without a word.

`queued`: its task waits in a cluster's queue, which no file says, see `executors.waiting`.
"""
WORDS: tuple[Word, ...] = get_args(Word)
FAILED: tuple[Word, ...] = ("failed", "timeout", "oom")
"""Those of which running the same again may give the same."""
WAITING: tuple[Word, ...] = ("to evaluate", "to do")
"""Those at which nobody works, and nobody has failed."""
PACE = 50
"""So many of the cells that were done last tell how long the others take."""


@dataclass(frozen=True)
class Standing:
    """What there is of a planned cell."""

    plan: Plan
    """The plan."""
    cell: PlannedCell
    """The cell."""
    word: Word
    """What there is of it."""
    why: str = ""
    """Who works at it and since when, or why it did not end well; empty where there is nothing to say."""
    log: tuple[str, ...] = ()
    """The last lines that its process printed, where it did not end well."""
    ended: float | None = None
    """When it was done, in seconds since 1970 by the clock of the files; None where it is not."""


def standings(out: Path, of: Sequence[Plan] | None = None) -> list[Standing]:
    """Every cell of the plans that were worked through in a folder, each once, in the order of the plans.

    of: the plans that are asked for, unless all are.
    """
    folders = _folders(out)
    tried = {path.stem: path for path in layout.attempts(out).glob("*.json")}
    known: dict[tuple[str, str], Standing] = {}
    for plan in plans.kept(out) if of is None else of:
        for cell in plan.cells:
            place = cell.key, cell.evaluation
            if place not in known:
                known[place] = _standing(out, plan, cell, folders, tried)
    return list(known.values())


def seconds_left(cells: Sequence[Standing]) -> float | None:
    """How long the cells that are not done may take, at the pace of those that were done last.

    The longest time between two of them is left out: it may be a night in which nobody worked. None where
    nothing is at work, or too few are done to tell.
    """
    ended = sorted(each.ended for each in cells if each.ended is not None)[-PACE:]
    between = sorted(later - earlier for earlier, later in itertools.pairwise(ended))[:-1]
    if not between or all(each.word != "running" for each in cells):
        return None
    left = sum(each.word != "done" and each.word not in FAILED for each in cells)
    return left * statistics.fmean(between)


def _folders(out: Path) -> dict[str, Path]:
    """The folders of runs by the digits of the key in their names."""
    try:
        with os.scandir(out) as entries:
            names = [entry.name for entry in entries if not entry.name.startswith(".")]
    except FileNotFoundError as error:
        raise DataError(f"there is no {out}: name a folder that 'pcbench run' made") from error
    return {name.rpartition("-")[2]: out / name for name in names}


def _standing(
    out: Path, plan: Plan, cell: PlannedCell, folders: Mapping[str, Path], tried: Mapping[str, Path]
) -> Standing:
    path = tried.get(layout.attempt(out, cell.key, cell.evaluation).stem)
    attempt = attempts.read(path) if path else None
    if attempt is not None:
        return _of_attempt(out, plan, cell, attempt)
    folder = folders.get(layout.short(cell.key))
    if folder is None or not layout.is_run_folder(folder):
        return Standing(plan, cell, "to do")
    with contextlib.suppress(FileNotFoundError):
        scored = layout.evaluation(folder, cell.evaluation).stat().st_mtime
        return Standing(plan, cell, "done", ended=scored)
    try:
        record = read_distillation(layout.distillation(folder))
    except DataError as error:
        return Standing(plan, cell, "to do", str(error))
    if record.status != "ok":
        return Standing(plan, cell, record.status, record.reason)
    return Standing(plan, cell, "to evaluate")


def _of_attempt(out: Path, plan: Plan, cell: PlannedCell, attempt: Attempt) -> Standing:
    """What the last attempt at a cell says, and whether whoever made it is still there."""
    who = f"process {attempt.pid} on {attempt.host}, since {attempt.begun}"
    if attempt.status != "running":
        return Standing(plan, cell, attempt.status, one_line(attempt.reason), tuple(attempt.log))
    if attempts.alive(out, cell.key, attempt):
        return Standing(plan, cell, "running", who)
    return Standing(plan, cell, "lost", f"{who}, is gone; the next 'pcbench run' or 'retry' takes it over")
