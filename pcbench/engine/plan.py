"""What a run is: the cells of a request, checked before any work, with the inputs of their keys."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pcbench.api import Splits
from pcbench.catalogue import Catalogue
from pcbench.datasets import sampled
from pcbench.engine.cell import Cell, Evaluation
from pcbench.engine.methods import ChosenMethod
from pcbench.engine.parts import Parts
from pcbench.errors import DataError, UsageError, did_you_mean
from pcbench.ops import draws
from pcbench.ops.draws import Draw
from pcbench.protocols import protocol
from pcbench.protocols.protocol import Protocol
from pcbench.protocols.suites import Suite
from pcbench.protocols.variants import PLAIN
from pcbench.records.identity import same_work
from pcbench.records.inputs import DataInputs, DistillationInputs
from pcbench.records.labels import WHOLE
from pcbench.records.layout import short
from pcbench.records.models import Run


@dataclass(frozen=True)
class Request:
    """What a user asks for, by name."""

    methods: tuple[str, ...]
    """The methods, each with a named setting where one is meant: `sadm`, `sadm:paper`."""
    datasets: tuple[str, ...]
    """The data sets."""
    ppcs: tuple[int, ...]
    """Clouds per class."""
    backbone: str = "pointnet"
    """The network that is distilled with: NAME[:PRESET]."""
    protocol: str = "paper"
    """The protocol's name."""
    students: int | None = None
    """Students per snapshot, where they are not the protocol's."""
    repetition: int = 0
    """Which of the repeated distillations."""
    draw: Draw = "nested"
    """Which training clouds the distillations start from."""
    sampling: str | None = None
    """Which of a cloud's stored points are used, a `Sampling` or the words of a record; None: the first."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What departs from the defaults of the methods or from the protocol, by name."""
    evaluate: tuple[str, ...] = ()
    """The students' networks; where none is named, `backbone`."""
    origin: str = ""
    """The suite's file and row, for messages; empty where there is none."""


def of_suite(suite: Suite, origin: Path, common: Request) -> list[Request]:
    """One request a row and draw of a suite, otherwise as `common`; origin: the suite's file, for errors."""
    return [
        replace(
            common,
            methods=row.methods,
            datasets=suite.datasets_of(row),
            ppcs=suite.ppc_of(row),
            backbone=suite.backbone,
            protocol=common.protocol or row.protocol or suite.protocol,
            evaluate=row.evaluate or suite.evaluate,
            settings=row.params,
            origin=f"{origin}: row {number}",
            draw=draws.named(draw),
            repetition=repetition,
        )
        for number, row in enumerate(suite.rows, 1)
        for draw, repetition in suite.draws_of(row) or [(common.draw, common.repetition)]
    ]


def repeated(
    request: Request, spans: Sequence[Mapping[str, Any]], repetitions: Sequence[int]
) -> list[Request]:
    """A request with every combination of settings, each with every repetition."""
    return [
        replace(request, settings={**request.settings, **settings}, repetition=repetition)
        for settings, repetition in itertools.product(spans, repetitions)
    ]


def cells(catalogue: Catalogue, *requests: Request, in_process: bool = False) -> list[Cell]:
    """All cells of requests, each once; within a request data set by data set.

    in_process: also a stranger's method is imported here. UsageError or DataError before any work is done.
    """
    if not requests:
        return []
    plan = Parts(catalogue, in_process)
    by_keys: dict[tuple[str, str], Cell] = {}
    for request in requests:
        for cell in _cells(request, plan):
            by_keys.setdefault((cell.key, cell.evaluation_key), cell)
    return list(by_keys.values())


def _cells(request: Request, plan: Parts) -> list[Cell]:
    """The cells of one request: data set by data set, the methods that give the whole split first."""
    if any(ppc < 1 for ppc in request.ppcs):
        raise UsageError(f"PPC {min(request.ppcs)}: at least one cloud per class is needed", "ppc")
    if request.students is not None and request.students < 1:
        raise UsageError(f"{request.students} students: at least one is needed", "students")
    of_protocol, chosen_methods = _chosen_methods(request, plan)
    backbone, network = plan.network(request.backbone)
    rules = plan.rules(request.protocol, network.name, of_protocol)
    students = [
        (student, its_network, plan.rules(request.protocol, its_network.name, of_protocol))
        for student, its_network in map(plan.network, request.evaluate or (request.backbone,))
    ]
    whole = [(WHOLE, chosen) for chosen in chosen_methods if chosen.whole]
    small = [(ppc, chosen) for ppc in request.ppcs for chosen in chosen_methods if not chosen.whole]
    cells = []
    for splits, data in [plan.data(name, rules.points, request.sampling) for name in request.datasets]:
        evaluated = [plan.evaluation(splits, data, *student) for student in students]
        for ppc, chosen in (*whole, *small):
            _check_ppc(ppc, data.name, plan.smallest_class(splits), request.origin)
            _check_draw(request, data.name, splits)
            _check_sampling(request, data)
            inputs = plan.inputs(chosen, data, ppc, rules, network, request.repetition, request.draw)
            cells += [Cell(plan.catalogue, chosen, backbone, inputs, each) for each in evaluated]
    return cells


