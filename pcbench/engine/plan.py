"""What a run is: the cells of a request, checked before any work, with the inputs of their keys."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pcbench.api import Backbone, Dataset, ModuleBackbone, PointClouds, Splits
from pcbench.catalogue import Catalogue, Registry
from pcbench.catalogue.imports import past_the_face
from pcbench.catalogue.kinds import LABELS, split_spec
from pcbench.catalogue.loading import Plugin, UnusablePlugin
from pcbench.datasets import sampled
from pcbench.engine import apart, crossing, methods
from pcbench.engine.methods import ChosenMethod
from pcbench.engine.testing import changed
from pcbench.errors import DataError, UsageError, did_you_mean
from pcbench.ops import draws
from pcbench.ops.draws import Draw
from pcbench.protocols import protocol, recipes, variants
from pcbench.protocols.protocol import Protocol, Recipe
from pcbench.protocols.suites import Suite
from pcbench.protocols.variants import PLAIN, Variant
from pcbench.records import identity
from pcbench.records.identity import same_work
from pcbench.records.labels import WHOLE
from pcbench.records.layout import short
from pcbench.records.models import (
    DataInputs,
    DistillationInputs,
    EvaluationInputs,
    Network,
    Run,
)
from pcbench.seeds import Streams


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


@dataclass(frozen=True)
class Absent:
    """A cell that cannot be run here, by name."""

    method: str
    """The method."""
    settings: Mapping[str, Any]
    """What departs from its defaults."""
    dataset: str
    """The data set."""
    ppc: int
    """Clouds per class; 0 stands for the whole training split."""
    network: str
    """The students' network."""
    protocol: str
    """The protocol."""
    reason: str
    """Why it cannot be run, and what to do next."""


@dataclass(frozen=True)
class Evaluation:
    """Students of one network, how they are trained, and the data that they are tested on.

    splits, data: the data set that the clouds were distilled from. variants: the tests. others: what some of
    them are on instead, by `Variant.on` and `Variant.points`: another data set, another number of points.
    """

    splits: Splits
    data: DataInputs
    backbone: type[Backbone]
    network: Network
    protocol: Protocol
    variants: tuple[Variant, ...] = (PLAIN,)
    others: Mapping[tuple[str | None, int | None], tuple[Splits, DataInputs]] = field(default_factory=dict)

    def build(self, generator: torch.Generator) -> Backbone:
        """One student, drawn from `generator`."""
        return self.backbone.build(len(self.data.class_names), self.network.preset, generator)

    def streams(self) -> list[Streams]:
        """Random streams of each student; neither method nor PPC is an axis, so that scores are paired."""
        students = _streams(self.data, "evaluation", backbone=self.network.label)
        return [students.within(repetition=repetition) for repetition in range(self.protocol.students)]

    def asked(self, distillation: str) -> list[EvaluationInputs]:
        """The inputs of the evaluations of a distillation, given by its key, by all tests."""
        return [self.inputs(distillation, variant) for variant in self.variants]

    def test(self, variant: Variant) -> PointClouds:
        """The test clouds of a variant, (B, N, 3)."""
        splits, data = self._source(variant)
        return changed(variant, splits.test, data.name)

    def totals(self, variant: Variant) -> list[int]:
        """Test clouds per class, which no variant changes."""
        totals: list[int] = self._source(variant)[0].test.counts().tolist()
        return totals

    def answers(self, variant: Variant) -> list[int] | None:
        """The students' class for each class of the test; None where these are the same."""
        if variant.on is None:
            return None
        return [self.data.class_names.index(name) for name in self._source(variant)[1].class_names]

    def _source(self, variant: Variant) -> tuple[Splits, DataInputs]:
        return self.others.get((variant.on, variant.points), (self.splits, self.data))

    def inputs(self, distillation: str, variant: Variant = PLAIN) -> EvaluationInputs:
        """The inputs of the evaluation of a distillation, given by its key, by one test."""
        return EvaluationInputs(
            distillation=distillation,
            data=self._source(variant)[1],
            network=self.network,
            protocol=self.protocol,
            repetitions=list(range(self.protocol.students)),
            variant=variant,
            engine=identity.ENGINE,
        )


