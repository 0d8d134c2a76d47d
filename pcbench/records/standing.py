"""How far the plans of a folder of runs are, by the names of its files: quick for ten thousand cells."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from pcbench.common.text import one_line
from pcbench.errors import DataError
from pcbench.records import attempts, layout, plans
from pcbench.records.attempts import Attempt
from pcbench.records.plans import Plan, PlannedCell
from pcbench.records.store import read_distillation

Word = Literal["done", "running", "lost", "failed", "timeout", "oom", "interrupted", "to evaluate", "to do"]
"""What there is of a cell; `lost`: whoever worked at it is gone without a word."""
WORDS: tuple[Word, ...] = get_args(Word)
FAILED: tuple[Word, ...] = ("failed", "timeout", "oom")
"""Those of which running the same again may give the same."""


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


def standings(out: Path) -> list[Standing]:
    """Every cell of the plans that were worked through in a folder, each once, in the order of the plans."""
    folders = _folders(out)
    tried = {path.stem: path for path in layout.attempts(out).glob("*.json")}
    known: dict[tuple[str, str], Standing] = {}
    for plan in plans.kept(out):
        for cell in plan.cells:
            place = cell.key, cell.evaluation
            if place not in known:
                known[place] = _standing(out, plan, cell, folders, tried)
    return list(known.values())


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
    if layout.evaluation(folder, cell.evaluation).exists():
        return Standing(plan, cell, "done")
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
