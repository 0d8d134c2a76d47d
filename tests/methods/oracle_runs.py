"""Distribution matching (`methods/_matching.py`) by hand in float64, for the losses of any of its methods."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from plain_pointnet import PlainPointNet
from torch import Tensor

from pcbench.api import Task
from pcbench.ops.batches import RealBatches

Losses = Callable[[Any, Tensor, Tensor, Any], Tensor]
"""losses(oracle, real, points, params): of real clouds (K, n, N, 3) and points (K · m, N, 3) -> (K,)."""


def assert_step_agrees(
    method: Any, task: Task, losses: Losses, oracle_of: type[PlainPointNet] = PlainPointNet
) -> None:
    """One step in float64: three clouds a class set the batch norm, four others are matched."""
    network = task.network(task.streams.stream("network", iteration=1))
    oracle = oracle_of(network, method.params.bn_momentum)
    network.double().requires_grad_(False)
    by_class = task.train.points.double().view(8, 3, 16, 3).transpose(0, 1)
    bn_real, real = by_class[:, :3].flatten(0, 1), by_class[:, :4]
    own = by_class[:, 4 : 4 + task.ppc].flatten(0, 1)
    oracle.embed(bn_real, adapt=True)
    found, gradient = method.step(network, bn_real, real, own)

    leaf = own.clone().requires_grad_()
    expected = losses(oracle, real, leaf, method.params)
    torch.testing.assert_close(found, expected.detach(), rtol=1e-9, atol=1e-12)
    (by_points,) = torch.autograd.grad(expected.sum(), leaf)
    assert float(by_points.norm()) > 1e-4
    torch.testing.assert_close(gradient, by_points, rtol=1e-7, atol=1e-11)


def assert_iterations_agree(
    method: Any, task: Task, losses: Losses, oracle_of: type[PlainPointNet] = PlainPointNet
) -> None:
    """Whole iterations with momentum: v ← momentum · v + gradient, x ← x - lr · v, each by a fresh network.

    In float32 against float64: a ReLU or a maximum that switches for one point costs a few percent.
    """
    p = method.params
    snapshots = list(method.distill(task))
    assert tuple(snapshot.iteration for snapshot in snapshots) == task.snapshots
    batches = RealBatches(task.train, task.streams)
    start = points = snapshots[0].clouds.points.double()
    velocity = torch.zeros_like(points)
    for iteration in range(1, task.iterations + 1):
        oracle = oracle_of(task.network(task.streams.stream("network", iteration=iteration)), p.bn_momentum)
        oracle.embed(batches.draw("bn_batch", iteration, p.bn_batch).double().flatten(0, 1), adapt=True)
        real = batches.draw("real_batch", iteration, p.real_batch).double()
        leaf = points.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(losses(oracle, real, leaf, p).sum(), leaf)
        velocity = p.momentum * velocity + gradient
        points = points - p.lr * velocity
        moved = (points - start).norm()
        assert float(moved) > 1e-4
        assert float((snapshots[iteration].clouds.points.double() - points).norm() / moved) < 0.03
