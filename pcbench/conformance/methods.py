"""The contract of methods, tried with a small network on a few clouds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from pcbench.api import Backbone, MakeTensors, Method, MethodParams, PointClouds, Snapshot, Streams, Task
from pcbench.common.files import canonical_json, digest
from pcbench.conformance.clauses import Failed, NotApplicable, small_clouds
from pcbench.engine import guard, optimisers, students
from pcbench.engine.independence import other_seeds
from pcbench.ops.layers import Dense, Dropout, Linear, LinearNorm, max_over_points, mlp
from pcbench.protocols.protocol import Recipe

ITERATIONS = 3
"""Iterations that a method is tried for, unless told."""
RECIPE = Recipe(epochs=2, drop_after=1, batch=8)


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

    def forward(self, xyz: Tensor, *_: Tensor) -> Tensor:
        return self.classifier(self.embed(xyz))  # type: ignore[no-any-return]


@dataclass(frozen=True)
class _NotingStreams(Streams):
    """Random streams that remember what they were asked for."""

    drawn: list[str] = field(default_factory=list)
    """The purposes, in order; shared by all families that come of one."""

    def within(self, **axes: str | int) -> _NotingStreams:
        return _NotingStreams(super().within(**axes).axes, self.drawn)

    def stream(self, purpose: str, **axes: str | int) -> torch.Generator:
        self.drawn.append(purpose)
        return super().stream(purpose, **axes)


def _silent(*_: int) -> None:
    pass


@dataclass(frozen=True)
class Bench:
    """Makes small tasks for methods."""

    iterations: int = ITERATIONS
    """How many they are given, 3 or more."""
    kept: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    """What they ask to be trained once, by the hash of what it depends on."""

    def task(
        self,
        ppc: int = 1,
        snapshots: tuple[int, ...] = (),
        repetition: int = 0,
        report: Callable[[int], None] = _silent,
        train: PointClouds | None = None,
    ) -> Task:
        """A task with `SmallNet`; with `small_clouds`, and snapshots at 0, 2 and the end, unless told."""
        snapshots = snapshots or (0, 2, self.iterations)
        train = train or small_clouds()
        axes: dict[str, str | int] = {"dataset": "small", "repetition": repetition}
        once = Streams({"level": "trained network", **axes})

        def network(generator: torch.Generator) -> Backbone:
            return SmallNet.build(train.classes, "canonical", generator)

        def keep(inputs: Mapping[str, Any], make: Callable[[], Mapping[str, Tensor]]) -> dict[str, Tensor]:
            key = digest({"inputs": dict(inputs), "repetition": repetition, "data": train.content_hash()})
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


@dataclass(frozen=True)
class _Trace:
    """One distillation, and what was seen of it."""

    task: Task
    """What the method was given."""
    snapshots: list[Snapshot]
    """What it gave, checked."""
    reported: list[int]
    """The iterations that it reported, in order."""
    changed: set[str]
    """The global state that it left otherwise than it was: random states, settings of torch."""

    def same_clouds(self, other: _Trace) -> bool:
        pairs = zip(self.snapshots, other.snapshots, strict=True)
        return all(one.identity == two.identity for one, two in pairs)


class _Stop(KeyboardInterrupt):
    """An interruption of the check's own."""


