"""Students trained together are the students that would have been trained one after another."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pcbench.api import Backbone
from pcbench.clouds import PointClouds, concatenate
from pcbench.engine import students
from pcbench.ops import augment
from pcbench.ops.layers import BatchNorm, Linear, set_dropout, stack
from pcbench.ops.neighbours import gather_points, nearest
from pcbench.protocols.protocol import Augmentation, Cosine, Drops, Recipe, Schedule, Step
from pcbench.seeds import Streams

RECIPE = Recipe(epochs=4, drop_after=1, batch=4)
AUGMENTATION = Augmentation(
    turn="y", scale=(0.8, 1.25), scale_axes=True, shift=0.1, jitter=0.01, jitter_clip=0.05, drop=0.5
)


@dataclass
class Double:
    """Clouds in float64, where two orders of summation cannot part two trainings."""

    points: Tensor
    labels: Tensor
    answers: Tensor | None = None
    weights: Tensor | None = None

    def __len__(self) -> int:
        return len(self.points)


def double(clouds: PointClouds) -> Double:
    return Double(clouds.points.double(), clouds.labels)


def streams(count: int) -> list[Streams]:
    return [Streams({"test": "students", "repetition": number}) for number in range(count)]


def builder(pointnet: type[Backbone]):
    return lambda generator: pointnet.build(3, "paper", generator)


def double_builder(pointnet: type[Backbone]):
    return lambda generator: pointnet.build(3, "paper", generator).double()


def weights(network: nn.Module, student: int) -> dict[str, Tensor]:
    return {name: value[student] for name, value in network.state_dict().items()}


def assert_close(ours: dict[str, Tensor], theirs: dict[str, Tensor], **tolerance: float) -> None:
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], **tolerance, msg=lambda m, n=name: f"{n}: {m}")


def assert_together_is_alone(
    build: Callable[[torch.Generator], Backbone],
    clouds: PointClouds,
    recipe: Recipe,
    count: int,
    **tolerance: float,
) -> None:
    """Students trained as one stack are those that are trained one after another."""
    together = students.train(build, clouds, recipe, streams(count))
    for number, stream in enumerate(streams(count)):
        alone = students.train(build, clouds, recipe, [stream])
        assert_close(weights(together, number), weights(alone, 0), **tolerance)


def test_together_equals_one_after_another(pointnet, few_clouds):
    """Tail batch of one cloud included: nine clouds in batches of four."""
    assert_together_is_alone(double_builder(pointnet), double(few_clouds), RECIPE, 3, rtol=1e-5, atol=1e-6)


def test_students_of_two_sets_are_those_of_each_set_alone(pointnet, few_clouds):
    build = double_builder(pointnet)
    flat = PointClouds(
        few_clouds.points * torch.tensor([0.5, 1.0, 0.8]), few_clouds.labels, few_clouds.class_names
    )
    together = students.train(build, double(concatenate([few_clouds, flat])), RECIPE, streams(2), sets=2)
    for number, clouds in enumerate((few_clouds, flat)):
        alone = students.train(build, double(clouds), RECIPE, streams(2))
        for student in range(2):
            ours, theirs = weights(together, 2 * number + student), weights(alone, student)
            assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_together_equals_alone_in_float32_while_rounding_is_small(pointnet, few_clouds):
    step = Recipe(epochs=1, drop_after=0, batch=9)
    assert_together_is_alone(builder(pointnet), few_clouds, step, 2, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("optimiser", ["sgd", "adam", "adamw"])
def test_together_equals_alone_whatever_the_recipe_asks_for(pointnet, few_clouds, optimiser):
    """Adam divides by the size of a gradient, so that rounding moves it more than SGD."""
    recipe = Recipe(
        epochs=2,
        batch=4,
        optimiser=optimiser,
        lr=0.001,
        schedule=Cosine(kind="cosine", minimum=1e-4),
        label_smoothing=0.2,
        augmentation=AUGMENTATION,
    )
    assert_together_is_alone(double_builder(pointnet), double(few_clouds), recipe, 2, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("threads", [2, 3])
def test_students_are_the_same_however_many_threads_share_them(pointnet, few_clouds, threads):
    """Dropout, order and augmentation included; five students, so that shares are of different sizes."""
    build, clouds = double_builder(pointnet), double(few_clouds)
    recipe = Recipe(epochs=4, drop_after=1, batch=4, augmentation=Augmentation(jitter=0.01))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = students.train(build, clouds, recipe, streams(5))
        torch.set_num_threads(threads)
        shared = students.train(build, clouds, recipe, streams(5))
    finally:
        torch.set_num_threads(before)
    for number in range(5):
        assert_close(weights(shared, number), weights(alone, number), rtol=1e-5, atol=1e-6)


def test_a_set_that_is_drawn_anew_in_every_epoch_comes_from_each_students_own_stream(pointnet, few_clouds):
    """Every epoch asks once a student; two students see different clouds, each those that it sees alone."""
    build, clouds, seen = double_builder(pointnet), double(few_clouds), []

    def redraw(generator: torch.Generator) -> Tensor:
        moved = torch.randn(clouds.points.shape, generator=generator, dtype=torch.float64)
        seen.append(float(moved.sum()))
        return clouds.points + 0.1 * moved

    both = students.train(build, clouds, RECIPE, streams(2), stacks=1, redraw=redraw)
    assert len(set(seen)) == 2 * RECIPE.epochs
    asked = seen[::2]
    seen.clear()
    alone = students.train(build, clouds, RECIPE, streams(1), redraw=redraw)
    assert seen == asked
    assert_close(weights(both, 0), weights(alone, 0), rtol=1e-5, atol=1e-6)
    fixed = students.train(build, clouds, RECIPE, streams(1))
    with pytest.raises(AssertionError):
        assert_close(weights(fixed, 0), weights(alone, 0), rtol=1e-5, atol=1e-6)


def test_a_protocols_recipe_is_followed_bit_for_bit(pointnet, few_clouds):
    """Against the loop that a recipe without schedule means: plain SGD, made anew after the drop."""
    ours = students.train(builder(pointnet), few_clouds, RECIPE, streams(2))
    network = stack([builder(pointnet)(stream.stream("weights")) for stream in streams(2)]).train()
    set_dropout(network, [stream.stream("dropout") for stream in streams(2)])
    orders = [stream.stream("order") for stream in streams(2)]
    for epoch in range(RECIPE.epochs):
        if epoch in (0, 2):
            lr = 0.01 if epoch == 0 else 0.01 * 0.1
            sgd = torch.optim.SGD(network.parameters(), lr, momentum=0.9, weight_decay=5e-4, fused=True)
        order = torch.stack([torch.randperm(9, generator=g) for g in orders])
        for batch in order.split(4, dim=1):
            sgd.zero_grad()
            logits = network(few_clouds.points[batch])
            losses = F.cross_entropy(
                logits.flatten(0, 1), few_clouds.labels[batch].flatten(), reduction="none"
            )
            losses.view(2, -1).mean(1).sum().backward()
            sgd.step()
    for name, values in network.state_dict().items():
        assert torch.equal(ours.state_dict()[name], values), name


class Centroid(Backbone):
    """Classifies the mean square of the points: few weights, no dropout."""

    name = "centroid"

    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.classifier = Linear(3, classes)

    def point_features(self, xyz: Tensor) -> Tensor:
        return xyz.square()

    def global_feature(self, xyz: Tensor) -> Tensor:
        return self.point_features(xyz).mean(-2)

    embed = global_feature

    def forward(self, xyz: Tensor) -> Tensor:
        return self.classifier(self.embed(xyz))


@pytest.mark.parametrize(
    "schedule",
    [
        Step(kind="step", every=2, factor=0.5, floor=0.006),
        Drops(kind="drops", at=(1, 3), factor=0.1),
        Cosine(kind="cosine", minimum=0.001),
    ],
    ids=lambda schedule: schedule.kind,
)
@pytest.mark.parametrize("optimiser", ["sgd", "adam", "adamw"])
def test_optimiser_schedule_smoothing_and_augmentation_agree_with_a_plain_loop(
    few_clouds, optimiser, schedule: Schedule
):
    """Momentum goes on over every change of the rate; the loss and the update are written out by hand."""
    recipe = Recipe(
        epochs=5,
        batch=4,
        optimiser=optimiser,
        lr=0.02,
        weight_decay=0.01,
        schedule=schedule,
        label_smoothing=0.3,
        augmentation=AUGMENTATION,
    )
    (stream,) = streams(1)
    clouds = double(few_clouds)
    rates = {
        "step": [0.02, 0.02, 0.01, 0.01, 0.006],
        "drops": [0.02, 0.002, 0.002, 0.0002, 0.0002],
        "cosine": [0.001 + 0.019 * math.cos(math.pi * epoch / 10) ** 2 for epoch in range(5)],
    }[schedule.kind]
    ours = students.train(lambda g: Centroid.build(3, "canonical", g).double(), clouds, recipe, [stream])
    start = Centroid.build(3, "canonical", stream.stream("weights")).double().classifier
    parameters = [start.weight.detach().clone(), start.bias.detach().clone()]
    first = [torch.zeros_like(p) for p in parameters]
    second = [torch.zeros_like(p) for p in parameters]
    order, draws = stream.stream("order"), [stream.stream("augmentation")]
    steps = 0
    for rate in rates:
        shuffled = torch.randperm(9, generator=order)
        for batch in shuffled.split(4):
            xyz = clouds.points[batch].unsqueeze(0)
            xyz = augment.scale(augment.turn(xyz, "y", draws), 0.8, 1.25, draws, axes=True)
            xyz = augment.jitter(augment.shift(xyz, 0.1, draws), 0.01, 0.05, draws)
            features = augment.drop(xyz, 0.5, draws)[0].square().mean(1)
            target = torch.full((len(batch), 3), 0.15, dtype=torch.float64)
            target[torch.arange(len(batch)), clouds.labels[batch]] = 0.7
            error = (features @ parameters[0].T + parameters[1]).softmax(1) - target
            gradients = [error.T @ features / len(batch), error.mean(0)]
            steps += 1
            for p, g, m, v in zip(parameters, gradients, first, second, strict=True):
                if optimiser == "adamw":
                    p.mul_(1 - rate * 0.01)
                else:
                    g = g + 0.01 * p
                if optimiser == "sgd":
                    m.mul_(0.9).add_(g)
                    p.sub_(rate * m)
                    continue
                m.mul_(0.9).add_(0.1 * g)
                v.mul_(0.999).add_(0.001 * g**2)
                p.sub_(rate * (m / (1 - 0.9**steps)) / ((v / (1 - 0.999**steps)).sqrt() + 1e-8))
    torch.testing.assert_close(ours.classifier.weight[0], parameters[0], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(ours.classifier.bias[0], parameters[1], rtol=1e-9, atol=1e-12)


def test_soft_labels_and_weights_by_their_equation():
    """Σ_b w_b Σ_c −p_bc log softmax(z_b)_c / B, of each student."""
    generator = torch.Generator().manual_seed(5)
    logits = torch.randn(2, 3, 4, generator=generator, dtype=torch.float64)
    shares = torch.rand(2, 3, 4, generator=generator, dtype=torch.float64)
    shares /= shares.sum(-1, keepdim=True)
    weights = torch.rand(2, 3, generator=generator, dtype=torch.float64)
    ours = students.student_losses(logits, shares, 0.0, weights)
    for student in range(2):
        total = 0.0
        for cloud in range(3):
            raised = [math.exp(z) for z in logits[student, cloud].tolist()]
            for share, value in zip(shares[student, cloud].tolist(), raised, strict=True):
                total -= float(weights[student, cloud]) * share * math.log(value / sum(raised))
        assert float(ours[student]) == pytest.approx(total / 3, rel=1e-12)


def test_certain_answers_that_weigh_alike_are_labels(pointnet, few_clouds):
    few = double(few_clouds)
    certain = F.one_hot(few.labels, 3).double()
    told = Double(few.points, few.labels, certain, torch.ones(len(few), dtype=torch.float64))
    ours = students.train(double_builder(pointnet), told, RECIPE, streams(2))
    theirs = students.train(double_builder(pointnet), few, RECIPE, streams(2))
    for student in range(2):
        assert_close(weights(ours, student), weights(theirs, student), rtol=1e-9, atol=1e-12)


def test_students_learn_from_the_answers_and_weights_of_their_own_clouds(pointnet, few_clouds):
    """Together is alone also where every cloud has another answer and another weight."""
    generator = torch.Generator().manual_seed(6)
    few = double(few_clouds)
    shares = torch.rand(len(few), 3, generator=generator, dtype=torch.float64)
    uneven = torch.rand(len(few), generator=generator, dtype=torch.float64) * 2
    told = Double(few.points, few.labels, shares / shares.sum(1, keepdim=True), uneven)
    assert_together_is_alone(double_builder(pointnet), told, RECIPE, 2, rtol=1e-5, atol=1e-6)
    ours = students.train(double_builder(pointnet), told, RECIPE, streams(1))
    plain = students.train(double_builder(pointnet), few, RECIPE, streams(1))
    assert not torch.allclose(ours.classifier.weight, plain.classifier.weight)


def test_one_class_can_be_smoothed():
    losses = students.student_losses(torch.randn(2, 3, 1), torch.zeros(2, 3, dtype=torch.int64), 0.2)
    assert torch.equal(losses, torch.zeros(2))


class PlainPointNet(nn.Module):
    """PointNet from torch's own layers, channels first, with the weights of one of ours."""

    def __init__(self, ours: Backbone) -> None:
        super().__init__()
        self.linear = nn.ModuleList()
        self.norm = nn.ModuleList()
        self.dropout: list[Tensor] = []
        for module in ours.modules():
            if isinstance(module, Linear):
                plain = nn.Linear(module.inputs, module.outputs)
                with torch.no_grad():
                    plain.weight.copy_(module.weight)
                    plain.bias.copy_(module.bias)
                self.linear.append(plain)
            elif isinstance(module, BatchNorm):
                self.norm.append(nn.BatchNorm1d(module.weight.shape[0]))

    def forward(self, xyz: Tensor, mask: Tensor | None) -> Tensor:
        layers = iter(self.linear)
        norms = iter(self.norm)

        def shared(x: Tensor, relu: bool = True) -> Tensor:  # (B, C, N)
            layer = next(layers)
            x = next(norms)(F.conv1d(x, layer.weight.unsqueeze(2), layer.bias))
            return x.relu() if relu else x

        def dense(x: Tensor) -> Tensor:  # (B, C)
            return next(norms)(next(layers)(x)).relu()

        x = xyz.transpose(1, 2)
        t = shared(shared(shared(x))).amax(2)
        t = dense(dense(t))
        t = next(layers)(t).view(-1, 3, 3) + torch.eye(3, dtype=xyz.dtype)
        x = torch.bmm(xyz, t).transpose(1, 2)
        x = shared(shared(shared(x)), relu=False).amax(2)
        x = dense(x)
        x = next(layers)(x)
        if mask is not None:
            x = x * mask / 0.7
        x = next(norms)(x).relu()
        return next(layers)(x)


