"""SADM against an oracle that recomputes whole iterations: network, batch norm, rotation, loss, SGD."""

import math
from functools import partial

import pytest
import torch
from built_in import CATALOGUE
from plain_pointnet import PlainPointNet
from pydantic import ValidationError
from torch import Tensor

from pcbench.ops import batches
from pcbench.ops.batches import RealBatches
from pcbench.ops.layers import adapt_batch_norm


def sadm(**params):
    cls = CATALOGUE.methods.load("sadm")
    return cls(cls.Params(**params))


def plain_rotation(angles: Tensor) -> Tensor:
    """Rx · Ry · Rz of one triple of angles, differentiable."""
    (cx, cy, cz), (sx, sy, sz) = angles.cos(), angles.sin()
    zero, one = torch.zeros(()).double(), torch.ones(()).double()
    rows = lambda *entries: torch.stack(entries).view(3, 3)  # noqa: E731
    rx = rows(one, zero, zero, zero, cx, -sx, zero, sx, cx)
    ry = rows(cy, zero, sy, zero, one, zero, -sy, zero, cy)
    rz = rows(cz, -sz, zero, sz, cz, zero, zero, zero, one)
    return rx @ (ry @ rz)


def plain_mmd(real: list[Tensor], synthetic: list[Tensor], params) -> Tensor:
    """The card's discrepancy, pair by pair: five Gaussians, or one of fixed width, or the inner product."""
    union = [*real, *synthetic]
    if params.bandwidth is None:
        total = sum(float((a - b).detach().square().sum()) for a in union for b in union)
        widths = [factor * total / (len(union) ** 2 - len(union)) for factor in (0.25, 0.5, 1, 2, 4)]
    else:
        widths = [2 * params.bandwidth]

    def mean_kernel(first: list[Tensor], second: list[Tensor]) -> Tensor:
        if params.kernel == "linear":
            values = [(a * b).sum() for a in first for b in second]
        else:
            values = [torch.exp(-((a - b) ** 2).sum() / w) for a in first for b in second for w in widths]
        return sum(values) / (len(first) * len(second))

    return mean_kernel(real, real) + mean_kernel(synthetic, synthetic) - 2 * mean_kernel(real, synthetic)


def plain_loss(real: Tensor, synthetic: Tensor, params) -> Tensor:
    """The loss of one class from features (n, N, D) and (m, N, D)."""
    if not params.align:
        tops, flat = None, [list(x.flatten(1)) for x in (real, synthetic)]
        means = [x.mean(0) for x in (real, synthetic)]
    else:
        ordered = [x.sort(1, descending=True).values for x in (real, synthetic)]
        tops = [[cloud[: params.topk].flatten() for cloud in x] for x in ordered]
        flat = [[cloud.flatten() for cloud in x] for x in ordered]
        means = [x.mean(0) for x in ordered]
    if params.loss == "mean":
        alpha = ((means[0] - means[1]) ** 2).sum(1).mean() * params.lambda_mean
        return alpha + (params.lambda_beta * plain_mmd(*tops, params) if tops else 0)
    alpha = params.lambda_alpha * plain_mmd(*flat, params)
    return len(synthetic) * (alpha + (params.lambda_beta * plain_mmd(*tops, params) if tops else 0))


VARIANTS = [
    {},
    {"topk": 3, "lambda_alpha": 0.01, "lambda_beta": 0.02},
    {"align": False},
    {"loss": "mean"},
    {"kernel": "linear", "lr": 0.1, "lr_y": 1e-4, "lr_xz": 1e-5},
    {"bandwidth": 50.0},
    {"bn_momentum": 1.0},
    {"rotate": False},
    {"optimise_points": False, "lr_y": 1.0, "lr_xz": 2.0},
]


def name_of(variant: dict) -> str:
    return ",".join(variant) or "default"


