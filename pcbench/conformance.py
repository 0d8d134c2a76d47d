"""Whether a plugin keeps its contract: every clause is tried on small clouds, on the CPU, in seconds."""

from __future__ import annotations

import ast
import random
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pcbench import guard, plugins, students
from pcbench.api import (
    Backbone,
    Dataset,
    MakeTensors,
    Method,
    MethodParams,
    PointClouds,
    Snapshot,
    Splits,
    Streams,
    Task,
)
from pcbench.errors import PcbenchError, UsageError, did_you_mean
from pcbench.files import canonical_json, digest
from pcbench.ops.layers import Dense, Dropout, Linear, LinearNorm, max_over_points, mlp, set_dropout, stack
from pcbench.plugins import CONTRACTS, Kind, Neighbourhood, Plugin, Registry
from pcbench.protocol import Recipe

Result: TypeAlias = Literal["ok", "failed", "warning", "not applicable"]

SNAPSHOTS = (0, 2, 3)
RECIPE = Recipe(epochs=2, drop_after=1, batch=8)
BACKBONE_POINTS = 64
SPHERE_TOLERANCE = 1e-4
NEAR = 1e-3
"""Largest difference of two results that are equal but for rounding, relative to the largest value."""


@dataclass(frozen=True)
class Item:
    """One clause of a contract: how it went, and what was found or what to do."""

    clause: str
    result: Result
    detail: str = ""


@dataclass(frozen=True)
class Report:
    """All clauses of one plugin's contract."""

    kind: Kind
    name: str
    origin: str
    items: tuple[Item, ...]

    @property
    def passed(self) -> bool:
        """Whether no clause failed."""
        return all(item.result != "failed" for item in self.items)


def check(target: str, folders: Sequence[Path] = ()) -> list[Report]:
    """The plugins of a name, or all those in a file that ends in .py; UsageError where there is none."""
    if target.endswith(".py"):
        return [_report(plugin, folders) for plugin in _in_file(Path(target))]
    return [_report(plugin, folders) for plugin in _named(target, folders)]


def failures(path: Path) -> list[str]:
    """The clauses that the plugins of a file break, one line each; for the plugin's own tests."""
    return [
        f"{report.name}: {item.clause}: {item.detail}"
        for report in check(str(path))
        for item in report.items
        if item.result == "failed"
    ]


def _in_file(path: Path) -> list[Plugin[Any]]:
    if not path.is_file():
        raise UsageError(f"{path} is not there: give a plugin file, or a name that 'pcbench list' shows")
    found: list[Plugin[Any]] = []
    for kind in CONTRACTS:
        found += plugins.read_file(path.resolve(), kind)
    if not found:
        raise UsageError(
            f"{path} defines no plugin: it needs a class with a literal name that derives from "
            f"{', '.join(CONTRACTS.values())} of pcbench.api"
        )
    return found


def _registries(folders: Sequence[Path]) -> dict[Kind, Registry[Any]]:
    return {
        "method": plugins.methods(folders),
        "backbone": plugins.backbones(folders),
        "dataset": plugins.datasets(folders),
    }


def _named(name: str, folders: Sequence[Path]) -> list[Plugin[Any]]:
    registries = _registries(folders).values()
    found = [registry.get(name) for registry in registries if name in registry.names()]
    if not found:
        known = {known for registry in registries for known in registry.names()}
        raise UsageError(f"nothing is called {name!r}. {did_you_mean(name, known)}")
    return found


def _report(plugin: Plugin[Any], folders: Sequence[Path]) -> Report:
    try:
        loaded = plugin.load()
    except UsageError as error:
        return Report(plugin.kind, plugin.name, plugin.origin, (Item("import", "failed", str(error)),))
    clauses: dict[str, Callable[[], str]] = {
        "name": lambda: _name(plugin, folders),
        "docstring": lambda: _docstring(loaded),
        "imports": lambda: _imports(plugin),
    }
    match plugin.kind:
        case "method":
            clauses |= _MethodContract(loaded).clauses()
        case "backbone":
            clauses |= _BackboneContract(loaded).clauses()
        case "dataset":
            clauses |= _DatasetContract(loaded).clauses()
    items = tuple(_tried(clause, trial, plugin.path) for clause, trial in clauses.items())
    return Report(plugin.kind, plugin.name, plugin.origin, items)


