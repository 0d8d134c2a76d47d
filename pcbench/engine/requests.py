"""From what is asked for, by a command or from Python, to planned work: defaults, suites, held-out parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pcbench.catalogue import Catalogue
from pcbench.catalogue.held_out import SUFFIX
from pcbench.engine import available, plan
from pcbench.engine.cell import Absent, Cell, Evaluation
from pcbench.engine.plan import Request
from pcbench.errors import UsageError
from pcbench.protocols import protocol as protocols
from pcbench.protocols import suites
from pcbench.protocols.suites import Suite
from pcbench.records.models import Run
from pcbench.records.state import Snapshots

DEMONSTRATION = ("random", "sadm")
"""The methods that are compared where none is named."""


@dataclass(frozen=True)
class Asked:
    """Distillations and their students as a user asks for them."""

    common: Request
    """What all cells have in common; what it leaves empty is the suite's, or a default."""
    spans: Sequence[Mapping[str, Any]] = ({},)
    """Settings, a cell each."""
    repetitions: Sequence[int] = (0,)
    """Which of the repeated distillations."""
    suite: str | None = None
    """The suite by its name or file; none: `common` says it all."""
    own_draw: bool = False
    """Whether the draw of `common` takes the place of the suite's."""
    validation: bool = False
    """Whether students are tested on a part of the training clouds."""
    snapshots: Snapshots | None = None
    """Those that students are trained on; none: the suite's, or all. Where iterations are named, the
    synthetic set is kept there as well."""


@dataclass(frozen=True)
class Planned:
    """Distillations and their students, checked before any work."""

    cells: list[Cell]
    """What is to be worked through."""
    absent: list[Absent]
    """What this machine lacks a part for."""
    snapshots: Snapshots
    """Those that students are trained on."""


def planned(catalogue: Catalogue, asked: Asked, gpu: bool, in_process: bool = False) -> Planned:
    """The cells of what is asked for. UsageError or DataError before any work is done.

    First repetitions come first: half of the work gives a board without gaps, with wider intervals.

    gpu: whether there is one, which decides about the protocol where none is named. in_process: also a
    stranger's method is imported here.
    """
    absent: list[Absent] = []
    snapshots = asked.snapshots
    if asked.suite is None:
        common = with_defaults(asked.common, gpu)
        requests = plan.repeated(common, asked.spans, asked.repetitions)
    else:
        suite = suite_of(asked.suite, asked.common, asked.spans)
        snapshots = snapshots or suite.snapshots
        rows = [
            row
            for each in plan.repeated(asked.common, [{}], asked.repetitions)
            for row in rows_of(suite, asked.suite, each, asked.own_draw)
        ]
        requests, absent = available.of_requests(catalogue, *rows)
    if asked.validation:
        requests = [validation_of(each) for each in requests]
    cells = plan.cells(catalogue, *requests, in_process=in_process)
    if isinstance(snapshots, tuple):
        cells = [cell.with_curve(snapshots) for cell in cells]
    cells.sort(key=lambda cell: cell.inputs.repetition)
    return Planned(cells, absent, snapshots or "all")


def evaluations(
    catalogue: Catalogue,
    runs: Sequence[Run],
    backbones: Sequence[str] = (),
    protocol: str | None = None,
    students: int | None = None,
    settings: Mapping[str, Any] | None = None,
    tests: Sequence[str] = (),
) -> tuple[list[tuple[Run, Evaluation]], list[Absent]]:
    """New students of finished runs, checked before any work, and the runs whose data set is not here.

    What is not said is as the run was made: see `plan.evaluations`. students: per snapshot.
    """
    there, absent = available.of_runs(catalogue, runs)
    departures = dict(settings or {})
    if students is not None:
        departures["students"] = students
    rules = protocols.named(protocol) if protocol else None
    return plan.evaluations(catalogue, there, backbones, rules, departures, tests), absent


def validation_of(asked: Request) -> Request:
    """The same request on the validation parts of its data sets."""
    return replace(asked, datasets=tuple(name + SUFFIX for name in asked.datasets))


def with_defaults(asked: Request, gpu: bool) -> Request:
    """What a request means that does not say it all: the demonstration, or what this machine can do."""
    return replace(
        asked,
        methods=asked.methods or DEMONSTRATION,
        datasets=asked.datasets or ("shapes10",),
        ppcs=asked.ppcs or (3,),
        backbone=asked.backbone or "pointnet",
        protocol=asked.protocol or (("paper" if gpu else "lite") if asked.datasets else "quick"),
    )


def suite_of(name: str, asked: Request, spans: Sequence[Mapping[str, Any]]) -> Suite:
    """The suite of that name or file; UsageError beside a request for what it fixes itself."""
    key = next((key for settings in spans for key in settings), None)
    if key:
        raise UsageError(
            f"setting {key}: a suite fixes its parameters; copy its file and name that", "setting", "suite"
        )
    if asked.backbone:
        raise UsageError(
            f"backbone {asked.backbone}: a suite fixes its networks; copy its file to change them", "backbone"
        )
    return suites.read(suites.find(name))


def rows_of(suite: Suite, name: str, asked: Request, own_draw: bool) -> list[Request]:
    """The requests of a suite, or of the part of it that is asked for.

    own_draw: the draw that is asked for takes the place of the suite's.
    """
    part = suite.narrowed(asked.methods, asked.datasets, asked.ppcs)
    return plan.of_suite(part.without_draws() if own_draw else part, suites.find(name), asked)
