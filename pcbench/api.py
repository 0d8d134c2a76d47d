"""What a plugin author imports: the contracts of methods, backbones and data sets.

A plugin is one Python file that defines a subclass of `Method`, `Backbone` or `Dataset` with a literal `name`
and a docstring whose first line says what it is. It imports from `pcbench.api` and `pcbench.ops` alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar, Generic, Literal, TypeAlias

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.optim import Optimizer
from typing_extensions import TypeVar

from pcbench.clouds import PointClouds
from pcbench.errors import PcbenchError, UsageError
from pcbench.ops.coreset import Initialisation, initial_clouds
from pcbench.ops.foreign import Foreign
from pcbench.ops.layers import initialise
from pcbench.ops.redraw import FreshNetworks
from pcbench.ops.replay import Recorder
from pcbench.ops.stored import Stored
from pcbench.seeds import Streams

__all__ = [
    "Archive",
    "Backbone",
    "Dataset",
    "Iteration",
    "Method",
    "MethodParams",
    "MissingFeature",
    "ModuleBackbone",
    "PointClouds",
    "Setting",
    "Snapshot",
    "Splits",
    "Stored",
    "Streams",
    "Task",
    "Terms",
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
class Setting:
    """Values of a method's parameters under a name: `pcbench run --method NAME:SETTING`."""

    source: str
    """Where they are from."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """Those that depart from the defaults."""


@dataclass(frozen=True)
class Snapshot:
    """The synthetic set at one point of its distillation."""

    iteration: int
    """Updates done; 0 is the initialisation."""
    clouds: PointClouds
    """`task.ppc` clouds of every class, ordered by class: (K · PPC, N, 3). Of a parameterised set what its
    expansion makes: as many of every class, of any number of points."""
    stored: Stored | None = None
    """What such a set is kept as; None where the clouds themselves are kept."""

    @property
    def identity(self) -> str:
        """The content hash of what is kept, as 64 digits."""
        return self.clouds.content_hash() if self.stored is None else self.stored.content_hash()


MakeTensors: TypeAlias = Callable[[Streams, Callable[[int, int], None]], Mapping[str, Tensor]]
"""make(streams, report): float32 tensors by name, drawn from the streams alone; it reports (done, total)."""


@dataclass(frozen=True)
class Iteration:
    """One update of the synthetic set, as `Task.learn` hands it to a method."""

    number: int
    """1, 2, …, `task.iterations`."""
    networks: FreshNetworks[Backbone] = field(repr=False)
    """Where `network` comes from."""
    recorder: Recorder = field(repr=False)
    """What `recorded` goes through."""

    @property
    def network(self) -> Backbone:
        """A network drawn anew for this iteration by its stream `network`, in training mode.

        It is always the same object, drawn in place. None is drawn where none is asked for.
        """
        return self.networks.of(self.number)

    def recorded(self, work: Callable[..., Sequence[Tensor]], *inputs: Any) -> Sequence[Tensor]:
        """work(*inputs), which gives tensors: on a GPU it is recorded once, then launched as a whole.

        `pcbench.ops.replay.Replayed` says what such work may do. Pass the same function in every iteration,
        as `self.step` is. What it gives is void after its next call.
        """
        return self.recorder(work, *inputs)


LOOK_EVERY = 10
"""Iterations from one look for divergence to the next: a look waits for a GPU."""


def require_finite(optimiser: Optimizer, iteration: int) -> None:
    """Raises UsageError where a number that the optimiser moves is no longer finite after an iteration."""
    for group in optimiser.param_groups:
        if not all(bool(moved.isfinite().all()) for moved in group["params"]):
            rate = f", at a learning rate of {float(group['lr']):g}" if "lr" in group else ""
            raise UsageError(
                f"what the method learns has diverged by iteration {iteration}{rate}: choose a lower rate"
            )


@dataclass(frozen=True)
class Task:
    """All that a method is given. It never sees the test split, a file, a clock or a global generator."""

    train: PointClouds
    """The training clouds, (B, N, 3) float32 in the unit sphere, on `device`; not to be changed."""
    ppc: int
    """Point clouds per class: how many to make."""
    iterations: int
    """Updates to do."""
    snapshots: tuple[int, ...]
    """The iterations, ascending, at which to yield a snapshot; the last one is `iterations`."""
    device: torch.device
    """Where to compute."""
    streams: Streams
    """Random streams by purpose: `task.streams.stream("noise")` is a generator on the CPU."""
    network: Callable[[torch.Generator], Backbone]
    """Builds a network on `device`, drawn from a generator, in training mode."""
    trained_network: Callable[[], Backbone]
    """The network trained on the whole training split by the protocol's recipe, frozen.

    It is trained once and cached; the time that took counts as the method's.
    """
    cached: Callable[[Mapping[str, Any], MakeTensors], dict[str, Tensor]]
    """Tensors that are dear to compute, as experts are: cached(inputs, make) gives those of `make`.

    They are made once for this training split, network, repetition, plugin source and `inputs` (plain JSON
    values), whatever the PPC, and come from the cache later; the time they took counts as the method's.
    """
    report: Callable[[int], None]
    """Takes the iterations done; `learn` and `steps` call it."""
    selected: Callable[[], Tensor] | None = None
    """Indices (K · PPC,) of the training clouds that the run's draw picks, for `initial_clouds`.

    None: they are drawn from `streams`.
    """
    restore: Callable[[Optimizer], int] = lambda _: 0
    """Puts what an interrupted run left back into an optimiser: the iterations done. `learn` calls it."""
    keep: Callable[[int, Optimizer], None] = lambda *_: None
    """Leaves the iteration done and the optimiser's state for the next run. `learn` calls it."""
    log: Callable[..., None] = lambda **_: None
    """log(loss=0.3, norm=tensor): numbers of the iteration under way, kept beside the record and plotted.

    No result depends on them. A tensor is read at once, which waits for a GPU; the time counts.
    """

    def initial_clouds(self, how: Initialisation = "random") -> PointClouds:
        """The clouds that a synthetic set starts from, PPC of every class, ordered by class: (K · PPC, N, 3).

        how: `random`, training clouds by the run's draw; `noise`; `herding` or `kcenter`, training clouds
        chosen by the features of the trained network.
        """
        return initial_clouds(how, self.train, self.ppc, self.streams, self.trained_network, self.selected)

    def learn(
        self,
        update: Callable[[Iteration], None],
        optimiser: Optimizer,
        clouds: Callable[[], PointClouds | Stored],
    ) -> Iterator[Snapshot]:
        """Call `update` once an iteration, and give the snapshots that are asked for: `yield from` them.

        optimiser: holds all that one iteration hands to the next, parameters and their state, so that an
        interrupted run goes on where it stood; a learning rate that changes is set from the iteration's
        number. clouds: gives the synthetic set as it stands, as clouds or as `Stored`; it is copied.
        """
        recorder = Recorder(self.device)
        if 0 in self.snapshots:
            yield self._snapshot(0, clouds())
        with self._fresh_networks() as networks:
            for number in self.steps(optimiser):
                update(Iteration(number, networks, recorder))
                if number in self.snapshots:
                    yield self._snapshot(number, clouds())

    def _snapshot(self, iteration: int, clouds: PointClouds | Stored) -> Snapshot:
        if isinstance(clouds, Stored):
            kept = clouds.copy()
            return Snapshot(iteration, kept.expand(self.train.class_names, self.ppc), kept)
        return Snapshot(iteration, replace(clouds, points=clouds.points.detach().clone()))

    def steps(self, optimiser: Optimizer | None = None) -> Iterator[int]:
        """The iterations 1, 2, …, `iterations`, each reported when it is done, for a loop of a method's own.

        optimiser: as that of `learn`; without one an interrupted run begins again. Raises UsageError where
        what it moves has diverged, which is looked at every `LOOK_EVERY` iterations.
        """
        done = 0 if optimiser is None else self.restore(optimiser)
        for iteration in range(done + 1, self.iterations + 1):
            yield iteration
            if optimiser is not None:
                if iteration % LOOK_EVERY == 0:
                    require_finite(optimiser, iteration)
                self.keep(iteration, optimiser)
            self.report(iteration)

    def networks(self, optimiser: Optimizer | None = None) -> Iterator[tuple[int, Backbone]]:
        """As `steps`, each iteration with its network, which is that of `Iteration.network`."""
        with self._fresh_networks() as networks:
            for iteration in self.steps(optimiser):
                yield iteration, networks.of(iteration)

    def _fresh_networks(self) -> FreshNetworks[Backbone]:
        def generator(iteration: int) -> torch.Generator:
            return self.streams.stream("network", iteration=iteration)

        return FreshNetworks(self.network, generator, self.iterations)