class _Verdict(Exception):
    """How a clause went, where it is not simply ok."""

    result: ClassVar[Result]


class _Failed(_Verdict):
    result = "failed"


class _Doubtful(_Verdict):
    result = "warning"


class _NotApplicable(_Verdict):
    result = "not applicable"


def _tried(clause: str, trial: Callable[[], str], path: Path) -> Item:
    try:
        return Item(clause, "ok", trial())
    except _Verdict as verdict:
        return Item(clause, verdict.result, str(verdict))
    except Exception as error:  # noqa: BLE001 - a plugin may raise anything; the report says what
        return Item(clause, "failed", _reason(error, path))


def _reason(error: Exception, path: Path) -> str:
    """One line, with the last place in the plugin's folder that the error came through."""
    message = " ".join(str(error).split())
    text = message if isinstance(error, PcbenchError) else f"{type(error).__name__}: {message}"
    frames = traceback.extract_tb(error.__traceback__)
    places = [frame for frame in frames if Path(frame.filename).is_relative_to(path.parent)]
    return f"{text} ({places[-1].filename}:{places[-1].lineno})" if places else text


def _name(plugin: Plugin[Any], folders: Sequence[Path]) -> str:
    registry = _registries(folders)[plugin.kind]
    if plugin.name in registry.names() and registry.get(plugin.name).path != plugin.path:
        raise _Failed(f"{plugin.name!r} is taken by {registry.get(plugin.name).origin}: choose another name")
    return plugin.name


def _docstring(loaded: type) -> str:
    first = (vars(loaded).get("__doc__") or "").strip().partition("\n")[0]
    if not first:
        raise _Failed("the class has no docstring: its first line is what 'pcbench list' shows")
    return first


def _imports(plugin: Plugin[Any]) -> str:
    """Methods and backbones take from pcbench its public face alone."""
    if plugin.kind == "dataset":
        raise _NotApplicable("a data set may use how pcbench reads and stores clouds")
    for path in (plugin.path, *Neighbourhood(plugin.path.parent).reached(plugin.path)):
        for node in ast.walk(ast.parse(path.read_bytes())):
            for module in _imported(node):
                public = module == "pcbench.api" or (module + ".").startswith("pcbench.ops.")
                if module.partition(".")[0] == "pcbench" and not public:
                    where = f"{path}:{getattr(node, 'lineno', 1)}"
                    raise _Failed(
                        f"{where} imports {module}: a {plugin.kind} imports pcbench.api and pcbench.ops alone"
                    )
    return "pcbench.api and pcbench.ops alone"


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
        inside = node.module == "pcbench"
        return [f"pcbench.{alias.name}" for alias in node.names] if inside else [node.module]
    return []


def small_clouds(points: int = 16) -> PointClouds:
    """Three classes of 10, 11 and 12 stretched normal clouds in the unit sphere, the classes mixed."""
    generator = Streams({"level": "conformance"}).stream("clouds")
    labels = torch.tensor([0, 1, 2] * 10 + [2, 1, 2])
    scale = torch.tensor([[1.0, 0.3, 0.2], [0.2, 1.0, 0.4], [0.6, 0.5, 0.7]])[labels]
    xyz = torch.randn(len(labels), points, 3, generator=generator) * scale.unsqueeze(1)
    return PointClouds(xyz, labels, ("bed", "chair", "sofa")).normalised()


class SmallNet(Backbone):
    """A shared layer, a maximum and a classifier: the network that methods are tried with."""

    name = "small"

    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.low = mlp(3, 16)
        self.high = LinearNorm(16, 32)
        self.head = Dense(32, 16)
        self.dropout = Dropout(0.3)
        self.classifier = Linear(16, classes)

    def layer_features(self, xyz: Tensor) -> tuple[Tensor, ...]:
        low = self.low(xyz)
        return low, self.high(low)

    def point_features(self, xyz: Tensor) -> Tensor:
        return self.layer_features(xyz)[-1]

    def global_feature(self, xyz: Tensor) -> Tensor:
        return max_over_points(self.point_features(xyz))

    def embed(self, xyz: Tensor) -> Tensor:
        return self.dropout(self.head(self.global_feature(xyz)))  # type: ignore[no-any-return]

    def forward(self, xyz: Tensor) -> Tensor:
        return self.classifier(self.embed(xyz))  # type: ignore[no-any-return]


