"""Which of the cells and runs that were asked for can be worked on here, and why others cannot."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pcbench.api import Dataset
from pcbench.catalogue import Catalogue, Registry
from pcbench.catalogue.kinds import LABELS, split_spec
from pcbench.catalogue.loading import UnusablePlugin
from pcbench.engine.cell import Absent
from pcbench.engine.methods import ChosenMethod
from pcbench.engine.parts import Parts
from pcbench.engine.plan import Request
from pcbench.errors import DataError
from pcbench.records.models import Run


def of_runs(catalogue: Catalogue, runs: Sequence[Run]) -> tuple[list[Run], list[Absent]]:
    """The runs whose data sets are on this machine, and the others; DataError where there are only others."""
    reasons = {
        name: _no_data(catalogue.datasets, name)
        for name in dict.fromkeys(run.distillation.inputs.data.name for run in runs)
    }
    there, absent = [], []
    for run in runs:
        inputs = run.distillation.inputs
        reason = reasons[inputs.data.name]
        if not reason:
            there.append(run)
            continue
        labels = ", ".join(dict.fromkeys(record.inputs.protocol.label for record in run.evaluations))
        network = inputs.network.label
        absent.append(
            Absent(inputs.method, inputs.variation, inputs.data.name, inputs.ppc, network, labels, reason)
        )
    if absent and not there:
        raise DataError(absent[0].reason)
    return there, absent


def of_requests(catalogue: Catalogue, *requests: Request) -> tuple[list[Request], list[Absent]]:
    """The part of the requests that can be run here, and the cells that cannot; no data set is loaded.

    Absent is what no plugin is called, a plugin that cannot be used, and what this machine lacks. Anything
    else that is wrong raises UsageError later.
    """
    plan = Parts(catalogue)
    possible, absent = [], []
    for request in requests:
        asked = request.evaluate or (request.backbone,)
        methods = {spec: _tried(plan, spec) for spec in request.methods}
        networks = {name: _no_network(plan, request.backbone, name) for name in asked}
        datasets = {name: _no_data(plan.datasets, name) for name in request.datasets}
        for dataset, method, network in itertools.product(datasets, methods, networks):
            choice = methods[method]
            unusable = choice if isinstance(choice, str) else ""
            reason = unusable or networks[network] or datasets[dataset]
            if not reason:
                continue
            whole = not isinstance(choice, str) and choice.whole
            absent += [
                Absent(method, request.settings, dataset, ppc, network, request.protocol, reason)
                for ppc in ((0,) if whole else request.ppcs)
            ]
        if not _no_network(plan, request.backbone):
            students = tuple(name for name, reason in networks.items() if not reason)
            known = tuple(name for name, choice in methods.items() if not isinstance(choice, str))
            present = tuple(name for name, reason in datasets.items() if not reason) if students else ()
            possible.append(replace(request, methods=known, datasets=present, evaluate=students))
    return possible, absent


def _unknown(registry: Registry[Any], name: str) -> str:
    """Why there is no plugin of that name that can be used; empty where there is one."""
    if name in registry:
        broken = registry.get(name).tried().error
        return f"{LABELS[registry.kind]} {name!r} cannot be used: {broken}" if broken else ""
    label = LABELS[registry.kind]
    return f"there is no {label} {name!r}: see 'pcbench list {registry.kind}s', or name its folder"


def _tried(plan: Parts, spec: str) -> ChosenMethod | str:
    """A method, or why it cannot be used. A setting that it lacks raises UsageError."""
    name = split_spec(spec)[0]
    if name not in plan.methods:
        return _unknown(plan.methods, name)
    try:
        return plan.method(spec, {}, "")
    except UnusablePlugin as error:
        return str(error)


def _no_network(plan: Parts, *specs: str) -> str:
    """Why one of some backbones cannot be used; empty where all can."""
    unknown = (_unknown(plan.backbones, split_spec(spec)[0]) for spec in specs)
    return next(filter(None, unknown), "")


def _no_data(registry: Registry[Dataset], name: str) -> str:
    """Why a data set cannot be loaded here; empty where it can."""
    unknown = _unknown(registry, name)
    if unknown:
        return unknown
    dataset = registry.load(name)()
    return "" if dataset.present() else f"{name} is not on this machine: {dataset.how_to_get()}"