@dataclass(frozen=True)
class Cell:
    """One method on one data set at one PPC, with one network of students."""

    catalogue: Catalogue = field(repr=False)
    """Where its method comes from."""
    method: ChosenMethod
    """The method with its parameters."""
    backbone: type[Backbone]
    """The network that is distilled with."""
    inputs: DistillationInputs
    """All that the distillation depends on."""
    evaluation: Evaluation
    """Its students."""

    @functools.cached_property
    def key(self) -> str:
        """The key of the distillation."""
        return self.inputs.key

    @functools.cached_property
    def evaluation_key(self) -> str:
        """The key of its evaluation by the plain test."""
        return self.evaluation.inputs(self.key).key

    @property
    def label(self) -> str:
        """The networks: `pointnet:paper`, or `pointnet:paper → dgcnn:paper` where students are others."""
        distilled, student = self.inputs.network.label, self.evaluation.network.label
        return distilled if distilled == student else f"{distilled} → {student}"

    def with_curve(self, iterations: Iterable[int]) -> Cell:
        """The same work, its synthetic set kept at more iterations; UsageError for one beyond the last."""
        inputs = self.inputs
        curve = sorted({*inputs.curve, *iterations} - {*inputs.snapshots})
        if curve and curve[-1] > inputs.iterations:
            raise UsageError(
                f"snapshot {curve[-1]}: distillation ends at iteration {inputs.iterations}", "snapshots"
            )
        return replace(self, inputs=inputs.model_copy(update={"curve": curve}))

    def distillation_streams(self) -> Streams:
        """Random streams of the distillation; the method is no axis, so that methods are paired."""
        ppc, repetition = self.inputs.ppc, self.inputs.repetition
        return _streams(self.inputs.data, "distillation", ppc=ppc, repetition=repetition)

    def selected(self, clouds: PointClouds) -> Callable[[], Tensor] | None:
        """What picks the training clouds to start from, by index (K · PPC,); None: `distillation_streams`."""
        ppc, repetition = self.inputs.ppc, self.inputs.repetition
        match self.inputs.draw:
            case "nested":
                streams = _streams(self.inputs.data, "initial clouds", repetition=repetition)
                return partial(draws.nested, clouds, ppc, streams)
            case "authors":
                order = self.evaluation.splits.official_order
                return partial(draws.authors, clouds, ppc, order)
            case _:
                return None

    def trained_network_streams(self) -> Streams:
        """Random streams of the network that is trained on the whole training split."""
        network, repetition = self.inputs.network.label, self.inputs.repetition
        return _streams(self.inputs.data, "trained network", backbone=network, repetition=repetition)


def _streams(data: DataInputs, level: str, **axes: str | int) -> Streams:
    return Streams({"level": level, "dataset": data.name, **axes})


class Parts:
    """What cells are made of: the plugins that there are, and the data sets that were loaded."""

    def __init__(self, catalogue: Catalogue, in_process: bool = False) -> None:
        self.catalogue, self.in_process = catalogue, in_process
        self.methods, self.backbones = catalogue.methods, catalogue.backbones
        self.datasets = catalogue.datasets
        self._loaded: dict[tuple[str, int, str | None], tuple[Splits, DataInputs]] = {}
        self._chosen: dict[tuple[str, str], ChosenMethod] = {}
        self._networks: dict[str, tuple[type[Backbone], Network]] = {}
        self._rules: dict[tuple[str, str, str], Protocol] = {}

    def method(self, spec: str, values: Mapping[str, Any], origin: str) -> ChosenMethod:
        """A method with parameters, looked up once; a stranger's is imported in a process of its own."""
        asked = spec, repr(sorted(values.items()))
        if asked not in self._chosen:
            self._chosen[asked] = self._looked_up(spec, values, origin)
        return self._chosen[asked]

    def _looked_up(self, spec: str, values: Mapping[str, Any], origin: str) -> ChosenMethod:
        plugin = self.methods.get(split_spec(spec)[0])
        _check_imports(plugin)
        if self.in_process or plugin.built_in:
            return methods.chosen(self.catalogue, spec, values, origin)
        return apart.choose(self.catalogue, spec, values, origin)

    def data(self, name: str, points: int, sampling: str | None = None) -> tuple[Splits, DataInputs]:
        """A data set, loaded once for each number of points and way to choose them."""
        if (name, points, sampling) not in self._loaded:
            dataset = self.datasets.load(name)()
            splits = sampled.load(dataset, points, sampling)
            self._loaded[name, points, sampling] = splits, data_inputs(dataset, splits)
        return self._loaded[name, points, sampling]

    def variant(self, label: str, dataset: str) -> Variant:
        """A test of students of a data set by its label; UsageError where it has none of that kind."""
        tested = variants.split(label)[0] or dataset
        return variants.named(label, tested, self.datasets.load(tested).up_axis)

    def tested(self, trained: DataInputs, variant: Variant) -> tuple[Splits, DataInputs]:
        """What students of `trained` are tested on; DataError for more points than it has."""
        name, points = variant.on or trained.name, variant.points or trained.points
        classes = crossing.shared(self.datasets, trained.name, name) if variant.on else ()
        try:
            splits, data = self.data(name, points, None if variant.on else trained.sampling)
        except DataError as error:
            raise DataError(f"test {variant.label}: {name}: {error}", "test") from error
        if not classes:
            return splits, data
        return crossed(trained, classes, splits, data)

    def network(self, spec: str) -> tuple[type[Backbone], Network]:
        """A backbone and what a record says of it, looked up once."""
        if spec not in self._networks:
            self._networks[spec] = self._network(spec)
        return self._networks[spec]

    def _network(self, spec: str) -> tuple[type[Backbone], Network]:
        plugin = self.backbones.get(split_spec(spec)[0])
        _check_imports(plugin)
        backbone, preset = self.catalogue.backbone(spec)
        return backbone, Network(
            name=backbone.name,
            preset=preset,
            source=plugin.source_hash(),
            one_by_one=issubclass(backbone, ModuleBackbone),
        )

    def rules(self, name: str, backbone: str, settings: Mapping[str, Any]) -> Protocol:
        """A protocol for networks of one backbone, with settings; `standard` has a recipe for each."""
        asked = name, backbone, repr(sorted(settings.items()))
        if asked not in self._rules:
            beside = self.backbones.get(backbone).path.parent
            followed = recipes.followed(protocol.named(name), backbone, beside)
            self._rules[asked] = protocol.customised(followed, settings)
        return self._rules[asked]