@dataclass(frozen=True)
class _NotingStreams(Streams):
    """Random streams that note in `drawn` what they were asked for."""

    drawn: list[str] = field(default_factory=list)

    def within(self, **axes: str | int) -> _NotingStreams:
        return _NotingStreams(super().within(**axes).axes, self.drawn)

    def stream(self, purpose: str, **axes: str | int) -> torch.Generator:
        self.drawn.append(purpose)
        return super().stream(purpose, **axes)


def _silent(*_: int) -> None:
    pass


@dataclass(frozen=True)
class Bench:
    """Makes small tasks for methods; what they ask to be trained once is kept in memory."""

    kept: dict[str, dict[str, Tensor]] = field(default_factory=dict)

    def task(
        self,
        ppc: int = 1,
        snapshots: tuple[int, ...] = SNAPSHOTS,
        repetition: int = 0,
        report: Callable[[int], None] = _silent,
    ) -> Task:
        """A task with `small_clouds` and `SmallNet`."""
        train = small_clouds()
        axes: dict[str, str | int] = {"dataset": "small", "repetition": repetition}
        once = Streams({"level": "trained network", **axes})

        def network(generator: torch.Generator) -> Backbone:
            return SmallNet.build(train.classes, "canonical", generator)

        def keep(inputs: Mapping[str, Any], make: Callable[[], Mapping[str, Tensor]]) -> dict[str, Tensor]:
            key = digest({"inputs": dict(inputs), "repetition": repetition})
            if key not in self.kept:
                self.kept[key] = {name: tensor.detach().clone() for name, tensor in make().items()}
            return {name: tensor.clone() for name, tensor in self.kept[key].items()}

        def state() -> Mapping[str, Tensor]:
            stacked = students.train(network, train, RECIPE, [once])
            return {name: values[0] for name, values in stacked.state_dict().items()}

        def trained_network() -> Backbone:
            trained = network(once.stream("weights"))
            trained.load_state_dict(keep({"trained network": "small"}, state))
            return trained.eval().requires_grad_(False)

        def cached(inputs: Mapping[str, Any], make: MakeTensors) -> dict[str, Tensor]:
            tensors = keep({"method": dict(inputs)}, lambda: make(once, _silent))
            for name, tensor in tensors.items():
                if tensor.dtype != torch.float32:
                    raise guard.MethodFault(f"task.cached keeps float32, and {name!r} is {tensor.dtype}")
            return tensors

        return Task(
            train=train,
            ppc=ppc,
            iterations=snapshots[-1],
            snapshots=snapshots,
            device=torch.device("cpu"),
            streams=_NotingStreams({"level": "distillation", "ppc": ppc, **axes}),
            network=network,
            trained_network=trained_network,
            cached=cached,
            report=report,
        )


def _global_state() -> dict[str, Any]:
    """What no plugin may change, by its name."""
    kind, key, *rest = np.random.get_state()  # noqa: NPY002 - the global generator is what is watched
    return {
        "torch's global generator": torch.get_rng_state().numpy().tobytes(),
        "numpy's global generator": (kind, np.asarray(key).tobytes(), *rest),
        "the generator of the module random": random.getstate(),
        "torch's grad mode": torch.is_grad_enabled(),
        "torch's default dtype": torch.get_default_dtype(),
        "torch's number of threads": torch.get_num_threads(),
        "torch's deterministic mode": torch.are_deterministic_algorithms_enabled(),
    }


@contextmanager
def _other_seeds(seed: int) -> Iterator[Callable[[], set[str]]]:
    """Other seeds in the global generators, undone afterwards; gives a function that names what changed."""
    ours, numpys, pythons = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    grad, dtype, threads = torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    random.seed(seed)
    before = _global_state()
    try:
        yield lambda: {name for name, value in _global_state().items() if value != before[name]}
    finally:
        torch.set_rng_state(ours)
        np.random.set_state(numpys)  # noqa: NPY002
        random.setstate(pythons)
        torch.set_grad_enabled(grad)
        torch.set_default_dtype(dtype)
        torch.use_deterministic_algorithms(deterministic)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)


@dataclass(frozen=True)
class _Trace:
    """One distillation: its task, what it gave and reported, and the global state that it changed."""

    task: Task
    snapshots: list[Snapshot]
    reported: list[int]
    changed: set[str]

    def same_clouds(self, other: _Trace) -> bool:
        pairs = zip(self.snapshots, other.snapshots, strict=True)
        return all(one.clouds.content_hash() == two.clouds.content_hash() for one, two in pairs)


