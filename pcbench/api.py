"""What a plugin author imports: the contracts of methods, backbones and data sets.

A plugin is one Python file that defines a subclass of `Method`, `Backbone` or `Dataset` with a literal `name`
and a docstring whose first line says what it is. It imports from `pcbench.api` and `pcbench.ops` alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.optim import Optimizer

from pcbench.clouds import PointClouds
from pcbench.ops.coreset import Initialisation, initial_clouds
from pcbench.ops.layers import initialise
from pcbench.ops.redraw import Redraws
from pcbench.seeds import Streams

__all__ = [
    "Backbone",
    "Dataset",
    "Method",
    "MethodParams",
    "PointClouds",
    "Snapshot",
    "Splits",
    "Streams",
    "Task",
    "param",
]


class MethodParams(BaseModel):
    """A method's parameters: frozen, checked, and without room for a name that the method does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)


def param(default: Any, description: str, *, source: str, unit: str = "", **limits: Any) -> Any:
    """One documented parameter. source: where its default is from; limits: gt, ge, lt, le of pydantic."""
    extra: dict[str, Any] = {"source": source, "unit": unit}
    return Field(default, description=description, json_schema_extra=extra, **limits)


@dataclass(frozen=True)
class Snapshot:
    """The synthetic set after `iteration` updates; iteration 0 is the initialisation."""

    iteration: int
    clouds: PointClouds


MakeTensors: TypeAlias = Callable[[Streams, Callable[[int, int], None]], Mapping[str, Tensor]]


@dataclass(frozen=True)
class Task:
    """All that a method is given. It never sees the test split, a file, a clock or a global generator.

    train: the training clouds, (B, N, 3), on `device`. ppc: clouds to make per class. iterations: updates to
    do. snapshots: the iterations, ascending, at which to yield a snapshot; the last one is `iterations`.
    streams: random streams by purpose. network: builds a freshly drawn backbone on `device` from a generator.
    trained_network: the backbone trained on the whole training split by the protocol's recipe, frozen
    (cached; the time it took counts as the method's). cached: float32 tensors that are dear to compute, as
    experts are: cached(inputs, make) calls make(streams, report) once for this training split, network,
    repetition, plugin source and `inputs` (plain JSON values), whatever the PPC, and later takes its tensors
    from the cache; their time counts as well. make draws from the streams it is given and reports (done,
    total). report: called with the iterations done. restore: puts what an interrupted run left back into an
    optimiser and gives the number of iterations done. keep: called with the iteration done and the
    optimiser, leaves them for the next run. `steps` calls these three. selected: the indices (K · PPC,) of
    the training clouds that this run's draw picks; None: they are drawn from `streams`. `initial_clouds` uses
    it.
    """

    train: PointClouds
    ppc: int
    iterations: int
    snapshots: tuple[int, ...]
    device: torch.device
    streams: Streams
    network: Callable[[torch.Generator], Backbone]
    trained_network: Callable[[], Backbone]
    cached: Callable[[Mapping[str, Any], MakeTensors], dict[str, Tensor]]
    report: Callable[[int], None]
    selected: Callable[[], Tensor] | None = None
    restore: Callable[[Optimizer], int] = lambda _: 0
    keep: Callable[[int, Optimizer], None] = lambda *_: None

    def initial_clouds(self, how: Initialisation = "random") -> PointClouds:
        """The clouds that a synthetic set starts from, PPC of every class, ordered by class: (K · PPC, N, 3).

        how: `random`, training clouds by the run's draw; `noise`; `herding` or `kcenter`, training clouds
        chosen by the features of the trained network.
        """
        return initial_clouds(how, self.train, self.ppc, self.streams, self.trained_network, self.selected)

    def steps(self, optimiser: Optimizer | None = None) -> Iterator[int]:
        """The iterations 1, 2, …, `iterations`, each reported when it is done.

        optimiser: where one is given, an interrupted run goes on instead of beginning again: its parameters
        and their state are put back before the first iteration that is left. All that one iteration hands to
        the next must stand there; a learning rate that changes is set from the iteration.
        """
        done = 0 if optimiser is None else self.restore(optimiser)
        for iteration in range(done + 1, self.iterations + 1):
            yield iteration
            if optimiser is not None:
                self.keep(iteration, optimiser)
            self.report(iteration)

    def networks(self, optimiser: Optimizer | None = None) -> Iterator[tuple[int, Backbone]]:
        """As `steps`, each iteration with a network drawn by its stream `network`.

        It is always the same object, drawn anew in place.
        """
        steps = self.steps(optimiser)
        first = next(steps, None)
        if first is None:
            return
        streams = (
            self.streams.stream("network", iteration=iteration)
            for iteration in range(first, self.iterations + 1)
        )
        network = self.network(next(streams))
        with Redraws(network, streams) as redraws:
            yield first, network
            for iteration in steps:
                redraws.apply()
                yield iteration, network