def _check_imports(plugin: Plugin[Any]) -> None:
    """UnusablePlugin where a stranger's source takes of pcbench more than its public face."""
    problem = "" if plugin.built_in else past_the_face(plugin)
    if problem:
        raise UnusablePlugin(f"{LABELS[plugin.kind]} {plugin.name!r} cannot be used: {problem}")


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


def inputs_of(
    method: ChosenMethod,
    data: DataInputs,
    ppc: int,
    rules: Protocol,
    network: Network,
    whole: Recipe,
    repetition: int,
    draw: Draw,
) -> DistillationInputs:
    """All that a distillation by today's code depends on.

    rules: the protocol, whose iterations and snapshots it has. network, whole: the network that is distilled
    with, and how it is trained on the whole split.
    """
    return DistillationInputs(
        method=method.name,
        params=dict(method.params),
        variation=dict(method.variation),
        setting=method.setting,
        source=method.source,
        data=data,
        ppc=ppc,
        iterations=rules.iterations,
        snapshots=list(rules.snapshots),
        network=network,
        whole=whole,
        repetition=repetition,
        engine=identity.ENGINE,
        draw=draw,
        files=method.files,
    )


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
        for ppc, chosen in (*whole, *small):
            _check_ppc(ppc, data.name, splits, request.origin)
            _check_draw(request, data.name, splits)
            _check_sampling(request, data)
            inputs = inputs_of(
                chosen, data, ppc, rules, network, rules.whole, request.repetition, request.draw
            )
            cells += [
                Cell(plan.catalogue, chosen, backbone, inputs, Evaluation(splits, data, *student))
                for student in students
            ]
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


def available_runs(catalogue: Catalogue, runs: Sequence[Run]) -> tuple[list[Run], list[Absent]]:
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


def available(catalogue: Catalogue, *requests: Request) -> tuple[list[Request], list[Absent]]:
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


def _chosen_methods(request: Request, plan: Parts) -> tuple[dict[str, Any], list[ChosenMethod]]:
    """The settings that are the protocol's, and the methods with theirs; one that neither has: UsageError.

    What is asked for departs from a method's named setting, where it has one.
    """
    of_protocol = {key: value for key, value in request.settings.items() if key in protocol.SETTINGS}
    of_methods = {key: value for key, value in request.settings.items() if key not in protocol.SETTINGS}
    if request.students is not None:
        of_protocol["students"] = str(request.students)
    return of_protocol, [plan.method(spec, of_methods, request.origin) for spec in request.methods]


def crossed(
    trained: DataInputs, classes: tuple[str, ...], splits: Splits, data: DataInputs
) -> tuple[Splits, DataInputs]:
    """Another data set as students of `trained` are tested on it: the clouds of the shared classes alone."""
    part = crossing.narrowed(splits, data.name, classes)
    changed = {
        "variant": f"{data.variant}; {len(classes)} classes shared with {trained.name}",
        "hash": part.content_hash,
        "class_names": list(classes),
    }
    return part, data.model_copy(update=changed)


def data_inputs(dataset: Dataset, splits: Splits) -> DataInputs:
    """What a record says of a data set that was loaded."""
    return DataInputs(
        name=dataset.name,
        variant=dataset.variant,
        hash=splits.content_hash,
        points=splits.train.points_per_cloud,
        sampling=splits.sampling,
        standard=splits.standard,
        class_names=list(splits.train.class_names),
    )


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


def _check_ppc(ppc: int, dataset: str, splits: Splits, origin: str) -> None:
    counts = splits.train.counts()
    smallest = int(counts.argmin())
    if int(counts[smallest]) == 0:
        raise DataError(
            f"{dataset}: class {splits.train.class_names[smallest]!r} has no training cloud: bring the data "
            "again with clouds of it, or without it"
        )
    if ppc > int(counts[smallest]):
        problem = (
            f"PPC {ppc} is larger than the smallest class of {dataset}: "
            f"{splits.train.class_names[smallest]!r} has {int(counts[smallest])} training clouds"
        )
        raise UsageError(f"{origin}: {problem}") if origin else UsageError(problem, "ppc")