def evaluations(
    catalogue: Catalogue,
    runs: Sequence[Run],
    networks: Sequence[str],
    rules: Protocol | None,
    settings: Mapping[str, Any],
    tests: Sequence[str] = (),
) -> list[tuple[Run, Evaluation]]:
    """Every run with students of every network, checked before any work; no network: that of the run.

    rules: the protocol of the students; none: that by which the run was evaluated before, or a standard one
    that it follows. settings: what departs from it. tests: labels of variants; none: the plain test.
    UsageError where a run does not follow the protocol or has no such test, DataError where its data set is
    not here, or another, or has too few points.
    """
    for key in settings:
        if key not in protocol.SETTINGS:
            near = did_you_mean(key, protocol.SETTINGS)
            raise UsageError(f"setting {key}: the protocol has no such setting. {near}", "setting")
    plan = Parts(catalogue)
    evaluated_runs = []
    for run in runs:
        inputs = run.distillation.inputs
        chosen = rules or _followed(run)
        departures = {**chosen.changes, **settings}
        students = [plan.network(spec) for spec in networks or (inputs.network.label,)]
        evaluated = [(*each, plan.rules(chosen.base, each[1].name, departures)) for each in students]
        own = evaluated[0][2]
        if not _follows(inputs, own):
            raise UsageError(
                f"{run.folder} does not follow protocol {own.label}: it has {inputs.data.points} points and "
                f"snapshots {', '.join(map(str, inputs.snapshots))}"
            )
        splits, data = plan.data(inputs.data.name, inputs.data.points, inputs.data.sampling)
        if not same_work(inputs.data, data):
            raise DataError(
                f"{run.folder}: was distilled from another {data.name} than the one on this machine "
                f"(hash {short(inputs.data.hash)}, here {short(data.hash)})"
            )
        asked = tuple(dict.fromkeys(plan.variant(label, data.name) for label in tests or (PLAIN.label,)))
        others = {(v.on, v.points): plan.tested(data, v) for v in asked if v.on or v.points}
        evaluated_runs += [(run, Evaluation(splits, data, *student, asked, others)) for student in evaluated]
    return evaluated_runs


def _follows(inputs: DistillationInputs, rules: Protocol) -> bool:
    return (inputs.data.points, inputs.snapshots) == (rules.points, list(rules.snapshots))


def _followed(run: Run) -> Protocol:
    """The one protocol of a run's evaluations, or the first standard one that fits a run without any."""
    used = {record.inputs.protocol.label: record.inputs.protocol for record in run.evaluations}
    if len(used) > 1:
        labels = "; ".join(used)
        raise UsageError(f"{run.folder} was evaluated by several protocols ({labels}): name one", "protocol")
    inputs = run.distillation.inputs
    fitting = [*used.values()] or [p for p in protocol.PROTOCOLS.values() if _follows(inputs, p)]
    if not fitting:
        raise UsageError(
            f"{run.folder} follows no standard protocol: name one, and how it departs from it",
            "protocol",
            "setting",
        )
    return fitting[0]


def _chosen_methods(request: Request, plan: Parts) -> tuple[dict[str, Any], list[ChosenMethod]]:
    """The settings that are the protocol's, and the methods with theirs; one that neither has: UsageError.

    What is asked for departs from a method's named setting, where it has one.
    """
    of_protocol = {key: value for key, value in request.settings.items() if key in protocol.SETTINGS}
    of_methods = {key: value for key, value in request.settings.items() if key not in protocol.SETTINGS}
    if request.students is not None:
        of_protocol["students"] = str(request.students)
    return of_protocol, [plan.method(spec, of_methods, request.origin) for spec in request.methods]


def _check_draw(request: Request, dataset: str, splits: Splits) -> None:
    """UsageError or DataError where a data set does not have the draw that is asked for."""
    if request.draw == "authors":
        if request.repetition:
            raise UsageError("the authors' draw is one: it has no repetition but 0", "draw", "repetition")
        try:
            draws.authors(splits.train, 1, splits.official_order)
        except DataError as error:
            raise DataError(f"{dataset}: {error}") from error


def _check_sampling(request: Request, data: DataInputs) -> None:
    """UsageError where the points of a data set were not chosen in the way that is asked for."""
    asked = request.sampling
    if asked not in (None, data.sampling, data.sampling.partition(sampled.OF)[0]):
        raise UsageError(
            f"{data.name}: no {asked} sampling of {data.points} points: they are {data.sampling!r}, and no "
            "others are stored to choose among: leave it out, or import the data set with more points",
            "sampling",
        )


def _check_ppc(ppc: int, dataset: str, smallest: tuple[str, int], origin: str) -> None:
    """UsageError where the smallest class of a data set has fewer training clouds; DataError for none."""
    name, count = smallest
    if count == 0:
        raise DataError(
            f"{dataset}: class {name!r} has no training cloud: bring the data "
            "again with clouds of it, or without it"
        )
    if ppc > count:
        problem = (
            f"PPC {ppc} is larger than the smallest class of {dataset}: {name!r} has {count} training clouds"
        )
        raise UsageError(f"{origin}: {problem}") if origin else UsageError(problem, "ppc")
