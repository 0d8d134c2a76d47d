"""`pcbench status` and `pcbench retry`: how far the plans of a folder are, and going on with them."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pcbench.cli.asking import with_options
from pcbench.cli.output import AsJson, opened, say
from pcbench.cli.run import Means, execute
from pcbench.cli.stopping import interruptible
from pcbench.errors import DataError
from pcbench.records.named import RESULTS

if TYPE_CHECKING:
    from pcbench.records.standing import Standing

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Where the records are.")]
EVERY = 5.0
"""Seconds between two looks of --watch."""
AT_WORK = ("running", "queued")
"""Those at which others work, or are about to."""
SHOWN = 20
"""Cells that are named of one state, unless all are asked for."""


def status(
    folder: Folder = RESULTS,
    why: Annotated[
        bool, typer.Option("--why", help="Name every cell that is not done, and say why it is not.")
    ] = False,
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Go on until nothing is running or queued; a line at every change."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """How many cells of the plans of a folder are done, running, failed or to do, and who works at them.

    Every 'pcbench run' leaves its plan beside the runs. The files are looked at by their names, not read.
    'lost' is a cell whose process was killed with all that could have said so, 'queued' one whose task waits
    in Slurm's queue.
    """
    cells = _looked_at(folder)
    if as_json:
        typer.echo(json.dumps(_values(cells), indent=1))
        return
    if not cells:
        raise DataError(f"{folder} holds no plan: 'pcbench run' leaves one, as of this version")
    _print(cells, SHOWN if not why else len(cells), why)
    if watch:
        with interruptible("only the watching has ended"):
            _watch(folder, cells)


def _looked_at(folder: Path) -> list[Standing]:
    """The cells of all plans of a folder, as their files and a cluster's queue say."""
    from pcbench.executors.waiting import queued
    from pcbench.records.standing import standings

    return queued(folder, standings(folder))


def _watch(folder: Path, cells: Sequence[Standing]) -> None:
    while any(each.word in AT_WORK for each in cells):
        time.sleep(EVERY)
        before, cells = _summary(cells), _looked_at(folder)
        if _summary(cells) != before:
            say(_summary(cells) + _left(cells))


def _summary(cells: Sequence[Standing]) -> str:
    """`88 cells: 60 done, 4 running, 1 failed, 23 to do`."""
    counts = _counts(cells)
    return f"{len(cells)} cells: {', '.join(f'{count} {word}' for word, count in counts.items() if count)}"


def _left(cells: Sequence[Standing]) -> str:
    """`; about 2 h left`; empty where nobody can tell."""
    from pcbench.records.standing import seconds_left
    from pcbench.report.text import duration

    seconds = seconds_left(cells)
    return f"; about {duration(seconds)} left" if seconds is not None else ""


def _counts(cells: Sequence[Standing]) -> dict[str, int]:
    from pcbench.records.standing import WORDS

    counts = Counter(each.word for each in cells)
    return {word: counts[word] for word in WORDS}


def _print(cells: Sequence[Standing], most: int, why: bool) -> None:
    from pcbench.records.standing import WAITING, WORDS

    say(_summary(cells) + _left(cells))
    for word in WORDS:
        if word == "done" or (word in ("queued", *WAITING) and not why):
            continue
        mine = [each for each in cells if each.word == word]
        for each in mine[:most]:
            say(f"{word}: {each.cell.title}{f': {each.why}' if each.why else ''}")
            for line in each.log if why else ():
                say(f"    {line}")
        if len(mine) > most:
            say(f"{word}: {len(mine) - most} more (--why)")


def _values(cells: Sequence[Standing]) -> dict[str, Any]:
    from pcbench.records.standing import seconds_left

    return {
        "counts": _counts(cells),
        "seconds left": seconds_left(cells),
        "cells": [
            {
                "title": each.cell.title,
                "key": each.cell.key,
                "evaluation": each.cell.evaluation,
                "plan": each.plan.hash,
                "state": each.word,
                "why": each.why,
                "log": list(each.log),
            }
            for each in cells
        ],
    }


@with_options(Means)
def retry(
    means: Means,
    folder: Folder = RESULTS,
    failed: Annotated[
        bool, typer.Option("--failed", help="Only what has failed, run out of memory or taken too long.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Work through what is not done of the plans of a folder, without naming it again.

    What other processes work at, or have queued, is left to them. Where code or data are not those that were
    planned, it refuses: 'pcbench run' plans anew.
    """
    from pcbench.cli.outcomes import finish
    from pcbench.engine import frozen, server
    from pcbench.records.standing import FAILED, standings

    there = standings(folder) if means.slurm else _looked_at(folder)  # who submits looks after what is queued
    asked = [
        each for each in there if (each.word in FAILED if failed else each.word not in ("done", *AT_WORK))
    ]
    if not asked:
        say("There is nothing to retry.")
        return
    if not means.slurm:
        server.start()
    catalogue = opened(means.plugins)
    outcomes = []
    for plan in {each.plan.hash: each.plan for each in asked}.values():
        cells = [each.cell for each in asked if each.plan.hash == plan.hash]
        thawed = frozen.thaw(catalogue, plan.of(cells))
        outcomes += execute(thawed, folder, plan, means)
    finish(outcomes, (), folder, as_json, means.plugins or ())