P = TypeVar("P", bound=MethodParams, default=Any)


class Method(ABC, Generic[P]):
    """A way to make a small synthetic training set. One instance serves one run.

    `class Mine(Method["Mine.Params"])` tells a type checker of what type `self.params` is.
    """

    name: ClassVar[str]
    """What it is called: `pcbench run --method NAME`."""
    whole: ClassVar[bool] = False
    """Whether it gives the whole training split in one snapshot, whatever the PPC.

    Students then follow the protocol's recipe for that.
    """
    Params: ClassVar[type[MethodParams]] = MethodParams
    """The parameters, each with a default and its source."""
    files: ClassVar[tuple[str, ...]] = ()
    """Data files beside the plugin that it reads, by name, written out as a tuple of texts.

    They are hashed with its code. A method sees no other file, and one that has any is open division.
    """
    settings: ClassVar[Mapping[str, Setting]] = {}
    """Named values of the parameters, where a paper and its code, say, have others."""

    def __init__(self, params: P) -> None:
        self.params = params

    @abstractmethod
    def distill(self, task: Task) -> Iterator[Snapshot]:
        """Yield a snapshot at each iteration of `task.snapshots`; one without iterations yields one, at 0.

        Each snapshot holds exactly `task.ppc` finite clouds of every class, ordered by class. A method that
        iterates ends in `yield from task.learn(...)`.
        """


