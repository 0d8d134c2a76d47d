"""Cells as data and back: a plan that another process, machine or day works through, or refuses to."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Generic, TypeVar

from pcbench.api import Backbone
from pcbench.catalogue import Catalogue
from pcbench.common.files import canonical_json
from pcbench.common.schema import Model
from pcbench.engine.cell import Cell, Evaluation, inputs_of
from pcbench.engine.methods import ChosenMethod
from pcbench.engine.parts import Parts
from pcbench.errors import DataError, UsageError
from pcbench.ops import draws
from pcbench.protocols.protocol import Protocol, Recipe
from pcbench.records import identity
from pcbench.records.identity import differences, same_work
from pcbench.records.inputs import DataInputs, Network
from pcbench.records.labels import title
from pcbench.records.plans import Plan, PlannedCell, PlannedMethod, hashed
from pcbench.records.state import Snapshots

M = TypeVar("M", bound=Model)


class _Shared(Generic[M]):
    """Values that many cells share, each once."""

    def __init__(self) -> None:
        self.values: list[M] = []
        self._by_content: dict[Hashable, int] = {}
        self._by_object: dict[int, int] = {}

    def place(self, value: M) -> int:
        """Where a value stands in the list; it is added where it does not."""
        known = self._by_object.get(id(value))
        if known is None:
            content = canonical_json(value.model_dump(mode="json"))
            known = self._by_content.setdefault(content, len(self.values))
            if known == len(self.values):
                self.values.append(value)
            self._by_object[id(value)] = known
        return known


def freeze(cells: Sequence[Cell], snapshots: Snapshots) -> Plan:
    """Cells as data."""
    methods, datasets, networks = _Shared[PlannedMethod](), _Shared[DataInputs](), _Shared[Network]()
    recipes, protocols = _Shared[Recipe](), _Shared[Protocol]()
    chosen: dict[int, PlannedMethod] = {}
    planned = []
    for cell in cells:
        inputs, evaluation = cell.inputs, cell.evaluation
        method = chosen.get(id(cell.method))
        if method is None:
            method = chosen[id(cell.method)] = _method(cell.method)
        planned.append(
            PlannedCell(
                title=title(inputs, evaluation.network.label),
                key=cell.key,
                evaluation=cell.evaluation_key,
                method=methods.place(method),
                data=datasets.place(inputs.data),
                network=networks.place(inputs.network),
                whole=recipes.place(inputs.whole),
                student=networks.place(evaluation.network),
                protocol=protocols.place(evaluation.protocol),
                ppc=inputs.ppc,
                repetition=inputs.repetition,
                draw=inputs.draw,
            )
        )
    values = Plan.model_construct(
        hash="",
        engine=identity.ENGINE,
        snapshots=snapshots,
        methods=methods.values,
        datasets=datasets.values,
        networks=networks.values,
        recipes=recipes.values,
        protocols=protocols.values,
        cells=planned,
    )
    return values.model_copy(update={"hash": hashed(values.model_dump(mode="json"))})


def _method(choice: ChosenMethod) -> PlannedMethod:
    return PlannedMethod(
        name=choice.name,
        whole=choice.whole,
        source=choice.source,
        params=dict(choice.params),
        variation=dict(choice.variation),
        setting=choice.setting,
        files=list(choice.files),
    )


def thaw(catalogue: Catalogue, plan: Plan) -> list[Cell]:
    """The cells of a plan. UsageError or DataError where code or data here are not what was planned."""
    if plan.engine != identity.ENGINE:
        raise UsageError(
            f"the plan was made with ENGINE {plan.engine}, and this pcbench has {identity.ENGINE}: plan again"
        )
    parts = Parts(catalogue)
    methods: dict[int, ChosenMethod] = {}
    return [_cell(parts, plan, cell, methods) for cell in plan.cells]


def _cell(parts: Parts, plan: Plan, cell: PlannedCell, methods: dict[int, ChosenMethod]) -> Cell:
    """One cell of a plan. methods: those that were looked up already, by their place in the plan."""
    if cell.method not in methods:
        methods[cell.method] = _chosen(parts, plan.methods[cell.method])
    choice = methods[cell.method]
    protocol, planned = plan.protocols[cell.protocol], plan.datasets[cell.data]
    splits, data = parts.data(planned.name, planned.points, planned.sampling)
    if not same_work(planned, data):
        reasons = "; ".join(differences(planned, data))
        raise DataError(f"{cell.title}: {planned.name} is not what was planned with ({reasons}): plan again")
    backbone, student = (
        _network(parts, cell, plan.networks[place]) for place in (cell.network, cell.student)
    )
    network, whole = plan.networks[cell.network], plan.recipes[cell.whole]
    draw = draws.named(cell.draw)
    inputs = inputs_of(choice, planned, cell.ppc, protocol, network, whole, cell.repetition, draw)
    evaluation = Evaluation(splits, planned, student, plan.networks[cell.student], protocol)
    thawed = Cell(parts.catalogue, choice, backbone, inputs, evaluation)
    if (thawed.key, thawed.evaluation_key) != (cell.key, cell.evaluation):
        raise DataError(f"{cell.title}: its key is not the hash of what is planned: plan again")
    return thawed.with_curve(plan.snapshots) if isinstance(plan.snapshots, tuple) else thawed


def _chosen(parts: Parts, method: PlannedMethod) -> ChosenMethod:
    """A planned method, where its code is what it was."""
    if parts.methods.get(method.name).source_hash() != method.source:
        raise UsageError(f"the code of method {method.name} has changed since it was planned: plan again")
    return ChosenMethod.from_values(method.model_dump(mode="json"))


def _network(parts: Parts, cell: PlannedCell, planned: Network) -> type[Backbone]:
    """A planned network, where its code is what it was."""
    backbone, network = parts.network(planned.label)
    if not same_work(planned, network):
        raise UsageError(
            f"{cell.title}: the code of network {planned.label} has changed since it was planned: plan again"
        )
    return backbone
