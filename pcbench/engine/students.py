"""Trains and tests S networks of one backbone together, as one stacked network with one set of products.

Each student has its own weights, order of clouds, augmentation and dropout, drawn from its own random
streams, so that its scores are those it would have had alone, up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pcbench.api import Backbone
from pcbench.clouds import PointClouds, unit_sphere
from pcbench.engine.optimisers import packed, put_back, state_of, unpacked
from pcbench.engine.shares import Check, at_once, shares
from pcbench.engine.unfinished import Keeper, Left, State
from pcbench.ops import augment
from pcbench.ops.batches import POINT_BYTES, groups_at_once, in_chunks
from pcbench.ops.layers import members, set_dropout, shared_buffers, stack
from pcbench.ops.replay import Replayed, in_global_state
from pcbench.protocols.protocol import Augmentation, Recipe
from pcbench.seeds import Streams

TEST_POINTS = 1 << 16  # points of one test chunk, all students together
GEOMETRY_BYTES = 1 << 30  # what is kept of all clouds' geometry; above that it is worked out for every batch
GEOMETRY_CLOUDS = 64  # clouds whose geometry is worked out together

Redraw: TypeAlias = Callable[[torch.Generator], Tensor]
"""What draws the points (B, N, 3) of one student's clouds for one epoch."""

Sources: TypeAlias = Mapping[str, Sequence[torch.Generator]]
"""Where every student draws from, by what for: `dropout`, `order`, `augmentation`, `redraw`."""