class Backbone(nn.Module, ABC):
    """A network from clouds to class logits, made of `pcbench.ops.layers`: S stacked copies run as one.

    Every method below takes xyz (B, N, 3), or (S, B, N, 3) when stacked, and keeps the leading axes. A
    network for 1024 points takes any number: a level has at most as many centres, and a centre as many
    neighbours, as there are points.
    """

    name: ClassVar[str]
    """What it is called: `pcbench run --backbone NAME`, or NAME:PRESET."""
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"canonical": {}}
    """Constructor arguments by name; the first is the default."""

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
    """A data set as it is used."""

    train: PointClouds
    """The training clouds, of N points in the unit sphere."""
    test: PointClouds
    """The test clouds, likewise."""
    content_hash: str
    """Of both splits together: SHA-256 as 64 digits."""
    sampling: str
    """How N points were taken from each stored cloud."""
    standard: bool = True
    """Whether counts and classes are those of the data set's card."""
    official_order: bool = False
    """Whether the training clouds stand in the order of the data set's official lists."""


@dataclass(frozen=True)
class Archive:
    """A zip archive of a data set that its owners publish freely: `pcbench data fetch`."""

    name: str
    """What the file is called."""
    urls: tuple[str, ...]
    """Where its owners publish it, tried in turn."""
    checksum: str | None
    """`md5:…` or `sha256:…`; None where none is public."""
    folder: str = ""
    """The folder in the archive that holds the data; where it lacks that, all of it is meant."""
    max_bytes: int = 1 << 30
    """No download is longer."""
    max_unpacked: int = 4 << 30
    """Bytes that all its files may have together, unpacked."""


@dataclass(frozen=True)
class Terms:
    """What comes before a data set that is never downloaded: its owners' terms."""

    page: str
    """Where they are accepted."""
    then: str
    """What to import afterwards."""


class MissingFeature(PcbenchError):
    """A method asks a plain module for features that its author has not named."""


