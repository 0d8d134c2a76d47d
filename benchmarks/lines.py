"""The lines of `pcbench bench`: the plain loop and pcbench's way on the same clouds and networks."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from pcbench.api import Backbone, Method
from pcbench.catalogue import open_catalogue
from pcbench.clouds import PointClouds
from pcbench.engine import students
from pcbench.errors import UsageError
from pcbench.ops import coreset, neighbours, replay
from pcbench.ops.batches import ClassIndex
from pcbench.ops.layers import BatchNorm, Dropout, Linear, adapt_batch_norm, copy_state, stack
from pcbench.ops.replay import Replayed
from pcbench.protocols.protocol import Recipe
from pcbench.seeds import Streams

from . import plain
from .measure import Case, Side, Watch, Work

REAL = 8  # real clouds per class, for the statistics and for the match: the methods' default
BATCH = 8  # clouds of one student's step, as in the paper's protocol
STEPS = 2  # timed steps of every student
TESTED = 64  # clouds that trained students are tested on
MOST_CLOUDS = 2000  # clouds that a coreset is chosen from
SEARCHED = 8  # clouds in which neighbours are sought
RANDOM = "random"  # clouds without a data set: as many classes as asked for


@dataclass(frozen=True)
class Setting:
    """What a line is measured on: the clouds, on the device, and how much of everything."""

    train: PointClouds
    device: torch.device
    ppc: int
    backbone: str
    students: int

    @property
    def streams(self) -> Streams:
        return Streams({"benchmark": "speed"})


def clouds_for(dataset: str, classes: int | None, points: int) -> PointClouds:
    """The training clouds of the first classes of a data set, or drawn ones; UsageError for too many."""
    if dataset == RANDOM:
        count = classes or 10
        drawn = torch.randn(
            count * 2 * REAL, points, 3, generator=Streams({"benchmark": "clouds"}).stream("points")
        )
        names = tuple(f"class {c}" for c in range(count))
        return PointClouds(drawn, torch.arange(count).repeat(2 * REAL), names).normalised()
    train = open_catalogue().datasets.load(dataset)().load(points).train
    if classes is None or classes == train.classes:
        return train
    if not 1 <= classes <= train.classes:
        raise UsageError(
            f"--classes {classes}: {dataset} has {train.classes}; --dataset {RANDOM} has as many as asked for"
        )
    chosen = train.select((train.labels < classes).nonzero().flatten())
    return PointClouds(chosen.points, chosen.labels, train.class_names[:classes])


def drawn(setting: Setting, purpose: str, per_class: int) -> Tensor:
    """Clouds (K, per_class, N, 3)."""
    index = ClassIndex(setting.train).draw(per_class, setting.streams.stream(purpose), "--ppc")
    return setting.train.points[index.to(setting.device)]


def built(setting: Setting, generator: torch.Generator, spec: str | None = None) -> Backbone:
    cls, preset = open_catalogue().backbone(spec or "pointnet:paper")
    return cls.build(setting.train.classes, preset, generator)


def plainly(network: Backbone, setting: Setting) -> plain.PointNet:
    """The same network of torch's own modules, with the same weights and statistics."""
    copied = plain.PointNet(setting.train.classes)
    theirs = [m for m in copied.modules() if isinstance(m, nn.Conv1d | nn.Linear | nn.BatchNorm1d)]
    ours = [m for m in network.modules() if isinstance(m, Linear | BatchNorm)]
    with torch.no_grad():
        for mine, other in zip(ours, theirs, strict=True):
            other.weight.copy_(mine.weight.view_as(other.weight))
            other.bias.copy_(mine.bias)
            if isinstance(mine, BatchNorm):
                other.running_mean.copy_(mine.running_mean)
                other.running_var.copy_(mine.running_var)
    return copied.to(setting.device)


def features_of(network: Backbone) -> int:
    with torch.no_grad():
        return network.eval().point_features(torch.zeros(1, 4, 3)).shape[-1]


