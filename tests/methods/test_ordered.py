"""Points in order against plain loops, and SADM's own order against SADM."""

from __future__ import annotations

import pytest
import torch
from built_in import CATALOGUE
from plain_pointnet import PlainPointNet
from pydantic import ValidationError
from test_sadm import plain_mmd

SMALL = {"lr": 0.5, "real_batch": 4, "bn_batch": 3}


def method(name, **params):
    cls = CATALOGUE.methods.load(name)
    return cls(cls.Params(**params))


def z_order(xyz):
    return CATALOGUE.methods.load("ordered").match.__globals__["z_order"](xyz)


def plain_place(point, least, longest):
    """The bits of three counts, one after another, as a text of zeros and ones."""
    counts = [min(1023, int((value - low) / longest * 1024)) for value, low in zip(point, least, strict=True)]
    bits = [format(count, "010b") for count in counts]
    return int("".join(x + y + z for x, y, z in zip(*bits, strict=True)), 2)


def plain_order(cloud, p):
    """The places of a cloud's points in the order asked for."""
    points = cloud.tolist()
    if p.order == "axis":
        return sorted(range(len(points)), key=lambda i: points[i]["xyz".index(p.axis)])
    least = [min(point[axis] for point in points) for axis in range(3)]
    longest = max(max(point[axis] for point in points) - least[axis] for axis in range(3))
    return sorted(range(len(points)), key=lambda i: plain_place(points[i], least, longest))


def plain_loss(real, synthetic, p):
    """The loss of one class from the features of clouds in order, a list of (N, D) each."""
    if p.loss == "mean":
        means = [sum(side) / len(side) for side in (real, synthetic)]
        value = p.lambda_mean * ((means[0] - means[1]) ** 2).sum(1).mean()
        weight = 1
    else:
        flat = [[cloud.flatten() for cloud in side] for side in (real, synthetic)]
        value, weight = len(synthetic) * p.lambda_alpha * plain_mmd(*flat, p), len(synthetic)
    top = [
        [cloud.sort(0, descending=True).values[: p.topk].flatten() for cloud in side]
        for side in (real, synthetic)
    ]
    return value + weight * p.lambda_beta * plain_mmd(*top, p)


@pytest.fixture
def by_class(training_clouds):
    """The training clouds in float64, (3, 8, 16, 3)."""
    return training_clouds.points.double().view(8, 3, 16, 3).transpose(0, 1)


@pytest.mark.parametrize(
    "given",
    [
        {"order": "axis", "lambda_beta": 0.05},
        {"order": "axis", "axis": "y", "loss": "mean", "topk": 2},
        {"order": "morton", "topk": 3, "lambda_beta": 0.05},
        {"order": "morton", "bandwidth": 50.0},
    ],
    ids=str,
)
@pytest.mark.parametrize("ppc", [1, 2])
def test_losses_and_gradient_match_the_oracle_in_float64(given, ppc, make_task, by_class):
    task, m = make_task(ppc=ppc), method("ordered", **given)
    network = task.network(task.streams.stream("network"))
    oracle = PlainPointNet(network)
    network.double().requires_grad_(False)
    bn_real, real = by_class[:, :3].flatten(0, 1), by_class[:, :4]
    own = by_class[:, 4 : 4 + ppc].flatten(0, 1)
    oracle.point_features(bn_real, adapt=True)
    losses, gradient = m.step(network, bn_real, real, own)

    def features(clouds):
        return [
            oracle.point_features(cloud.unsqueeze(0))[0][plain_order(cloud, m.params)] for cloud in clouds
        ]

    leaf = own.clone().requires_grad_()
    expected = torch.stack(
        [plain_loss(features(real[c]), features(leaf[c * ppc :][:ppc]), m.params) for c in range(3)]
    )
    torch.testing.assert_close(losses, expected.detach(), rtol=1e-9, atol=1e-14)
    (by_points,) = torch.autograd.grad(expected.sum(), leaf)
    assert float(by_points.norm()) > 1e-6
    torch.testing.assert_close(gradient, by_points, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("rotate", [True, False])
def test_in_the_order_of_features_it_is_sadm_to_the_last_bit(rotate, make_task):
    last = [
        list(method(name, rotate=rotate, **SMALL, **own).distill(make_task(ppc=2, snapshots=(0, 2))))[-1]
        for name, own in (("sadm", {}), ("ordered", {"order": "feature"}))
    ]
    assert torch.equal(last[0].clouds.points, last[1].clouds.points)


@pytest.mark.parametrize("order", ["axis", "morton", "feature"])
def test_the_order_in_which_points_come_does_not_matter(order, make_task, by_class):
    found, task = [], make_task()
    places = torch.randperm(16, generator=torch.Generator().manual_seed(4))
    own = by_class[:, 4:6].flatten(0, 1)
    for clouds in (own, own[:, places]):
        network = task.network(task.streams.stream("network")).double().requires_grad_(False)
        inputs = (network, by_class[:, :3].flatten(0, 1), by_class[:, :4])
        found.append(method("ordered", order=order).step(*inputs, clouds))
    torch.testing.assert_close(found[1][0], found[0][0], rtol=1e-9, atol=1e-14)
    torch.testing.assert_close(found[1][1], found[0][1][:, places], rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("order", ["axis", "morton"])
def test_two_iterations_leave_other_clouds_than_sadms(order, make_task):
    names = (("sadm", {"rotate": False}), ("ordered", {"order": order}))
    last = [
        list(method(name, **SMALL, **own).distill(make_task(ppc=2, snapshots=(0, 2))))[-1].clouds.points
        for name, own in names
    ]
    assert not torch.equal(*last)


def test_a_z_order_goes_through_a_cube_octant_by_octant():
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3)
    assert z_order(corners.unsqueeze(0))[0].argsort().tolist() == list(range(8))
    moved = z_order((corners * 3 - 5).unsqueeze(0))
    assert torch.equal(moved, z_order(corners.unsqueeze(0)))
    assert z_order(torch.ones(1, 4, 3)).tolist() == [[0, 0, 0, 0]]


def test_unsorted_features_are_not_among_its_orders():
    with pytest.raises(ValidationError):
        method("ordered", align=False)