class ModuleBackbone(Backbone):
    """A backbone that is any torch module: `backbone_of` derives one from the module's class.

    Its students are trained one after another, each from random streams of its own. What the class of the
    module may say beside `name`:

    presets: as those of `Backbone`; the constructor is called with the number of classes and a preset.
    layout: `BN3` (the default), or `B3N` where forward takes clouds (B, 3, N).
    features: where the features are that methods ask for, each the input or the output of one of the module's
    own modules by name, as in {"global_feature": "input fc1", "point_features": "output conv5"}. `embed` is
    the input of the last linear layer, unless another place is named.

    forward gives logits or log-probabilities, (B, K), or a tuple that begins with them.
    """

    module: ClassVar[type[nn.Module]]
    """The module's class."""
    layout: ClassVar[str] = "BN3"
    """The axes of what its forward takes."""
    features: ClassVar[Mapping[str, str]] = {}
    """By the name of a method below: `input NAME` or `output NAME`."""

    def __init__(self, classes: int, **preset: Any) -> None:
        super().__init__(classes)
        self.classes = classes
        self.net = Foreign(partial(self.module, classes, **preset))

    def _laid_out(self, xyz: Tensor) -> Tensor:
        return xyz.transpose(-1, -2).contiguous() if self.layout == "B3N" else xyz

    def forward(self, xyz: Tensor, *_: Tensor) -> Tensor:
        logits: Tensor = self.net(self._laid_out(xyz))
        if logits.shape != (*xyz.shape[:-2], self.classes):
            given, needed = list(logits.shape), [*xyz.shape[:-2], self.classes]
            raise TypeError(f"{self.name}: forward gives {given} where logits {needed} are needed")
        return logits

    def _feature(self, which: str, xyz: Tensor) -> Tensor:
        place = self.features.get(which) or (self._before_logits() if which == "embed" else None)
        if place is None:
            raise MissingFeature(
                f"backbone {self.name} does not say where its {which} is, which the method needs: "
                f'name it, as in features = {{"{which}": "input fc3"}}'
            )
        side, _, name = place.partition(" ")
        match side:
            case "input" | "output":
                return self.net.observed(self._laid_out(xyz), name, side)
            case _:
                what = f"features[{which!r}] is {place!r}"
                raise TypeError(f"{self.name}: {what}, not 'input NAME' or 'output NAME'")

    def _before_logits(self) -> str | None:
        """The input of the last linear layer with an output a class, where there is one."""
        linear = [
            name
            for name, module in self.net.module.named_modules()
            if isinstance(module, nn.Linear) and module.out_features == self.classes
        ]
        return f"input {linear[-1]}" if linear else None

    def embed(self, xyz: Tensor) -> Tensor:
        return self._feature("embed", xyz).flatten(xyz.dim() - 2)

    def global_feature(self, xyz: Tensor) -> Tensor:
        return self._feature("global_feature", xyz).flatten(xyz.dim() - 2)

    def point_features(self, xyz: Tensor) -> Tensor:
        """Of (B, D, N) and (B, N, D) that which has the points' number on its last axis is turned."""
        features = self._feature("point_features", xyz)
        return features.movedim(-1, -2) if features.shape[-1] == xyz.shape[-2] else features

    def observe(self, xyz: Tensor) -> None:
        self(xyz)


def backbone_of(module: type[nn.Module]) -> type[ModuleBackbone]:
    """The backbone that a plain torch module is whose class has a `name`. TypeError for an unknown layout."""
    layout = getattr(module, "layout", ModuleBackbone.layout)
    if layout not in ("BN3", "B3N"):
        raise TypeError(f"layout is {layout!r}, not 'BN3' or 'B3N'")
    body = {
        "__doc__": module.__doc__,
        "__module__": module.__module__,
        "name": getattr(module, "name"),  # noqa: B009 - no attribute that a type checker knows
        "presets": getattr(module, "presets", Backbone.presets),
        "module": module,
        "layout": layout,
        "features": getattr(module, "features", {}),
    }
    return type(module.__name__, (ModuleBackbone,), body)


class Dataset(ABC):
    """A named data set. `load` raises DataError, with how to get it, where this machine does not have it."""

    name: ClassVar[str]
    """What it is called: `pcbench run --dataset NAME`."""
    variant: ClassVar[str]
    """Which copy or version of it this is, in a few words."""
    up_axis: ClassVar[Literal["x", "y", "z", "none"]]
    """The axis that points up in every cloud, if there is one."""
    classes: ClassVar[int]
    """K, by its card."""
    train_size: ClassVar[int]
    """Training clouds, by its card."""
    test_size: ClassVar[int]
    """Test clouds, by its card."""
    test_counts: ClassVar[Mapping[str, int]] = {}
    """Test clouds of each class, by name in the order of labels, written out; empty where nobody says."""
    redistributable: ClassVar[bool] = False
    """Whether its owner lets clouds that are made from it be passed on."""
    archive: ClassVar[Archive | Terms | None] = None
    """Where `pcbench data fetch` gets it, or whose terms come first; None where there is neither."""
    shares: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """By the name of another data set: the classes that both have, called alike, in the order of a test.

    It is enough that one of the two says so.
    """

    @abstractmethod
    def present(self) -> bool:
        """Whether this machine can load it now, without a download."""

    @abstractmethod
    def how_to_get(self) -> str:
        """One sentence with the command that makes it present."""

    @abstractmethod
    def load(self, points: int) -> Splits:
        """Both splits with `points` points a cloud, normalised to the unit sphere."""