def weights_of(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def method(name: str) -> Any:
    cls: type[Method] = open_catalogue().methods.load(name)
    return cls(cls.Params())


def sadm(setting: Setting) -> list[Case]:
    """One iteration without its draws: the statistics, the losses, the gradients of points and angles."""
    network = built(setting, setting.streams.stream("network")).to(setting.device)
    adapting, real = drawn(setting, "bn_batch", REAL), drawn(setting, "real_batch", REAL)
    start = drawn(setting, "init", setting.ppc)
    angles = 0.1 * torch.randn(*start.shape[:2], 3, generator=setting.streams.stream("angles"))
    angles = angles.to(setting.device)
    ours, reference = method("sadm"), plainly(network, setting).requires_grad_(False)

    own = copy.deepcopy(network).requires_grad_(False)
    seen = own, adapting.flatten(0, 1), real
    step = Replayed(ours.step, setting.device)

    def fast(watch: Watch) -> Mapping[str, Tensor]:
        step.prepare(*seen, start.flatten(0, 1))
        copy_state(network, own)
        points = start.flatten(0, 1).clone().requires_grad_()
        turns = [a.clone().requires_grad_() for a in angles.flatten(0, 1).unbind(1)]
        with watch:
            losses = ours.backward(partial(step, *seen), points, turns)
        gradients = [points.grad, torch.stack([a.grad for a in turns], 1)]
        return dict(zip(NAMES, (losses, *gradients), strict=True))

    def slow(watch: Watch) -> Mapping[str, Tensor]:
        own = copy.deepcopy(reference)
        points, turns = start.clone().requires_grad_(), angles.clone().requires_grad_()
        with watch:
            plain.adapt_batch_norm(own, adapting.flatten(0, 1))
            losses = plain.sadm_losses(own, real, points, turns)
        return dict(zip(NAMES, (losses, points.grad.flatten(0, 1), turns.grad.flatten(0, 1)), strict=True))

    k, n, m, size = len(real), real.shape[1], setting.ppc, 4 * real.shape[2] * features_of(network.cpu())
    network.to(setting.device)
    return [
        Case(
            "sadm",
            {"plain": slow, "pcbench": fast},
            "iteration",
            1,
            k * (4 * n + 8 * m) * size,
            "K (4 n + 8 m) features of a cloud: written, sorted (read and written), read; those of synthetic "
            "clouds also ordered, and their gradient twice written and read",
            {NAMES[0]: 1e-4, NAMES[1]: 2e-2, NAMES[2]: 2e-2},
        )
    ]


NAMES = ("losses", "gradient of points", "gradient of angles")


def _matching(
    name: str,
    setting: Setting,
    slow_step: Callable[[plain.PointNet, Tensor, Tensor], Tensor],
    moved: Callable[[int], int],
    formula: str,
    frozen: bool,
) -> list[Case]:
    network = built(setting, setting.streams.stream("network")).to(setting.device)
    adapting, real = drawn(setting, "bn_batch", REAL), drawn(setting, "real_batch", REAL)
    start = drawn(setting, "init", setting.ppc)
    ours, reference = method(name), plainly(network, setting)
    own = copy.deepcopy(network).requires_grad_(not frozen)
    seen = own, adapting.flatten(0, 1), real, start.flatten(0, 1)
    step = Replayed(ours.step, setting.device)

    def fast(watch: Watch) -> Mapping[str, Tensor]:
        step.prepare(*seen)
        copy_state(network, own)
        with watch:
            losses, gradient = step(*seen)
        return dict(zip(NAMES, (losses.clone(), gradient.view_as(start).clone()), strict=False))

    def slow(watch: Watch) -> Mapping[str, Tensor]:
        theirs = copy.deepcopy(reference).requires_grad_(not frozen)
        points = start.clone().requires_grad_()
        with watch:
            plain.adapt_batch_norm(theirs, adapting.flatten(0, 1))
            losses = slow_step(theirs, real, points)
        return dict(zip(NAMES, (losses, points.grad), strict=False))

    sides: dict[Side, Work] = {"plain": slow, "pcbench": fast}
    tolerances = {NAMES[0]: 1e-4, NAMES[1]: 2e-2}
    return [Case(name, sides, "iteration", 1, moved(weights_of(network)), formula, tolerances)]


def dm(setting: Setting) -> list[Case]:
    """One iteration without its draws: the statistics, the losses and the gradient."""
    clouds = setting.train.classes * (2 * REAL + 2 * setting.ppc) * setting.train.points_per_cloud
    return _matching(
        "dm",
        setting,
        plain.dm_losses,
        lambda weights: 4 * (3 * clouds + weights),
        "the clouds and the weights, once; activations stay in cache",
        frozen=True,
    )


def dc(setting: Setting) -> list[Case]:
    """One outer step without its draws and without inner training: the statistics, losses and gradient."""
    classes = setting.train.classes
    return _matching(
        "dc",
        setting,
        plain.dc_losses,
        lambda weights: 4 * 6 * classes * weights,
        "6 gradients of every class's weights: those of both sides and what goes back, written and read",
        frozen=False,
    )


def train_and_test(setting: Setting) -> list[Case]:
    """S students: steps of training, one batch each, and the test of networks so trained."""
    count = setting.students
    family = [setting.streams.within(student=number) for number in range(count)]
    index = torch.randperm(len(setting.train), generator=setting.streams.stream("clouds"))
    chosen, tested = (setting.train.select(i.to(setting.device)) for i in (index[:BATCH], index[-TESTED:]))
    untimed = 1 if setting.device.type == "cpu" else 1 + replay.EAGER_CALLS
    recipe = Recipe(epochs=untimed + STEPS, drop_after=untimed + STEPS - 1, batch=BATCH)
    cls, preset = open_catalogue().backbone(setting.backbone)
    textbook = (cls.name, preset) == ("pointnet", "paper")

    def build(generator: torch.Generator) -> Backbone:
        return built(setting, generator, setting.backbone)

    trained = _Students(setting, count, family, chosen, tested, recipe, untimed, build, textbook)
    weights = weights_of(build(torch.Generator()))
    sides: dict[Side, Work] = {"plain": trained.plain_training, "pcbench": trained.training}
    tests: dict[Side, Work] = {"plain": trained.plain_test, "pcbench": trained.test}
    return [
        Case(
            "students-train",
            sides,
            "student-step",
            count * STEPS,
            4 * 7 * weights * count * STEPS,
            "7 weights of every student and step: weight, gradient, momentum read, gradient written before, "
            "weight and momentum written, weight read forward and backward",
            {"first updates": 5e-3, "logits": 5e-2 if untimed == 1 else 1.0},
        ),
        Case(
            "students-test",
            tests,
            "student and cloud",
            count * len(tested),
            4 * (weights * count + 3 * tested.points.shape[1] * len(tested)),
            "weights and clouds, once",
            {"right per class": 0.02},
        ),
    ]


@dataclass
class _Students:
    """Both ways of training and testing the same students."""

    setting: Setting
    count: int
    family: list[Streams]
    chosen: PointClouds
    tested: PointClouds
    recipe: Recipe
    untimed: int
    build: Callable[[torch.Generator], Backbone]
    textbook: bool

    def training(self, watch: Watch) -> Mapping[str, Tensor]:
        def report(done: int, total: int) -> None:
            """The first steps are not counted: networks are built before, and steps recorded on a GPU."""
            if done == self.untimed:
                watch.__enter__()
            elif done == total:
                watch.__exit__()

        network = students.train(self.build, self.chosen, self.recipe, self.family, report)
        network.eval()
        with torch.no_grad():
            points = self.tested.points
            logits = network(points.expand(self.count, *points.shape))
        once = self.recipe.model_copy(update={"epochs": 1})
        first = students.train(self.build, self.chosen, once, self.family)
        return {"first updates": self._updates(list(first.parameters())), "logits": logits}

    def plain_training(self, watch: Watch) -> Mapping[str, Tensor]:
        points, labels = self.chosen.points, self.chosen.labels
        first: list[list[Tensor]] = []
        logits = []
        for stream in self.family:
            network = self._alone(stream)
            generator = stream.stream("order")
            orders = [torch.randperm(len(points), generator=generator) for _ in range(self.recipe.epochs)]
            orders = [order.to(points.device) for order in orders]
            optimiser = plain.optimiser(network, self.recipe.lr)
            plain.train(network, optimiser, points, labels, orders[:1], BATCH)
            first.append([parameter.detach().clone() for parameter in network.parameters()])
            plain.train(network, optimiser, points, labels, orders[1 : self.untimed], BATCH)
            with watch:
                plain.train(network, optimiser, points, labels, orders[self.untimed :], BATCH)
            logits.append(plain.logits(network, self.tested.points, BATCH))
        stacked = [torch.stack(parts) for parts in zip(*first, strict=True)]
        return {"first updates": self._updates(stacked), "logits": torch.stack(logits)}

    def _alone(self, stream: Streams) -> nn.Module:
        """One student before training, of torch's modules where there is such a network."""
        network = self.build(stream.stream("weights"))
        alone = plainly(network, self.setting) if self.textbook else network.to(self.setting.device)
        generator = stream.stream("dropout")
        for module in alone.modules():
            if isinstance(module, plain.Mask):
                module.generator = generator
            elif isinstance(module, Dropout):
                module.generators = (generator,)
        return alone

    def _updates(self, parameters: list[Tensor]) -> Tensor:
        """What training has changed: (S, weights)."""
        start = [list(self.build(stream.stream("weights")).parameters()) for stream in self.family]
        before = [torch.stack(parts).to(self.setting.device) for parts in zip(*start, strict=True)]
        changed = [(p.detach().view_as(b) - b).flatten(1) for p, b in zip(parameters, before, strict=True)]
        return torch.cat(changed, 1)

    def _networks(self) -> list[Backbone]:
        """The students with statistics as training leaves them."""
        networks = [self.build(stream.stream("weights")).to(self.setting.device) for stream in self.family]
        for network in networks:
            adapt_batch_norm(network, self.chosen.points, momentum=1.0)
        return networks

    def test(self, watch: Watch) -> Mapping[str, Tensor]:
        network = stack(self._networks())
        with watch:
            right = students.count_correct(network, self.tested, self.count)
        return {"right per class": right}

    def plain_test(self, watch: Watch) -> Mapping[str, Tensor]:
        networks = [plainly(n, self.setting) if self.textbook else n for n in self._networks()]
        right = torch.zeros(self.count, self.setting.train.classes, dtype=torch.int64)
        with watch:
            for own, network in zip(right, networks, strict=True):
                hits = plain.logits(network, self.tested.points, BATCH).argmax(1) == self.tested.labels
                for label, hit in zip(self.tested.labels.tolist(), hits.tolist(), strict=True):
                    own[label] += hit
        return {"right per class": right}


def coresets(setting: Setting) -> list[Case]:
    """Herding and k-center by given features of at most MOST_CLOUDS clouds."""
    network = built(setting, setting.streams.stream("network")).to(setting.device)
    index = torch.randperm(len(setting.train), generator=setting.streams.stream("clouds"))[:MOST_CLOUDS]
    clouds = setting.train.select(index.sort().values.to(setting.device))
    features, table = coreset.global_features(network, clouds.points), ClassIndex(clouds).table()
    greedy = {
        "herding": (plain.herding, coreset.herding),
        "kcenter": (plain.kcenter, coreset.kcenter),
    }

    def side(choose: Callable[..., Tensor], third: Any) -> Work:
        def work(watch: Watch) -> Mapping[str, Tensor]:
            with watch:
                chosen = choose(features, clouds.labels, third, setting.ppc)
            return {"chosen": features[chosen.to(features.device)]}

        return work

    return [
        Case(
            name,
            {"plain": side(slow, clouds.classes), "pcbench": side(fast, table)},
            "choice",
            1,
            4 * features.numel() * (setting.ppc + 1),
            "the features, once for the means and once for every choice",
            {"chosen": 0.0},
        )
        for name, (slow, fast) in greedy.items()
    ]


def searches(setting: Setting) -> list[Case]:
    """Farthest points, nearest neighbours and balls in SEARCHED clouds, for a quarter of the points."""
    clouds = drawn(setting, "searched", SEARCHED).flatten(0, 1)[:SEARCHED].contiguous()
    points = clouds.shape[1]
    count, k, radius = max(1, points // 4), min(20, points), 0.2
    centres = clouds[:, :count].contiguous()

    def side(work: Callable[[], Tensor], result: Callable[[Tensor], Tensor]) -> Work:
        def timed(watch: Watch) -> Mapping[str, Tensor]:
            with watch:
                found = work()
            return {"found": result(found)}

        return timed

    def distances(index: Tensor) -> Tensor:
        found = neighbours.gather_points(clouds, index)
        return (found - centres.unsqueeze(2)).norm(dim=-1)

    def as_it_is(index: Tensor) -> Tensor:
        return index.double()

    pairs: dict[str, tuple[Callable[[], Tensor], Callable[[], Tensor], Callable[[Tensor], Tensor]]] = {
        "farthest-points": (
            lambda: plain.farthest_points(clouds, count),
            lambda: neighbours.farthest_point_sample(clouds, count, start=0),
            as_it_is,
        ),
        "nearest": (
            lambda: plain.nearest(centres, clouds, k),
            lambda: neighbours.nearest(centres, clouds, k),
            distances,
        ),
        "ball-query": (
            lambda: plain.ball_query(centres, clouds, radius, k),
            lambda: neighbours.ball_query(centres, clouds, radius, k),
            as_it_is,
        ),
    }
    found_bytes = {"farthest-points": 1, "nearest": k, "ball-query": k}
    return [
        Case(
            name,
            {"plain": side(slow, result), "pcbench": side(fast, result)},
            "search",
            1,
            clouds.nbytes + 8 * len(clouds) * count * found_bytes[name],
            "the clouds and what is found, once; the floor leaves out the comparisons themselves",
            {"found": 1e-5 if name == "nearest" else 0.0},
        )
        for name, (slow, fast, result) in pairs.items()
    ]


LINES: dict[str, Callable[[Setting], list[Case]]] = {
    "sadm": sadm,
    "dm": dm,
    "dc": dc,
    "students": train_and_test,
    "backbone": lambda setting: train_and_test(replace(setting, students=1)),
    "neighbours": searches,
    "coreset": coresets,
}