class _Stop(KeyboardInterrupt):
    """An interruption of the check's own."""


class _MethodContract:
    """The clauses of `Method` and `Task`."""

    def __init__(self, method: type[Method]) -> None:
        self.method = method
        self.bench = Bench()
        self.first: _Trace | None = None

    def clauses(self) -> dict[str, Callable[[], str]]:
        return {
            "parameters": self.parameters,
            "training clouds alone": self.training_clouds_alone,
            "snapshots at PPC 1": self.snapshots,
            "snapshots at PPC 2": self.snapshots_of_two,
            "same seeds, same clouds": self.repeatable,
            "other repetition, other clouds": self.repetition,
            "global state": self.global_state,
            "clouds left as given": self.clouds_left_as_given,
            "cancellation": self.cancellation,
        }

    def parameters(self) -> str:
        params = self.method.Params
        if not issubclass(params, MethodParams):
            raise _Failed("Params does not derive from MethodParams")
        if not params.model_config.get("frozen") or params.model_config.get("extra") != "forbid":
            raise _Failed("Params is not frozen or takes unknown names: leave model_config as it is")
        for name, info in params.model_fields.items():
            source = info.json_schema_extra.get("source") if isinstance(info.json_schema_extra, dict) else ""
            if info.is_required() or not info.description or not source:
                raise _Failed(
                    f"{name} lacks a default, a description or a source: "
                    f"{name}: float = param(1.0, 'what it is', source='where the default is from')"
                )
        values = params()
        if params.model_validate_json(canonical_json(values.model_dump(mode="json"))) != values:
            raise _Failed("the defaults do not survive JSON: use numbers, text, true, false and none")
        return ", ".join(params.model_fields) or "none"

    def training_clouds_alone(self) -> str:
        try:
            self.first = self.run(self.bench, 1, seed=1)
        except guard.Trespass as error:
            raise _Failed(str(error)) from error
        except Exception as error:
            raise _NotApplicable("it does not run: see the snapshots") from error
        return "no data set was loaded, and no file of the data store opened"

    def snapshots(self) -> str:
        trace = self.first or self.run(self.bench, 1, seed=1)
        given = ", ".join(str(snapshot.iteration) for snapshot in trace.snapshots)
        return f"{given}: {tuple(trace.snapshots[-1].clouds.points.shape)}"

    def snapshots_of_two(self) -> str:
        self.done()
        if self.method.whole:
            raise _NotApplicable("it gives the whole training split, whatever the PPC")
        trace = self.run(self.bench, 2, seed=1)
        return f"{tuple(trace.snapshots[-1].clouds.points.shape)}"

    def repeatable(self) -> str:
        """From the beginning, what is cached included, and with other global seeds."""
        if not self.run(Bench(), 1, seed=2).same_clouds(self.done()):
            raise _Failed("two runs differ: draw from task.streams alone, and from no clock or set's order")
        return "bit for bit, whatever the global seeds"

    def repetition(self) -> str:
        """Whoever draws from the streams gives other clouds for other streams, at one PPC at least."""
        first = self.done()
        if not _drawn(first.task):
            raise _NotApplicable("it draws nothing: its clouds follow from the task's clouds and network")
        for ppc in (1, 2):
            before = first if ppc == 1 else self.run(self.bench, ppc, seed=1)
            if not self.run(self.bench, ppc, seed=1, repetition=1).same_clouds(before):
                return f"drew {', '.join(dict.fromkeys(_drawn(first.task)))}"
        raise _Failed("it draws from task.streams, yet its clouds are the same in another repetition")

    def global_state(self) -> str:
        changed = self.done().changed
        if changed:
            raise _Failed(
                f"it changed {', '.join(sorted(changed))}: draw from task.streams.stream('purpose'), and "
                "undo what you set before each yield"
            )
        return "random states and torch's settings are as before"

    def clouds_left_as_given(self) -> str:
        if self.done().task.train.content_hash() != small_clouds().content_hash():
            raise _Failed("it changed task.train in place: clone what you change")
        return "task.train is as before"

    def cancellation(self) -> str:
        trace = self.done()
        if not trace.reported and [snapshot.iteration for snapshot in trace.snapshots] == [0]:
            raise _NotApplicable("it has no iterations")
        if trace.reported[-1:] != [trace.task.iterations] or any(a >= b for a, b in pairwise(trace.reported)):
            raise _Failed(
                f"it reported {trace.reported}: loop over task.steps(), which reports every iteration"
            )
        with _other_seeds(1):
            self.interrupted()
            source: Any = self.made().distill(self.bench.task())
            next(source)
            if hasattr(source, "close"):
                source.close()
        return "stops between iterations, and closes"

    def interrupted(self) -> None:
        reported = []

        def stop(done: int) -> None:
            reported.append(done)
            raise _Stop

        try:
            for _ in guard.watched(self.made(), self.bench.task(report=stop)):
                pass
        except _Stop:
            if len(reported) == 1:
                return
        except Exception as error:
            raise _Failed(f"it turned an interruption into {type(error).__name__}: let it pass") from error
        raise _Failed("it went on after an interruption: let KeyboardInterrupt pass")

    def made(self) -> Method:
        return self.method(self.method.Params())

    def done(self) -> _Trace:
        if self.first is None:
            raise _NotApplicable("it does not run")
        return self.first

    def run(self, bench: Bench, ppc: int, *, seed: int, repetition: int = 0) -> _Trace:
        trace = _Trace(bench.task(ppc, repetition=repetition), [], [], set())
        task = Task(**{**vars(trace.task), "report": trace.reported.append})
        method = self.made()
        with _other_seeds(seed) as changed:
            for snapshot in guard.watched(method, task):
                trace.changed.update(changed())
                trace.snapshots.append(guard.checked(method, snapshot, task, trace.snapshots))
            trace.changed.update(changed())
        guard.check_complete(method, trace.snapshots, task)
        return trace


