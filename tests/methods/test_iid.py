"""IID against an oracle in float64 that goes through classes, clouds and points one at a time."""

from __future__ import annotations

import pytest
import torch
from built_in import CATALOGUE
from oracle_runs import assert_iterations_agree, assert_step_agrees
from plain_pointnet import PlainPointNet
from torch import Tensor


def iid(**params):
    cls = CATALOGUE.methods.load("iid")
    return cls(cls.Params(**params))


def plain_covariance(clouds: Tensor) -> Tensor:
    points = [point for cloud in clouds for point in cloud]
    mean = sum(points) / len(points)
    return sum(torch.outer(x - mean, x - mean) for x in points) / len(points)


def plain_losses(oracle: PlainPointNet, real: Tensor, points: Tensor, p) -> Tensor:
    """The loss of every class: real (K, n, N, 3), points (K · m, N, 3) -> (K,)."""
    losses = []
    for c, own in enumerate(points.unflatten(0, (len(real), -1))):
        seen = [oracle.point_features(clouds) for clouds in (real[c], own)]
        pooled = [list(features.amax(1)) for features in seen]
        means = [sum(side) / len(side) for side in pooled]
        spread = sum(((f - means[1]) ** 2).sum() for f in pooled[1])
        gap = plain_covariance(seen[0]) - plain_covariance(seen[1])
        matched = ((means[0] - means[1]) ** 2).sum()
        losses.append(matched + p.lambda_sample * spread + p.lambda_feature * (gap**2).sum())
    return torch.stack(losses)


@pytest.fixture
def by_class(training_clouds):
    """The training clouds in float64, (3, 8, 16, 3)."""
    return training_clouds.points.double().view(8, 3, 16, 3).transpose(0, 1)


@pytest.mark.parametrize("given", [{}, {"lambda_sample": 2.0, "lambda_feature": 0.0}, {"bn_momentum": 1.0}])
@pytest.mark.parametrize("ppc", [1, 2])
def test_losses_and_gradient_match_the_oracle_in_float64(given, ppc, make_task):
    assert_step_agrees(iid(**given), make_task(ppc=ppc), plain_losses)


def test_two_iterations_match_the_oracle(make_task):
    method = iid(real_batch=4, bn_batch=3, lr=0.5)
    assert_iterations_agree(method, make_task(ppc=2, snapshots=(0, 1, 2)), plain_losses)


def test_without_its_relations_it_is_dm_on_the_pooled_feature(make_task, by_class):
    cls = CATALOGUE.methods.load("dm")
    task = make_task()
    inputs = (by_class[:, :3].flatten(0, 1), by_class[:, :4], by_class[:, 4:6].flatten(0, 1))
    found = []
    for method in (iid(lambda_sample=0.0, lambda_feature=0.0), cls(cls.Params(layer="global"))):
        network = task.network(task.streams.stream("network")).double().requires_grad_(False)
        found.append(method.step(network, *inputs))
    for value, expected in zip(*found, strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-12)


def test_covariances_see_neither_the_order_of_points_nor_a_shift_of_the_features():
    features = torch.randn(2, 3, 1 + 16, 5, generator=torch.Generator().manual_seed(1)).double()
    real, own = features[:, :2], features[:, 2:]
    order = torch.randperm(16, generator=torch.Generator().manual_seed(2))
    other = torch.cat([own[:, :, :1], own[:, :, 1:][:, :, order] + 3.0], 2)
    method = iid(lambda_feature=10.0)
    torch.testing.assert_close(method.losses(real, other), method.losses(real, own))


def test_clouds_of_a_class_are_drawn_together_by_the_first_relation_alone():
    features = torch.randn(1, 4, 1 + 6, 5, generator=torch.Generator().manual_seed(3)).double()
    losses = [float(iid(lambda_sample=weight).losses(features, features)) for weight in (0.0, 1.0)]
    spread = (features[:, :, 0] - features[:, :, 0].mean(1, keepdim=True)).square().sum()
    assert losses == pytest.approx([0.0, float(spread)], abs=1e-12)