class Method(ABC):
    """A way to make a small synthetic training set. One instance serves one run.

    whole: the method gives the whole training split in one snapshot, whatever the PPC; students then follow
    the protocol's recipe for that.
    """

    name: ClassVar[str]
    whole: ClassVar[bool] = False
    Params: ClassVar[type[MethodParams]] = MethodParams

    def __init__(self, params: MethodParams) -> None:
        self.params: Any = params

    @abstractmethod
    def distill(self, task: Task) -> Iterator[Snapshot]:
        """Yield a snapshot at each iteration of `task.snapshots`; one without iterations yields one, at 0.

        Each snapshot holds exactly `task.ppc` finite clouds of every class, ordered by class.
        """


class Backbone(nn.Module, ABC):
    """A network from clouds to class logits, made of `pcbench.ops.layers`: S stacked copies run as one.

    Every method below takes xyz (B, N, 3), or (S, B, N, 3) when stacked, and keeps the leading axes.
    presets: constructor arguments by name; the first is the default. A network for 1024 points takes any
    number: a level has at most as many centres, and a centre as many neighbours, as there are points.
    """

    name: ClassVar[str]
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"canonical": {}}

    @abstractmethod
    def __init__(self, classes: int, **preset: Any) -> None:
        super().__init__()

    @classmethod
    def build(cls, classes: int, preset: str, generator: torch.Generator) -> Backbone:
        """A network in training mode, drawn from `generator`."""
        network = cls(classes, **cls.presets[preset])
        initialise(network, generator)
        return network

    def geometry(self, xyz: Tensor) -> tuple[Tensor, ...]:  # noqa: ARG002
        """What the network derives from coordinates without its weights: indices of neighbours, densities.

        Each of any shape (B, ...), differentiable where it is no index. It depends on one cloud at a time, so
        that it is worked out once for a cloud that many students see many times.
        """
        return ()

    @abstractmethod
    def forward(self, xyz: Tensor, *geometry: Tensor) -> Tensor:
        """Class logits, (B, K). geometry: what `geometry(xyz)` gives, where the caller has it already.

        Where S stacked networks see the same clouds, its leading axis S is 1.
        """

    @abstractmethod
    def embed(self, xyz: Tensor) -> Tensor:
        """The input of the last linear layer, (B, E)."""

    @abstractmethod
    def global_feature(self, xyz: Tensor) -> Tensor:
        """The pooled feature, (B, D)."""

    @abstractmethod
    def point_features(self, xyz: Tensor) -> Tensor:
        """The features that pooling sees, signed, (B, N, D)."""

    def observe(self, xyz: Tensor) -> None:
        """Let clouds move the running statistics of the norms before pooling, as `point_features` does."""
        self.point_features(xyz)

    def layer_features(self, xyz: Tensor) -> tuple[Tensor, ...]:
        """The features of the points after every layer, (B, N_l, C_l) each; the last are `point_features`."""
        return (self.point_features(xyz),)


@dataclass(frozen=True)
class Splits:
    """A data set as it is used: training and test clouds of N points in the unit sphere.

    content_hash: of both splits together. sampling: how N points were taken from each stored cloud.
    standard: whether counts and classes are those of the data set's card. official_order: whether the
    training clouds stand in the order of the data set's official lists.
    """

    train: PointClouds
    test: PointClouds
    content_hash: str
    sampling: str
    standard: bool = True
    official_order: bool = False


class Dataset(ABC):
    """A named data set. `load` raises DataError, with how to get it, where this machine does not have it.

    redistributable: whether its owner lets clouds that are made from it be passed on.
    """

    name: ClassVar[str]
    variant: ClassVar[str]
    up_axis: ClassVar[Literal["x", "y", "z", "none"]]
    classes: ClassVar[int]
    train_size: ClassVar[int]
    test_size: ClassVar[int]
    redistributable: ClassVar[bool] = False

    @abstractmethod
    def present(self) -> bool:
        """Whether this machine can load it now, without a download."""

    @abstractmethod
    def how_to_get(self) -> str:
        """One sentence with the command that makes it present."""

    @abstractmethod
    def load(self, points: int) -> Splits:
        """Both splits with `points` points a cloud, normalised to the unit sphere."""