def test_agrees_with_a_plain_loop_over_torch_layers(pointnet, few_clouds):
    """One student, its batches and dropout masks drawn again from its streams, SGD by torch.optim alone."""
    stream = streams(1)[0]
    eight = double(few_clouds.select(torch.arange(8)))
    ours = students.train(double_builder(pointnet), eight, RECIPE, [stream])
    plain = PlainPointNet(builder(pointnet)(stream.stream("weights"))).double()
    order, dropout = stream.stream("order"), stream.stream("dropout")
    lr, optimiser = 0.01, None
    for epoch in range(RECIPE.epochs):
        if optimiser is None:
            optimiser = torch.optim.SGD(plain.parameters(), lr, momentum=0.9, weight_decay=5e-4)
        shuffled = torch.randperm(8, generator=order)
        for index in (shuffled[:4], shuffled[4:]):
            mask = (torch.rand(4, 256, generator=dropout) >= 0.3).double()
            loss = F.cross_entropy(plain(eight.points[index], mask), eight.labels[index])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        if epoch == RECIPE.drop_after:
            lr, optimiser = lr * 0.1, None
    linears = [module for module in ours.modules() if isinstance(module, Linear)]
    norms = [module for module in ours.modules() if isinstance(module, BatchNorm)]
    for mine, theirs in zip(linears, plain.linear, strict=True):
        torch.testing.assert_close(mine.weight[0], theirs.weight, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(mine.bias[0], theirs.bias, rtol=1e-5, atol=1e-6)
    for mine, theirs in zip(norms, plain.norm, strict=True):
        torch.testing.assert_close(mine.running_mean[0], theirs.running_mean, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(mine.running_var[0], theirs.running_var, rtol=1e-5, atol=1e-6)
    plain.eval()
    tested = double(few_clouds).points
    torch.testing.assert_close(ours.eval()(tested.unsqueeze(0))[0], plain(tested, None), rtol=1e-5, atol=1e-6)


def test_learns_easy_classes(pointnet, few_clouds):
    recipe = Recipe(epochs=40, drop_after=30, batch=5)
    network = students.train(builder(pointnet), few_clouds, recipe, streams(2))
    assert students.count_correct(network, few_clouds, 2).tolist() == [[3, 3, 3], [3, 3, 3]]


@pytest.mark.parametrize("points", [students.TEST_POINTS, 64])
def test_answers_and_counts_are_exact_whatever_the_chunk(pointnet, few_clouds, monkeypatch, points):
    monkeypatch.setattr(students, "TEST_POINTS", points)
    network = students.train(builder(pointnet), few_clouds, RECIPE, streams(2))
    network.eval()
    many = concatenate([few_clouds] * 3)
    expected = torch.zeros(2, len(many), dtype=torch.int64)
    right = [[0] * 3, [0] * 3]
    for place, (cloud, label) in enumerate(zip(many.points, many.labels.tolist(), strict=True)):
        logits = network(cloud.expand(2, 1, *cloud.shape))
        for student in range(2):
            expected[student, place] = logits[student, 0].argmax()
            right[student][label] += int(expected[student, place] == label)
    assert torch.equal(students.predictions(network, many, 2), expected)
    assert students.count_correct(network, many, 2).tolist() == right


def test_uses_no_global_random_state(pointnet, few_clouds):
    first = students.train(builder(pointnet), few_clouds, RECIPE, streams(1)).state_dict()
    before = torch.get_rng_state()
    torch.rand(7)
    disturbed = torch.get_rng_state()
    second = students.train(builder(pointnet), few_clouds, RECIPE, streams(1)).state_dict()
    assert torch.equal(torch.get_rng_state(), disturbed)
    torch.set_rng_state(before)
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def test_progress_counts_epochs(pointnet, few_clouds):
    seen: list[tuple[int, int]] = []
    students.train(builder(pointnet), few_clouds, RECIPE, streams(1), lambda a, b: seen.append((a, b)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_dropout_without_a_stream_is_refused(pointnet, few_clouds):
    network = builder(pointnet)(streams(1)[0].stream("weights"))
    with pytest.raises(RuntimeError, match="random stream"):
        network(few_clouds.points)
    set_dropout(network, [streams(1)[0].stream("dropout")])
    assert network(few_clouds.points).shape == (9, 3)


def test_point_clouds_stay_as_they_are(pointnet, few_clouds: PointClouds):
    before = few_clouds.content_hash()
    students.train(builder(pointnet), few_clouds, RECIPE, streams(2))
    assert few_clouds.content_hash() == before


class Nearby(Backbone):
    """Classifies the middle of each point's three nearest: a network with a geometry, which it counts."""

    name = "nearby"
    worked_out = 0

    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.classifier = Linear(3, classes)

    def geometry(self, xyz: Tensor) -> tuple[Tensor, ...]:
        Nearby.worked_out += xyz.shape[:-2].numel()
        return (nearest(xyz, xyz, 3),)

    def point_features(self, xyz: Tensor, *geometry: Tensor) -> Tensor:
        return gather_points(xyz, *(geometry or self.geometry(xyz))).mean(-2)

    def global_feature(self, xyz: Tensor, *geometry: Tensor) -> Tensor:
        return self.point_features(xyz, *geometry).square().mean(-2)

    embed = global_feature

    def forward(self, xyz: Tensor, *geometry: Tensor) -> Tensor:
        return self.classifier(self.embed(xyz, *geometry))


@pytest.mark.parametrize("fits", [True, False])
def test_geometry_is_worked_out_once_a_cloud_where_it_fits(few_clouds, monkeypatch, fits):
    """And changes nothing: the students are those of a network that works it out in every forward."""

    def build(generator: torch.Generator) -> Backbone:
        return Nearby.build(3, "canonical", generator)

    bytes_of_all = len(few_clouds) * few_clouds.points_per_cloud * 3 * 4
    monkeypatch.setattr(students, "GEOMETRY_BYTES", bytes_of_all if fits else bytes_of_all - 1)
    monkeypatch.setattr(students, "GEOMETRY_CLOUDS", 4)
    monkeypatch.setattr(Nearby, "worked_out", 0)
    network = students.train(build, few_clouds, RECIPE, streams(3))
    trained = Nearby.worked_out
    counts = students.count_correct(network, few_clouds, 3)
    tested = Nearby.worked_out - trained
    assert (trained, tested) == ((10, 10) if fits else (1 + RECIPE.epochs * 3 * 9, 10))
    monkeypatch.setattr(Nearby, "forward", lambda self, xyz, *_: self.classifier(self.embed(xyz)))
    plain = students.train(build, few_clouds, RECIPE, streams(3))
    for name, values in plain.state_dict().items():
        assert torch.equal(network.state_dict()[name], values), name
    assert torch.equal(students.count_correct(plain, few_clouds, 3), counts)


def test_augmented_clouds_get_a_geometry_of_their_own_in_every_batch(few_clouds, monkeypatch):
    """It is that of the augmented clouds: the students are those that work it out in the forward."""

    def build(generator: torch.Generator) -> Backbone:
        return Nearby.build(3, "canonical", generator)

    recipe = RECIPE.model_copy(update={"augmentation": AUGMENTATION})
    monkeypatch.setattr(Nearby, "worked_out", 0)
    network = students.train(build, few_clouds, recipe, streams(3))
    assert Nearby.worked_out == RECIPE.epochs * 3 * 9
    monkeypatch.setattr(Nearby, "forward", lambda self, xyz, *_: self.classifier(self.embed(xyz)))
    plain = students.train(build, few_clouds, recipe, streams(3))
    for name, values in plain.state_dict().items():
        assert torch.equal(network.state_dict()[name], values), name