class MethodContract:
    """The clauses of `Method` and `Task`."""

    def __init__(self, method: type[Method], iterations: int = ITERATIONS) -> None:
        self.method = method
        self.bench = Bench(iterations)
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
            "resumption": self.resumption,
        }

    def parameters(self) -> str:
        params = self.method.Params
        if not issubclass(params, MethodParams):
            raise Failed("Params does not derive from MethodParams")
        if not params.model_config.get("frozen") or params.model_config.get("extra") != "forbid":
            raise Failed("Params is not frozen or takes unknown names: leave model_config as it is")
        for name, info in params.model_fields.items():
            source = info.json_schema_extra.get("source") if isinstance(info.json_schema_extra, dict) else ""
            if info.is_required() or not info.description or not source:
                raise Failed(
                    f"{name} lacks a default, a description or a source: "
                    f"{name}: float = param(1.0, 'what it is', source='where the default is from')"
                )
        values = params()
        if params.model_validate_json(canonical_json(values.model_dump(mode="json"))) != values:
            raise Failed("the defaults do not survive JSON: use numbers, text, true, false and none")
        return ", ".join(params.model_fields) or "none"

    def training_clouds_alone(self) -> str:
        try:
            self.first = self.run(self.bench, 1, seed=1)
        except guard.Trespass as error:
            raise Failed(str(error)) from error
        except (Exception, SystemExit) as error:
            raise NotApplicable("it does not run: see the snapshots") from error
        return "no data set was loaded, and no file of the data store opened"

    def snapshots(self) -> str:
        trace = self.first or self.run(self.bench, 1, seed=1)
        given = ", ".join(str(snapshot.iteration) for snapshot in trace.snapshots)
        return f"{given}: {tuple(trace.snapshots[-1].clouds.points.shape)}"

    def snapshots_of_two(self) -> str:
        self.done()
        if self.method.whole:
            raise NotApplicable("it gives the whole training split, whatever the PPC")
        others = self.bench.task(
            2, (0, 1, self.bench.iterations + 1), train=small_clouds(points=20, classes=5)
        )
        trace = self.follow(others, seed=1)
        return f"five classes of 20 points: {tuple(trace.snapshots[-1].clouds.points.shape)}"

    def repeatable(self) -> str:
        """From the beginning, what is cached included, and with other global seeds."""
        if not self.run(Bench(self.bench.iterations), 1, seed=2).same_clouds(self.done()):
            raise Failed("two runs differ: draw from task.streams alone, and from no clock or set's order")
        return "bit for bit, whatever the global seeds"

    def repetition(self) -> str:
        """Whoever draws from the streams gives other clouds for other streams, at one PPC at least."""
        first = self.done()
        if not _drawn(first.task):
            raise NotApplicable("it draws nothing: its clouds follow from the task's clouds and network")
        for ppc in (1, 2):
            before = first if ppc == 1 else self.run(self.bench, ppc, seed=1)
            if not self.run(self.bench, ppc, seed=1, repetition=1).same_clouds(before):
                return f"drew {', '.join(dict.fromkeys(_drawn(first.task)))}"
        raise Failed("it draws from task.streams, yet its clouds are the same in another repetition")

    def global_state(self) -> str:
        changed = self.done().changed
        if changed:
            raise Failed(
                f"it changed {', '.join(sorted(changed))}: draw from task.streams.stream('purpose'), and "
                "undo what you set before each yield"
            )
        return "random states and torch's settings are as before"

    def clouds_left_as_given(self) -> str:
        if self.done().task.train.content_hash() != small_clouds().content_hash():
            raise Failed("it changed task.train in place: clone what you change")
        return "task.train is as before"

    def cancellation(self) -> str:
        trace = self.done()
        if not trace.reported and [snapshot.iteration for snapshot in trace.snapshots] == [0]:
            raise NotApplicable("it has no iterations")
        if trace.reported[-1:] != [trace.task.iterations] or any(a >= b for a, b in pairwise(trace.reported)):
            raise Failed(
                f"it reported {trace.reported}: iterate by task.learn, which reports every iteration"
            )
        with other_seeds(1):
            self.interrupted()
            source: Any = self.instance().distill(self.bench.task())
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
            for _ in guard.watched(self.instance(), self.bench.task(report=stop)):
                pass
        except _Stop:
            if len(reported) == 1:
                return
        except (Exception, SystemExit) as error:
            raise Failed(f"it turned an interruption into {type(error).__name__}: let it pass") from error
        raise Failed("it went on after an interruption: let KeyboardInterrupt pass")

    def resumption(self) -> str:
        """All that one iteration hands to the next stands in the optimiser that the task is given."""
        first = self.done()
        kept: dict[int, optimisers.State] = {}

        def keep(iteration: int, optimiser: Optimizer) -> None:
            kept[iteration] = optimisers.state_of(optimiser)

        def restore(optimiser: Optimizer) -> int:
            optimisers.put_back(optimiser, kept[1])
            return 1

        self.follow(replace(self.bench.task(), keep=keep), seed=1)
        if not kept:
            raise NotApplicable("it gives no optimiser to task.learn, and begins again")
        if not self.follow(replace(self.bench.task(), restore=restore), seed=1).same_clouds(first):
            raise Failed(
                "it gives other clouds if it goes on after iteration 1: let the optimiser hold all that "
                "iterations hand on, and set a learning rate that changes from the iteration"
            )
        return "goes on after an iteration as if it had not been interrupted, bit for bit"

    def instance(self) -> Method:
        return self.method(self.method.Params())

    def done(self) -> _Trace:
        if self.first is None:
            raise NotApplicable("it does not run")
        return self.first

    def run(self, bench: Bench, ppc: int, *, seed: int, repetition: int = 0) -> _Trace:
        return self.follow(bench.task(ppc, repetition=repetition), seed)

    def follow(self, given: Task, seed: int) -> _Trace:
        trace = _Trace(given, [], [], set())
        task = replace(trace.task, report=trace.reported.append)
        method = self.instance()
        expected = guard.Expected.of(method, task)
        with other_seeds(seed) as changed:
            for snapshot in guard.watched(method, task):
                trace.changed.update(changed())
                earlier = [each.iteration for each in trace.snapshots]
                trace.snapshots.append(guard.checked(expected, snapshot, earlier))
            trace.changed.update(changed())
        guard.check_complete(expected, [each.iteration for each in trace.snapshots])
        return trace


def _drawn(task: Task) -> list[str]:
    return task.streams.drawn if isinstance(task.streams, _NotingStreams) else []
