"""Small cells that are interrupted at a step of their work, and what they report."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from built_in import CATALOGUE

from pcbench.engine.cell import Cell
from pcbench.engine.plan import Request, cells

Report = Callable[[str, int, int], None]


def cell_of(method: str, settings: Mapping[str, str]) -> Cell:
    """The cell of a method at PPC 1 on the embedded data set."""
    request = Request(
        methods=(method,), datasets=("shapes10",), ppcs=(1,), protocol="quick", settings=settings
    )
    (cell,) = cells(CATALOGUE, request)
    return cell


def interrupted_at(phase: str, step: int) -> Report:
    """A report that interrupts the work when that step of a phase is reported."""

    def report(what: str, done: int, _: int) -> None:
        if what == phase and done == step:
            raise KeyboardInterrupt

    return report


def reported_to(steps: list[int], phase: str) -> Report:
    """A report that keeps the steps of a phase."""

    def report(what: str, done: int, _: int) -> None:
        if what == phase:
            steps.append(done)

    return report
