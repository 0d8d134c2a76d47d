"""Computes the golden values: in float64 what a step of every method and of every backbone's students gives.

All is drawn from seeded generators, and everything goes through the code that makes published results. Of a
tensor four numbers are kept: its length, and its products with three drawn directions, in which any change of
any entry shows. Students' values are those of two steps of SGD on two stacked networks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import Optimizer

from pcbench.api import Backbone, Method, PointClouds, Streams, Task
from pcbench.catalogue import open_catalogue
from pcbench.engine import students, testing
from pcbench.ops.batches import ClassIndex
from pcbench.ops.coreset import herding, initial_clouds, kcenter
from pcbench.ops.layers import Linear, initialise, max_over_points
from pcbench.protocols import recipes, variants
from pcbench.protocols.protocol import PROTOCOLS, Augmentation, Recipe, Step
from pcbench.records import identity

CATALOGUE = open_catalogue()

FILE = Path(__file__).with_name(f"engine{identity.ENGINE}.json")
"""The golden values of the current engine."""

CLASSES, PPC = 3, 2
POINTS, STUDENT_POINTS = 32, 16
"""Of a cloud that methods see, and of one that students see, where large networks take their time."""

PERIOD = 1009
"""A prime, so that no row of a weight begins again with it."""

METHODS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "dm": ("dm", {}),
    "dm, global feature": ("dm", {"layer": "global"}),
    "m3d": ("m3d", {}),
    "m3d, one bandwidth": ("m3d", {"bandwidth": 50.0}),
    "m3d, linear": ("m3d", {"kernel": "linear"}),
    "datadam": ("datadam", {}),
    "datadam, unsorted": ("datadam", {"sort": False, "power": 1}),
    "sadm": ("sadm", {}),
    "sadm, no rotation": ("sadm", {"rotate": False}),
    "sadm, angles alone": ("sadm", {"optimise_points": False, "angle_step": 1}),
    "sadm, unsorted": ("sadm", {"align": False}),
    "sadm, mean": ("sadm", {"loss": "mean", "topk": 3}),
    "sadm, mean, unsorted": ("sadm", {"loss": "mean", "align": False}),
    "dc": ("dc", {}),
    "dc, mse": ("dc", {"metric": "mse"}),
    "dc, one cosine": ("dc", {"metric": "cos", "bn_momentum": 1.0}),
    "dc, the network trained between": ("dc", {"outer": 2, "inner": 2, "inner_lr": 1e-3}),
    "pcc": ("pcc", {}),
    "mtt": (
        "mtt",
        {"experts": 2, "expert_epochs": 2, "expert_batch": 8, "max_start_epoch": 1, "syn_steps": 3},
    ),
    "3ddp": ("3ddp", {"anchors": 2, "morphs": 2, "neighbours": 4, "lr": 1.0, "lr_weights": 0.1}),
    "ncfm": ("ncfm", {"pool": 2, "pool_epochs": 2, "frequencies": 64}),
    "dance": ("dance", {"pool": 2, "pool_epochs": 2}),
    "iid": ("iid", {}),
    "idm": ("idm", {"every": 1, "train_steps": 2, "train_batch": 16, "train_lr": 1e-3, "lr": 1e-3}),
    "ordered, along an axis": ("ordered", {"order": "axis"}),
    "ordered, along a Z-order": ("ordered", {"order": "morton"}),
    "ordered, by features": ("ordered", {"order": "feature", "rotate": True}),
}
"""By a name for people: a method and the parameters that are not its defaults."""

CORESETS: Mapping[str, Mapping[str, Any]] = {
    "el2n": {"networks": 2, "epochs": 2},
    "forgetting": {"epochs": 6, "lr": 0.003},
    "facility": {},
}
"""Methods that choose training clouds by a way of their own, with parameters that are not their defaults."""

OF_STUDENTS = ("parameters", "statistics", "logits", "losses")

STEP_ALONE = ("dc, mse", "dc, one cosine")
"""Those of which two iterations would take long and show nothing that their step does not."""

NARROWER: Mapping[str, Mapping[str, Any]] = {
    "point_transformer:paper": {"hidden": 64},
    "point_transformer:canonical": {"hidden": 64},
    "pointmlp:canonical": {"widths": (16, 32, 64, 128, 256)},
}
"""What is set beside a preset, so that a large network takes no time."""

FEWER: Mapping[str, Mapping[str, Any]] = {
    "pointconv": {"levels": ((12, 8), (6, 4)), "widths": ((16, 16, 32), (32, 32, 64), (64, 128, 256))},
}
"""A backbone's constants for few points.