def train(
    build: Callable[[torch.Generator], Backbone],
    clouds: PointClouds,
    recipe: Recipe,
    streams: Sequence[Streams],
    report: Callable[[int, int], None] | None = None,
    sets: int = 1,
    stacks: int | None = None,
    redraw: Redraw | None = None,
    keeper: Keeper | None = None,
) -> Backbone:
    """Train one student per entry of `streams` on all clouds (B, N, 3); the result is stacked.

    sets: where the clouds are those of several sets of one size, one after another, every set has students of
    its own, those of the first set first, as if it were trained on alone. Streams used: `weights`, `order`,
    `dropout` and, where the recipe augments, `augmentation`. `report` gets the epochs done and in all.
    stacks: how many shares the students are divided into, by default one a thread; rounding depends on it.
    redraw: of a single set that is drawn anew in every epoch, what draws its clouds by the stream `redraw`.
    keeper: keeps what the students have reached, and has what they had reached before an interruption; the
    result is the same, bit for bit, as without one.
    """
    size, streams = len(clouds) // sets, [*streams] * sets
    first = torch.arange(sets).repeat_interleave(len(streams) // sets).unsqueeze(1) * size
    device = clouds.points.device
    network = stack([build(stream.stream("weights")) for stream in streams]).to(device).train()
    constants = {name: buffer.clone() for name, buffer in shared_buffers(network).items()}
    inputs: _Geometry | _Changing
    if recipe.augmentation is None and redraw is None:
        inputs = _Geometry(network, clouds.points)
    else:
        inputs = _Changing(network, clouds.points, recipe.augmentation or Augmentation(), redraw)

    def learn(share: slice, check: Check) -> None:
        students = _Students(members(network, share), clouds, inputs, recipe, streams[share], first[share])
        if keeper is not None and (left := keeper.left(share)) is not None:
            students.go_on(left)
            if share.start == 0 and report is not None:
                report(students.epochs, recipe.epochs)
        while students.epochs < recipe.epochs:
            students.learn(size)
            if share.start == 0 and report is not None:
                report(students.epochs, recipe.epochs)
            if keeper is not None:
                keeper.keep(share, students.epochs, students.state)
            check()

    at_once(learn, shares(network, len(streams), device, stacks))
    for name, buffer in shared_buffers(network).items():
        if not torch.equal(buffer, constants[name]):
            raise TypeError(
                f"training moved the buffer {name!r}, which all students share: make it a layer's"
            )
    return network


class _Students:
    """Some stacked students that are trained in place, an epoch at a time, on clouds that all of them share.

    first: the first of the clouds of each, (S, 1).
    """

    def __init__(
        self,
        network: Backbone,
        clouds: PointClouds,
        inputs: _Geometry | _Changing,
        recipe: Recipe,
        streams: Sequence[Streams],
        first: Tensor,
    ) -> None:
        self.network, self.clouds, self.recipe, self.first = network, clouds, recipe, first
        self.epochs = 0
        """Epochs done."""
        self.generators = {
            purpose: [stream.stream(purpose) for stream in streams]
            for purpose in ("dropout", "order", "augmentation", "redraw")
        }
        """Where every student draws from, by what for."""
        set_dropout(network, self.generators["dropout"])
        self.inputs = inputs.for_students(self.generators)
        self.parameters = list(network.parameters())
        self.optimiser = _optimiser(self.parameters, recipe)
        in_python = in_global_state(network)
        self._step = self._gradients if in_python else Replayed(self._gradients, clouds.points.device)

    def learn(self, size: int) -> None:
        """One epoch over the `size` clouds of every student, each in an order of its own."""
        recipe, clouds = self.recipe, self.clouds
        targets = clouds.labels if clouds.answers is None else clouds.answers
        weights = clouds.weights
        drawn = [torch.randperm(size, generator=generator) for generator in self.generators["order"]]
        order = (torch.stack(drawn) + self.first).to(clouds.points.device)
        self.inputs.begin_epoch()
        if recipe.drop_after is not None and self.epochs == recipe.drop_after + 1:
            self.optimiser = _optimiser(self.parameters, recipe)
        for group in self.optimiser.param_groups:
            group["lr"] = recipe.rate(self.epochs)
        for batch in order.split(recipe.batch, dim=1):
            weighed = None if weights is None else weights[batch]
            slopes = self._step(targets[batch], weighed, *self.inputs.batch(batch))
            for parameter, gradient in zip(self.parameters, slopes, strict=True):
                parameter.grad = gradient
            self.optimiser.step()
        self.epochs += 1

    def _gradients(
        self, targets: Tensor, weights: Tensor | None, points: Tensor, *geometry: Tensor
    ) -> tuple[Tensor, ...]:
        logits = self.network(points, *geometry)
        losses = student_losses(logits, targets, self.recipe.label_smoothing, weights)
        slopes = torch.autograd.grad(losses.sum(), self.parameters, allow_unused=True, materialize_grads=True)
        return tuple(gradient.contiguous() for gradient in slopes)  # as the fused optimisers want them

    def state(self) -> State:
        """All that an epoch hands to the next, on the CPU; it holds until the next epoch begins."""
        held = packed(state_of(self.optimiser, copy=False))
        optimiser = {f"optimiser.{name}": tensor for name, tensor in held.items()}
        buffers = {f"buffer.{name}": tensor.cpu() for name, tensor in self._buffers().items()}
        drawn = {f"generator.{name}": source.get_state() for name, source in self._sources().items()}
        return optimiser | buffers | drawn

    def go_on(self, left: Left) -> None:
        """Stand where interrupted students stood; ValueError where they were others."""
        parts: dict[str, State] = {"optimiser": {}, "buffer": {}, "generator": {}}
        for name, tensor in left.state.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = tensor
        put_back(self.optimiser, unpacked(parts["optimiser"]))
        for name, buffer in self._buffers().items():
            buffer.copy_(parts["buffer"][name])
        for name, source in self._sources().items():
            source.set_state(parts["generator"][name])
        self.epochs = left.epochs

    def _buffers(self) -> dict[str, Tensor]:
        """What the students keep beside their parameters, by name."""
        constant = shared_buffers(self.network)
        return {name: held for name, held in self.network.named_buffers() if name not in constant}

    def _sources(self) -> dict[str, torch.Generator]:
        """Where they draw from, by name."""
        return {
            f"{purpose}.{student}": source
            for purpose, sources in self.generators.items()
            for student, source in enumerate(sources)
        }


def student_losses(
    logits: Tensor, targets: Tensor, smoothing: float = 0.0, weights: Tensor | None = None
) -> Tensor:
    """Mean cross-entropy of each student: logits (S, B, K) -> (S,).

    targets: labels (S, B) int64, or probabilities (S, B, K). smoothing: the share of the target that the
    K − 1 other classes have between them, evenly. weights: (S, B), how much each cloud counts in the mean.
    """
    classes = logits.shape[-1]
    evenly = smoothing * classes / max(1, classes - 1)  # torch spreads over all K classes
    flat = targets.flatten(0, 1)
    losses = F.cross_entropy(logits.flatten(0, 1), flat, reduction="none", label_smoothing=evenly)
    by_student = losses.view(logits.shape[:2])
    return (by_student if weights is None else by_student * weights).mean(1)


def _optimiser(parameters: Sequence[nn.Parameter], recipe: Recipe) -> torch.optim.Optimizer:
    decay = recipe.weight_decay
    match recipe.optimiser:
        case "sgd":
            return torch.optim.SGD(
                parameters, recipe.lr, momentum=recipe.momentum, weight_decay=decay, fused=True
            )
        case "adam":
            return torch.optim.Adam(parameters, recipe.lr, weight_decay=decay, fused=True)
        case "adamw":
            return torch.optim.AdamW(parameters, recipe.lr, weight_decay=decay, fused=True)


@torch.inference_mode()
def predictions(
    network: Backbone, clouds: PointClouds, students: int, answers: Sequence[int] | None = None
) -> Tensor:
    """The class, in [0, K), that each of S stacked students takes each of B clouds for: (S, B) int64.

    answers: the network's class for each of the K classes of the clouds, among which it chooses; without it
    the classes are the network's.
    """
    network.eval()
    geometry = _Geometry(network, clouds.points)

    def predict(part: slice) -> Tensor:
        points = clouds.points[part]
        shared = [values.unsqueeze(0) for values in geometry.of(part)]
        logits: Tensor = network(points.expand(students, *points.shape), *shared)
        return (logits if answers is None else logits[..., answers]).argmax(-1)

    points = students * clouds.points_per_cloud
    size = groups_at_once(clouds.points.device, TEST_POINTS // points, POINT_BYTES * points)
    return torch.cat(in_chunks(predict, len(clouds), size), 1).cpu()


def count_correct(
    network: Backbone, clouds: PointClouds, students: int, answers: Sequence[int] | None = None
) -> Tensor:
    """Test clouds that each of S stacked students classifies rightly, per class: (S, K) int64, exact."""
    labels = clouds.labels.cpu()
    right = predictions(network, clouds, students, answers) == labels  # (S, B)
    return torch.zeros(students, clouds.classes, dtype=torch.int64).index_add_(1, labels, right.long())


class _Geometry:
    """What a network derives from the coordinates of clouds (B, N, 3), once a cloud where memory allows.

    Indices are kept in 32 bits.
    """

    def __init__(self, network: Backbone, points: Tensor) -> None:
        self.network, self.points = network, points
        like = self._work_out(points[:1])
        self.types = [values.dtype for values in like]
        self.kept: list[Tensor] | None = None
        if sum(_narrow(values).nbytes for values in like) * len(points) <= GEOMETRY_BYTES:
            parts = [map(_narrow, self._work_out(part)) for part in points.split(GEOMETRY_CLOUDS)]
            self.kept = [torch.cat(values) for values in zip(*parts, strict=True)]

    @torch.no_grad()
    def _work_out(self, points: Tensor) -> tuple[Tensor, ...]:
        return self.network.geometry(points)

    def of(self, index: Tensor | slice) -> Sequence[Tensor]:
        """That of some clouds, with the axes of the index first."""
        if self.kept is None:
            return self._work_out(self.points[index])
        return [values[index].to(type_) for values, type_ in zip(self.kept, self.types, strict=True)]

    def for_students(self, generators: Sources) -> _Geometry:  # noqa: ARG002
        """All students are given the same clouds."""
        return self

    def begin_epoch(self) -> None:
        """The clouds are the same in every epoch."""

    def batch(self, index: Tensor) -> tuple[Tensor, ...]:
        """What a network is given of the clouds at `index` (S, B)."""
        return self.points[index], *self.of(index)


def _narrow(values: Tensor) -> Tensor:
    """Indices of points in 32 bits, all else as it is."""
    return values.int() if values.dtype == torch.int64 else values


class _Changing:
    """Clouds that are drawn anew in every epoch, or changed at random in every batch, or both.

    Each batch has a geometry of its own.
    """

    def __init__(
        self,
        network: Backbone,
        points: Tensor,
        how: Augmentation,
        redraw: Redraw | None,
        generators: Sources | None = None,
    ) -> None:
        self.network, self.points, self.how, self.redraw = network, points, how, redraw
        self.generators = generators["augmentation"] if generators else ()
        self.redraws = generators["redraw"] if generators else ()

    def for_students(self, generators: Sources) -> _Changing:
        """What these students are given, each by its own streams."""
        return _Changing(self.network, self.points, self.how, self.redraw, generators)

    def begin_epoch(self) -> None:
        """Draw every student's clouds, (S, B, N, 3), where they are drawn."""
        if self.redraw is not None:
            drawn = [unit_sphere(self.redraw(generator)) for generator in self.redraws]
            self.points = torch.stack(drawn).to(self.points.device)

    @torch.no_grad()
    def batch(self, index: Tensor) -> tuple[Tensor, ...]:
        """What a network is given of the clouds at `index` (S, B)."""
        how, generators = self.how, self.generators
        if self.redraw is None:
            xyz = self.points[index]
        else:
            xyz = self.points[torch.arange(len(index), device=index.device).unsqueeze(1), index]
        if how.turn is not None:
            xyz = augment.turn(xyz, how.turn, generators)
        if how.scale is not None:
            xyz = augment.scale(xyz, *how.scale, generators, axes=how.scale_axes)
        if how.shift:
            xyz = augment.shift(xyz, how.shift, generators)
        if how.jitter:
            xyz = augment.jitter(xyz, how.jitter, how.jitter_clip, generators)
        if how.drop:
            xyz = augment.drop(xyz, how.drop, generators)
        return xyz, *self.network.geometry(xyz)