def _drawn(task: Task) -> list[str]:
    return task.streams.drawn if isinstance(task.streams, _NotingStreams) else []


class _BackboneContract:
    """The clauses of `Backbone`, tried in every preset with four clouds of three classes."""

    classes, clouds = 3, 4

    def __init__(self, backbone: type[Backbone]) -> None:
        self.backbone = backbone

    def clauses(self) -> dict[str, Callable[[], str]]:
        trials: dict[str, Callable[[str], None]] = {
            "built from a generator": self.built,
            "shapes": self.shapes,
            "same clouds, same logits": self.repeatable,
            "stacked as alone": self.stacked,
            "gradients": self.gradients,
            "a batch of one": self.batch_of_one,
            "global state": self.global_state,
            "order of the points": self.order,
        }
        return {clause: partial(self.in_every_preset, trial) for clause, trial in trials.items()}

    def in_every_preset(self, trial: Callable[[str], None]) -> str:
        if not self.backbone.presets:
            raise _Failed("presets is empty: name one, as in presets = {'canonical': {}}")
        for preset in self.backbone.presets:
            try:
                trial(preset)
            except _Verdict as verdict:
                raise type(verdict)(f"preset {preset!r}: {verdict}") from verdict
        return ", ".join(self.backbone.presets)

    def xyz(self, part: int = 0) -> Tensor:
        """Clouds (4, 64, 3), others for another part."""
        return small_clouds(BACKBONE_POINTS).points.roll(-part * self.clouds, 0)[: self.clouds]

    def draw(self, preset: str, number: int = 0) -> Backbone:
        """A network in training mode, ready to be trained."""
        streams = Streams({"level": "conformance", "network": number})
        network = self.backbone.build(self.classes, preset, streams.stream("weights"))
        set_dropout(network, [streams.stream("dropout")])
        return network

    def built(self, preset: str) -> None:
        states = [self.draw(preset, number).state_dict() for number in (0, 0, 1)]
        if not all(torch.equal(states[1][name], value) for name, value in states[0].items()):
            raise _Failed("two networks of one generator differ: let pcbench.ops.layers draw the weights")
        if all(torch.equal(states[2][name], value) for name, value in states[0].items()):
            raise _Failed("another generator gives the same network: it has no layer of pcbench.ops.layers")

    def shapes(self, preset: str) -> None:
        network, xyz = self.draw(preset).eval(), self.xyz()
        batch, points = xyz.shape[:2]
        each = network.point_features(xyz)
        fits = each.ndim == 3 and len(each) == batch and 1 <= each.shape[1] <= points
        _expect("point_features", each, fits, f"({batch}, at most {points}, D)")
        pooled = network.global_feature(xyz)
        fits = pooled.ndim == 2 and len(pooled) == batch and pooled.shape[1] % each.shape[2] == 0
        _expect(
            "global_feature",
            pooled,
            fits,
            f"({batch}, {each.shape[2]}), or a multiple if poolings are joined",
        )
        embedding = network.embed(xyz)
        _expect("embed", embedding, embedding.ndim == 2 and len(embedding) == batch, f"({batch}, E)")
        logits = network(xyz)
        _expect("forward", logits, logits.shape == (batch, self.classes), f"({batch}, {self.classes})")
        layers = network.layer_features(xyz)
        for number, layer in enumerate(layers):
            _expect(
                f"layer_features[{number}]",
                layer,
                layer.ndim == 3 and len(layer) == batch,
                f"({batch}, N, C)",
            )
        if not layers or not torch.equal(layers[-1], each):
            raise _Failed("the last of layer_features is not point_features")

    def repeatable(self, preset: str) -> None:
        network, xyz = self.draw(preset).eval(), self.xyz()
        with torch.no_grad():
            logits = network(xyz)
            if not torch.equal(network(xyz), logits):
                raise _Failed("in evaluation mode, two forwards of the same clouds differ")
            if not _near(network(xyz[:2]), logits[:2]):
                raise _Failed("in evaluation mode, a cloud's logits depend on the other clouds of the batch")
        if not torch.equal(xyz, self.xyz()):
            raise _Failed("forward changes its input in place: clone what you change")

    def stacked(self, preset: str) -> None:
        pair = [self.draw(preset, number) for number in (0, 1)]
        both = torch.stack([self.xyz(part) for part in (0, 1)])
        for training in (False, True):
            together = stack(pair).train(training)
            streams = [Streams({"level": "stacked", "network": number}) for number in (0, 1)]
            set_dropout(together, [stream.stream("dropout") for stream in streams])
            with torch.no_grad():
                logits = together(both)
            for number, network in enumerate(pair):
                set_dropout(network.train(training), [streams[number].stream("dropout")])
                with torch.no_grad():
                    alone = network(both[number])
                if logits.shape[1:] != alone.shape or not _near(logits[number], alone):
                    raise _Failed(
                        f"in {'training' if training else 'evaluation'} mode, stacked networks give other "
                        "logits than each alone: name axes from the end (points -2, channels -1)"
                    )

    def gradients(self, preset: str) -> None:
        network, xyz = self.draw(preset), self.xyz().requires_grad_()
        self.loss(network, xyz).backward()
        for name, parameter in network.named_parameters():
            if parameter.grad is None or not parameter.grad.isfinite().all():
                raise _Failed(f"the loss gives {name} no finite gradient")
        if xyz.grad is None or not xyz.grad.isfinite().all() or not xyz.grad.any():
            raise _Failed("the loss gives the points no finite gradient: methods learn points through it")

    def batch_of_one(self, preset: str) -> None:
        network = self.draw(preset)
        optimiser = torch.optim.SGD(network.parameters(), 0.01)
        for _ in range(2):
            optimiser.zero_grad()
            loss = self.loss(network, self.xyz()[:1])
            loss.backward()
            optimiser.step()
        if not loss.isfinite() or not network.eval()(self.xyz()).isfinite().all():
            raise _Failed("training steps on one cloud do not stay finite: use pcbench.ops.layers.BatchNorm")

    def global_state(self, preset: str) -> None:
        logits = []
        for seed in (1, 2):
            with _other_seeds(seed) as changed:
                network = self.draw(preset)
                self.loss(network, self.xyz()).backward()
                logits.append(network.eval()(self.xyz()).detach())
                names = changed()
            if names:
                raise _Failed(f"it changes {', '.join(sorted(names))}")
        if not torch.equal(*logits):
            raise _Failed("the logits depend on the seeds of global generators")

    def order(self, preset: str) -> None:
        network, xyz = self.draw(preset).eval(), self.xyz()
        shuffled = xyz[
            :, torch.randperm(xyz.shape[1], generator=Streams({"level": "order"}).stream("points"))
        ]
        with torch.no_grad():
            if not _near(network(shuffled), network(xyz)):
                raise _Doubtful(
                    "the logits depend on the order of the points, as where a start index is fixed"
                )

    def loss(self, network: Backbone, xyz: Tensor) -> Tensor:
        return F.cross_entropy(network(xyz), torch.arange(len(xyz)) % self.classes)