Where every point is a neighbour of every centre, relative coordinates have the mean 0, and a centre itself
stands exactly where PointConv's first ReLU begins: rounding alone would decide on which side.
"""


def everything() -> Iterator[tuple[str, Any]]:
    """All golden values by their place, such as `methods/dm/losses` or `backbones/dgcnn:paper/logits`."""
    with _float64_allowed():
        yield from _steps()
        yield from _rates()
        yield from _changed_test_clouds()


@contextmanager
def _float64_allowed() -> Iterator[None]:
    """Clouds are float32 by contract, and networks are drawn anew in float32: for the block neither is."""
    with (
        patch.object(PointClouds, "__post_init__", lambda _: None),
        patch.object(torch.nn.Module, "float", lambda network: network),
    ):
        yield


def _steps() -> Iterator[tuple[str, Any]]:
    for title, (name, params) in METHODS.items():
        method = CATALOGUE.methods.load(name)
        for what, value in distillation(title, method(method.Params(**params))).items():
            yield f"methods/{title}/{what}", value
    for title in ("random", "herding", "kcenter", "noise"):
        yield f"coresets/{title}", coreset(title)
    for name, params in CORESETS.items():
        method = CATALOGUE.methods.load(name)
        yield f"coresets/{name}", chosen(method(method.Params(**params)))
    for name, preset in presets():
        backbone = CATALOGUE.backbones.load(name)
        build = _in_double(backbone, preset)
        for what, value in first_steps(build, Recipe(epochs=2, drop_after=0, batch=6, lr=1e-3)).items():
            yield f"backbones/{name}:{preset}/{what}", value
    for title, recipe in RECIPES.items():
        for what, value in first_steps(_in_double(Plain, "canonical"), recipe).items():
            yield f"recipes/{title}/{what}", value


def presets() -> list[tuple[str, str]]:
    """Every preset of every built-in backbone."""
    loaded = (CATALOGUE.backbones.load(name) for name in sorted(CATALOGUE.backbones.names()))
    return [(each.name, preset) for each in loaded for preset in each.presets]


def in_short(*tensors: Tensor) -> list[float]:
    """The length of tensors as one, and its products with three drawn directions.

    A direction repeats every PERIOD entries, and begins at another entry for every tensor.
    """
    directions = torch.randn(3, PERIOD, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    products, square = torch.zeros(3, dtype=torch.float64), 0.0
    for place, tensor in enumerate(tensors):
        whole, rest = _folded(tensor.detach().double().flatten())
        products += directions.roll(place, 1) @ (whole + rest)
        square += float(tensor.detach().double().square().sum())
    return [square**0.5, *products.tolist()]


def _folded(flat: Tensor) -> tuple[Tensor, Tensor]:
    """Entries summed over the places that share an entry of a direction: full rows, and the last one."""
    rows, last = flat.split([len(flat) // PERIOD * PERIOD, len(flat) % PERIOD])
    return rows.view(-1, PERIOD).sum(0), F.pad(last, (0, PERIOD - len(last)))


def clouds(count: int, stream: str, size: int = POINTS) -> PointClouds:
    """`count` clouds of `size` points of each class, each class with proportions of its own.

    Points come in pairs, about a tenth of the radius apart, so that densities differ from place to place.
    """
    generator = Streams({"golden": stream}).stream("points")
    scale = torch.tensor([[1.0, 0.3, 0.2], [0.2, 1.0, 0.4], [0.6, 0.5, 0.7]], dtype=torch.float64)
    labels = torch.arange(CLASSES).repeat(count)
    places = torch.randn(len(labels), size // 2, 3, dtype=torch.float64, generator=generator)
    apart = torch.randn(len(labels), size, 3, dtype=torch.float64, generator=generator) * 0.1
    points = (places.repeat(1, 2, 1) + apart) * scale[labels].unsqueeze(1)
    return PointClouds(points, labels, ("bed", "chair", "sofa")).normalised()


def _in_double(backbone: type[Backbone], preset: str) -> Callable[[torch.Generator], Backbone]:
    """Networks drawn in float64: a float32 weight's last bit depends on the processor's instructions."""
    small = type(backbone.__name__, (backbone,), dict(FEWER.get(backbone.name, {})))
    arguments = {**backbone.presets[preset], **NARROWER.get(f"{backbone.name}:{preset}", {})}

    def build(generator: torch.Generator) -> Backbone:
        network: Backbone = small(CLASSES, **arguments).double()
        initialise(network, generator)
        return network

    return build


def distillation(title: str, method: Method) -> dict[str, list[float]]:
    """What a method has learnt after each of two iterations, and losses and gradient of its step alone."""
    task = _task(method.name)
    train, streams, build = task.train, task.streams, task.network
    found: dict[str, list[float]] = {}

    def keep(iteration: int, optimiser: Optimizer) -> None:
        for group in optimiser.param_groups:
            for parameter in group["params"]:
                momentum = (
                    optimiser.state[parameter].get("momentum_buffer") if parameter.requires_grad else None
                )
                number = sum(key.startswith(f"{iteration}.") for key in found)
                both = [parameter] if momentum is None else [parameter, momentum]
                found[f"{iteration}.{number}"] = in_short(*both)

    if title not in STEP_ALONE:
        assert list(method.distill(replace(task, keep=keep))) == []
    step = getattr(method, "step", None)
    if step is not None and method.name != "mtt":
        network = build(streams.stream("network"))
        by_class = train.points.unflatten(0, (-1, CLASSES)).transpose(0, 1)
        clouds_of = by_class[:, 8:].flatten(0, 1)
        losses, gradient = step(network, by_class[:, :4].flatten(0, 1), by_class[:, 4:8], clouds_of)
        found |= {"losses": in_short(losses), "gradient": in_short(gradient)}
    return found


def _task(name: str) -> Task:
    """Two iterations on drawn clouds, with PointNets in float64."""
    build = _in_double(CATALOGUE.backbones.load("pointnet"), "paper")
    streams = Streams({"golden": name})
    return Task(
        train=clouds(10, "training"),
        ppc=PPC,
        iterations=2,
        snapshots=(),
        device=torch.device("cpu"),
        streams=streams,
        network=build,
        trained_network=lambda: build(streams.stream("trained")),
        cached=lambda _, make: dict(make(streams.within(level="cached"), lambda *_: None)),
        report=lambda _: None,
    )


def chosen(method: Method) -> list[int]:
    """The indices of the training clouds that a method chooses."""
    task = _task(method.name)
    (snapshot,) = method.distill(task)
    same = (snapshot.clouds.points.unsqueeze(1) == task.train.points).flatten(2).all(2)
    return [int(row) for row in same.int().argmax(1)]


def coreset(how: Any) -> list[Any]:
    """Noise, or chosen training clouds; for greedy methods by drawn features."""
    train, streams = clouds(10, "training"), Streams({"golden": how})
    if how == "noise":
        plain = PointClouds(train.points.float(), train.labels, train.class_names)
        return in_short(initial_clouds(how, plain, PPC, streams, _nobody).points)
    if how == "random":
        return ClassIndex(train).draw(4, streams.stream("init"), "ppc").tolist()
    features = torch.randn(len(train), 16, generator=streams.stream("features"))
    choose = {"herding": herding, "kcenter": kcenter}[how]
    return choose(features, train.labels, ClassIndex(train).table(), 4).tolist()


def _nobody() -> Any:
    raise AssertionError("no network is needed")


def first_steps(build: Callable[[torch.Generator], Backbone], recipe: Recipe) -> dict[str, list[float]]:
    """Weights, statistics and test logits of two students, trained together by a recipe on six clouds."""
    train, test = clouds(2, "students", STUDENT_POINTS), clouds(1, "test", STUDENT_POINTS)
    streams = [Streams({"golden": "students", "repetition": number}) for number in range(2)]
    network = students.train(build, train, recipe, streams).eval()
    with torch.no_grad():
        shared = [values.unsqueeze(0) for values in network.geometry(test.points)]
        logits = network(test.points.expand(2, *test.points.shape), *shared)
    losses = students.student_losses(logits, test.labels.expand(2, -1), recipe.label_smoothing)
    found = (network.parameters(), network.buffers(), [logits], [losses])
    return {what: in_short(*tensors) for what, tensors in zip(OF_STUDENTS, found, strict=True)}


class Plain(Backbone):
    """Two linear layers and a maximum, without norms.

    The gradient of a bias before a norm is rounding alone, which Adam would blow up to a whole step.
    """

    name = "plain"

    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.low, self.classifier = Linear(3, 16), Linear(16, classes)

    def point_features(self, xyz: Tensor) -> Tensor:
        return torch.tanh(self.low(xyz))

    def global_feature(self, xyz: Tensor) -> Tensor:
        return max_over_points(self.point_features(xyz))

    def embed(self, xyz: Tensor) -> Tensor:
        return self.global_feature(xyz)

    def forward(self, xyz: Tensor, *_: Tensor) -> Tensor:
        return self.classifier(self.embed(xyz))  # type: ignore[no-any-return]


RECIPES: Mapping[str, Recipe] = {
    "sgd, a drop": Recipe(epochs=4, drop_after=1, batch=4, drop_factor=0.5),
    "adam, steps, smoothing": Recipe(
        epochs=3,
        batch=4,
        optimiser="adam",
        label_smoothing=0.2,
        schedule=Step(kind="step", every=2, factor=0.5),
    ),
    "adamw, a drop": Recipe(epochs=3, drop_after=1, batch=4, optimiser="adamw", weight_decay=0.1),
    "sgd, augmented": Recipe(
        epochs=2,
        drop_after=1,
        batch=4,
        augmentation=Augmentation(
            turn="y", scale=(0.8, 1.25), scale_axes=True, shift=0.1, jitter=0.01, jitter_clip=0.05, drop=0.3
        ),
    ),
}


def _rates() -> Iterator[tuple[str, list[float]]]:
    """The learning rates of eight epochs from the first to the last, of all protocols and backbones."""
    named = {
        f"{name}.{part}": getattr(p, part) for name, p in PROTOCOLS.items() for part in ("recipe", "whole")
    }
    named |= {f"{each.backbone}": each.recipe for each in recipes.listing()}
    for name, recipe in named.items():
        yield f"rates/{name}", [recipe.rate(n * (recipe.epochs - 1) // 7) for n in range(8)]


def _changed_test_clouds() -> Iterator[tuple[str, list[float]]]:
    """Test clouds turned and corrupted, one severity for each."""
    for label in ("up", "so3", *(f"{kind}:3" for kind in variants.SEVERITIES)):
        changed = testing.changed(variants.named(label, "golden", "y"), clouds(2, "test"), "golden")
        yield f"test clouds/{label}", in_short(changed.points)