@pytest.mark.parametrize("variant", VARIANTS, ids=name_of)
@pytest.mark.parametrize("ppc", [1, 2])
def test_one_gradient_matches_the_oracle_in_float64(variant, ppc, make_task):
    task = make_task(ppc=ppc)
    method = sadm(**variant)
    network = task.network(task.streams.stream("network", iteration=1))
    oracle = PlainPointNet(network, method.params.bn_momentum)
    clouds = task.train.points.double().view(8, 3, 16, 3).transpose(0, 1)
    network.double().requires_grad_(False)
    adapt_batch_norm(network, clouds[:, :3].flatten(0, 1), method.params.bn_momentum, network.point_features)
    oracle.point_features(clouds[:, :3].flatten(0, 1), adapt=True)
    points, angles = leaves(clouds[:, 4 : 4 + ppc].flatten(0, 1))
    losses = method.backward(partial(method.match, network, clouds[:, :4]), points, angles)

    x = points.detach().clone().requires_grad_()
    theta = torch.stack([a.detach() for a in angles], 1).requires_grad_()
    rotated = torch.stack([cloud @ plain_rotation(a).T for cloud, a in zip(x, theta, strict=True)])
    features = oracle.point_features(rotated).view(3, ppc, 16, -1)
    expected = torch.stack(
        [plain_loss(oracle.point_features(clouds[c, :4]), features[c], method.params) for c in range(3)]
    )
    points_gradient, angles_gradient = torch.autograd.grad(expected.sum(), (x, theta))
    torch.testing.assert_close(losses, expected.detach(), rtol=1e-9, atol=1e-14)
    torch.testing.assert_close(points.grad, points_gradient, rtol=1e-7, atol=1e-12)
    found = torch.stack([a.grad for a in angles], 1)
    torch.testing.assert_close(found, angles_gradient, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("variant", VARIANTS, ids=name_of)
@pytest.mark.parametrize("ppc", [1, 2])
def test_three_iterations_match_the_oracle(variant, ppc, make_task):
    """In float32 against float64: a ReLU or a maximum that switches for one point costs a few percent."""
    task = make_task(ppc=ppc, snapshots=(0, 1, 2, 3))
    method = sadm(real_batch=4, bn_batch=3, angle_step=2, angle_gamma=0.25, **variant)
    p = method.params
    snapshots = list(method.distill(task))
    assert [snapshot.iteration for snapshot in snapshots] == [0, 1, 2, 3]
    start = snapshots[0].clouds.points.double()

    draws = RealBatches(task.train, task.streams)
    points, angles = start.clone(), torch.zeros(len(start), 3).double()
    points_velocity, angles_velocity = torch.zeros_like(points), torch.zeros_like(angles)
    rates = torch.tensor([p.lr_xz, p.lr_y, p.lr_xz]).double()
    for iteration in (1, 2, 3):
        network = task.network(task.streams.stream("network", iteration=iteration))
        oracle = PlainPointNet(network, p.bn_momentum)
        oracle.point_features(draws.draw("bn_batch", iteration, 3).double().flatten(0, 1), adapt=True)
        real = draws.draw("real_batch", iteration, 4).double()
        x, theta = points.clone().requires_grad_(), angles.clone().requires_grad_()
        rotated = torch.stack([cloud @ plain_rotation(a).T for cloud, a in zip(x, theta, strict=True)])
        loss = sum(
            plain_loss(oracle.point_features(real[c]), oracle.point_features(rotated[c * ppc :][:ppc]), p)
            for c in range(3)
        )
        points_gradient, angles_gradient = torch.autograd.grad(loss, (x, theta))
        if p.optimise_points:
            points_velocity = p.momentum * points_velocity + points_gradient
            points = points - p.lr * points_velocity
        if p.rotate:
            angles_velocity = p.momentum * angles_velocity + angles_gradient
            decay = p.angle_gamma ** ((iteration - 1) // p.angle_step)
            angles = angles - decay * rates * angles_velocity
            angles = torch.atan2(angles.sin(), angles.cos())
        expected = torch.stack([c @ plain_rotation(a).T for c, a in zip(points, angles, strict=True)])
        moved = float((expected - start).norm())
        found = snapshots[iteration].clouds.points.double()
        assert moved > 1e-6
        assert float((found - expected).norm()) < 0.03 * moved + 2e-6


@pytest.fixture
def frozen(make_task):
    task = make_task()
    network = task.network(task.streams.stream("network", iteration=1)).requires_grad_(False)
    adapt_batch_norm(network, task.train.points, 0.1, network.point_features)
    return network


def leaves(clouds: Tensor) -> tuple[Tensor, list[Tensor]]:
    points = clouds.clone().requires_grad_()
    return points, [
        torch.full((len(clouds),), a, dtype=clouds.dtype).requires_grad_() for a in (0.3, -1.0, 2.0)
    ]


@pytest.mark.parametrize("loss", ["mmd", "mean"])
def test_gradients_of_points_and_angles_by_finite_differences(loss, frozen, training_clouds):
    # A fixed width, since the batch's own carries no gradient.
    method, network = sadm(loss=loss, lambda_alpha=1.0, bandwidth=500.0), frozen.double()
    real = training_clouds.points.double().view(8, 3, 16, 3).transpose(0, 1)[:, :4]
    points, angles = leaves(training_clouds.points[-3:].double())
    method.backward(partial(method.match, network, real), points, angles)

    def total(points: Tensor, angles: list[Tensor]) -> float:
        copy = points.detach().clone().requires_grad_(), [a.detach().clone().requires_grad_() for a in angles]
        return float(method.backward(partial(method.match, network, real), *copy).sum())

    step = 1e-6
    for axis in range(3):
        shift = [torch.zeros(3).double() for _ in range(3)]
        shift[axis][1] = step
        up, down = (total(points, [a + s * d for a, d in zip(angles, shift, strict=True)]) for s in (1, -1))
        assert float(angles[axis].grad[1]) == pytest.approx((up - down) / (2 * step), rel=1e-4, abs=1e-8)
    largest = points.grad.abs().flatten(1).argmax(1)
    for cloud in range(3):
        i, k = divmod(int(largest[cloud]), 3)
        shift = torch.zeros_like(points)
        shift[cloud, i, k] = step
        up, down = total(points + shift, angles), total(points - shift, angles)
        assert float(points.grad[cloud, i, k]) == pytest.approx((up - down) / (2 * step), rel=1e-4)


@pytest.mark.parametrize("chunk", [1, 200, 10_000])
def test_any_chunk_of_classes_gives_the_same_gradients(chunk, frozen, training_clouds, monkeypatch):
    real = training_clouds.points.view(8, 3, 16, 3).transpose(0, 1)[:, :4]
    method = sadm()
    points, angles = leaves(training_clouds.points[-3:])
    losses = method.backward(partial(method.match, frozen, real), points, angles)
    monkeypatch.setattr(batches, "CHUNK_POINTS", chunk)
    again, again_angles = leaves(training_clouds.points[-3:])
    torch.testing.assert_close(
        method.backward(partial(method.match, frozen, real), again, again_angles), losses
    )
    torch.testing.assert_close(again.grad, points.grad, rtol=1e-3, atol=1e-8)
    torch.testing.assert_close(
        torch.stack([a.grad for a in again_angles]),
        torch.stack([a.grad for a in angles]),
        rtol=1e-3,
        atol=1e-8,
    )


@pytest.mark.parametrize("loss", ["mmd", "mean"])
def test_the_loss_does_not_see_the_order_of_points(loss, frozen, training_clouds):
    method = sadm(loss=loss)
    clouds = training_clouds.points.view(8, 3, 16, 3).transpose(0, 1)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        features = frozen.point_features(clouds.flatten(0, 1)).unflatten(0, (3, 8))
        moved = frozen.point_features(clouds[:, :, order].flatten(0, 1)).unflatten(0, (3, 8))
    plain = method.losses(features[:, :5], features[:, 5:])
    assert torch.equal(method.losses(features[:, :5], features[:, 5:, order]), plain)
    torch.testing.assert_close(method.losses(moved[:, :5], features[:, 5:]), plain, rtol=1e-4, atol=1e-7)
    unaligned = sadm(loss=loss, align=False)
    first = unaligned.losses(features[:, :5], features[:, 5:])
    assert not torch.allclose(unaligned.losses(features[:, :5], features[:, 5:, order]), first, rtol=1e-3)


def test_angles_stay_wrapped_and_distances_within_a_cloud_stay_put(make_task):
    """With points fixed, whatever the angles do, every snapshot is a rotation of the start."""
    task = make_task(ppc=2, snapshots=(0, 4))
    start, end = sadm(optimise_points=False, lr_y=1e4, lr_xz=1e4).distill(task)
    assert not torch.allclose(start.clouds.points, end.clouds.points, atol=1e-2)
    distances = [torch.cdist(s.clouds.points.double(), s.clouds.points.double()) for s in (start, end)]
    torch.testing.assert_close(*distances, atol=1e-5, rtol=0)


def test_only_the_asked_snapshots_come(make_task):
    assert [s.iteration for s in sadm().distill(make_task(snapshots=(2, 3)))] == [2, 3]


def test_parameters_default_to_the_card():
    p = sadm().params
    card = (0.002, 0.001, 1, 10.0, 0.5, 0.01, 0.001, 100, 0.5, 8, 8, 0.1, "random", "mmd")
    named = (p.lambda_alpha, p.lambda_beta, p.topk, p.lr, p.momentum, p.lr_y, p.lr_xz, p.angle_step)
    assert (*named, p.angle_gamma, p.real_batch, p.bn_batch, p.bn_momentum, p.init, p.loss) == card
    assert p.rotate
    assert p.optimise_points
    assert p.align
    assert p.bandwidth is None
    assert p.lambda_mean == 0.2


@pytest.mark.parametrize(
    "wrong",
    [
        {"topk": 0},
        {"lr": -1},
        {"loss": "mse"},
        {"rotations": True},
        {"lr": math.nan},
        {"rotate": False, "optimise_points": False},
    ],
    ids=str,
)
def test_impossible_parameters_are_refused(wrong):
    with pytest.raises(ValidationError):
        sadm(**wrong)
