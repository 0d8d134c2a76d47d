"""Works through planned work, one piece after another: the one way from a plan to what became of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

import torch

from pcbench.engine import distil, machine
from pcbench.engine.evaluate import Outcome, Report, evaluate
from pcbench.engine.plan import Cell, Evaluation
from pcbench.protocols.variants import PLAIN
from pcbench.records.labels import title
from pcbench.records.models import DistillationInputs, Run
from pcbench.records.state import Snapshots


@dataclass(frozen=True)
class Piece:
    """A piece of work."""

    title: str
    """`sadm lr=5 on modelnet10, PPC 3`, as people call it."""
    work: Callable[[Report], Outcome]
    """Does it."""


class Watcher(Protocol):
    """Whoever shows the work to a user."""

    def begins(self, number: int, total: int, title: str) -> Report:
        """A piece begins, of so many; what is given back is told how far it is."""
        ...

    def ended(self, number: int, total: int, title: str, outcome: Outcome) -> None:
        """It has ended."""
        ...


def work_through(pieces: Sequence[Piece], watcher: Watcher) -> list[Outcome]:
    """What became of every piece, in their order; a failure is an outcome, an interruption is raised."""
    machine.keep_pages()
    outcomes = []
    for number, piece in enumerate(pieces, 1):
        outcome = piece.work(watcher.begins(number, len(pieces), piece.title))
        outcomes.append(outcome)
        watcher.ended(number, len(pieces), piece.title, outcome)
    return outcomes


def of_cells(
    cells: Sequence[Cell],
    out: Path,
    device: torch.device,
    runs: Sequence[Run],
    snapshots: Snapshots = "all",
    again: bool = False,
    in_process: bool = False,
) -> list[Piece]:
    """Cells as pieces, each done as `distil.execute` says; runs: those that stand in `out`.

    A distillation that fails is not tried again for its other students.
    """
    failed: dict[str, Outcome] = {}

    def work(cell: Cell, report: Report) -> Outcome:
        key = cell.inputs.key
        if key in failed:
            return replace(failed[key], network=cell.evaluation.network.label)
        outcome = distil.execute(cell, out, device, report, runs, snapshots, again, in_process)
        if outcome.run.distillation.status != "ok":
            failed[key] = outcome
        return outcome

    return [Piece(cell_title(cell.inputs, cell.evaluation), partial(work, cell)) for cell in cells]


def of_evaluations(
    evaluations: Sequence[tuple[Run, Evaluation]],
    device: torch.device,
    snapshots: Snapshots = "all",
    again: bool = False,
) -> list[Piece]:
    """New students of finished runs as pieces, each done as `evaluate.evaluate` says."""

    def work(run: Run, students: Evaluation, report: Report) -> Outcome:
        return evaluate(students, run, device, report, snapshots, again)

    return [
        Piece(cell_title(run.distillation.inputs, students), partial(work, run, students))
        for run, students in evaluations
    ]


def cell_title(inputs: DistillationInputs, evaluation: Evaluation) -> str:
    """`sadm lr=5 on modelnet10, PPC 3`, the students' network where it is another, tests other than plain."""
    tests = [variant.label for variant in evaluation.variants] if evaluation.variants != (PLAIN,) else []
    return title(inputs, evaluation.network.label, ", ".join(tests))