def _expect(what: str, found: Tensor, right: bool, shape: str) -> None:
    if not right:
        raise _Failed(f"{what} gives {tuple(found.shape)} instead of {shape}")
    if found.dtype != torch.float32 or not found.isfinite().all():
        raise _Failed(f"{what} gives values that are not finite float32")


def _near(found: Tensor, expected: Tensor) -> bool:
    scale = expected.abs().max().clamp_min(torch.finfo(expected.dtype).tiny)
    return bool((found - expected).abs().max() <= NEAR * scale)


class _DatasetContract:
    """The clauses of `Dataset`; what needs the data is left out where this machine does not have it."""

    points = (16, 24)

    def __init__(self, dataset: type[Dataset]) -> None:
        self.kind = dataset
        self.loaded: dict[int, Splits] = {}

    def clauses(self) -> dict[str, Callable[[], str]]:
        return {
            "card": self.card,
            "counts and classes": self.counts,
            "points": self.asked_points,
            "unit sphere": self.unit_sphere,
            "content hash": self.content_hash,
        }

    def card(self) -> str:
        kind = self.kind
        if not kind.variant or kind.up_axis not in ("x", "y", "z", "none"):
            raise _Failed("variant is empty, or up_axis is none of x, y, z and none")
        if min(kind.classes, kind.train_size, kind.test_size) < 1:
            raise _Failed("classes, train_size and test_size are not all positive")
        if not kind().how_to_get():
            raise _Failed("how_to_get says nothing: one sentence with the command that makes it present")
        return f"{kind.classes} classes, {kind.train_size} training and {kind.test_size} test clouds"

    def load(self, points: int) -> Splits:
        dataset = self.kind()
        if not dataset.present():
            raise _NotApplicable(f"it is not on this machine: {dataset.how_to_get()}")
        if points not in self.loaded:
            self.loaded[points] = dataset.load(points)
        return self.loaded[points]

    def counts(self) -> str:
        splits, kind = self.load(self.points[0]), self.kind
        if splits.train.class_names != splits.test.class_names:
            raise _Failed("training and test clouds have other class names")
        for split, clouds in (("training", splits.train), ("test", splits.test)):
            empty = [clouds.class_names[k] for k in (clouds.counts() == 0).nonzero().flatten().tolist()]
            if empty:
                raise _Failed(f"class {empty[0]!r} has no {split} cloud")
        found = (splits.train.classes, len(splits.train), len(splits.test))
        card = (kind.classes, kind.train_size, kind.test_size)
        if splits.standard and found != card:
            raise _Failed(
                f"classes, training and test clouds are {found}, and its card says {card}: "
                "change the card, or load with standard=False"
            )
        return f"{found[0]} classes, {found[1]} training and {found[2]} test clouds"

    def asked_points(self) -> str:
        for points in self.points:
            splits = self.load(points)
            given = {splits.train.points_per_cloud, splits.test.points_per_cloud}
            if given != {points}:
                raise _Failed(f"asked for {points} points a cloud, it gives {given}")
        return " and ".join(map(str, self.points))

    def unit_sphere(self) -> str:
        splits = self.load(self.points[0])
        for split, clouds in (("training", splits.train), ("test", splits.test)):
            centre = clouds.points.mean(1).norm(dim=1)
            radius = clouds.points.norm(dim=2).amax(1)
            off = torch.maximum(centre, (radius - 1).abs())
            if off.max() > SPHERE_TOLERANCE:
                worst = int(off.argmax())
                raise _Failed(
                    f"{split} cloud {worst} has its mean {float(centre[worst]):.2g} from the origin and its "
                    f"farthest point at {float(radius[worst]):.4g}: give PointClouds.normalised()"
                )
        return "means at the origin, farthest points at one"

    def content_hash(self) -> str:
        first, other = (self.load(points) for points in self.points)
        again = self.kind().load(self.points[0])
        if again.content_hash != first.content_hash:
            raise _Failed("two loads give two content hashes")
        for one, two in ((first.train, again.train), (first.test, again.test)):
            if one.content_hash() != two.content_hash():
                raise _Failed("two loads give other clouds under one content hash")
        if other.content_hash == first.content_hash:
            raise _Failed("the content hash is the same for another number of points")
        return first.content_hash[:12]
