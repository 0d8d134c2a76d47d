"""NCFM and DANCE against an oracle in float64: losses frequency by frequency, mixtures, both steps."""

from __future__ import annotations

import cmath
import math
from dataclasses import replace

import pytest
import torch
from built_in import CATALOGUE
from plain_pointnet import PlainPointNet
from torch import Tensor

from pcbench.ops.batches import RealBatches
from pcbench.ops.layers import adapt_batch_norm

POOL = {"pool": 2, "pool_epochs": 2, "pool_batch": 12, "pool_lr": 0.003}


def method(name, **params):
    cls = CATALOGUE.methods.load(name)
    return cls(cls.Params(**params))


def plain_ncfm(real: list[Tensor], synthetic: list[Tensor], frequencies: Tensor, p) -> Tensor:
    """The loss of a class from embeddings, in complex numbers; the root is kept off 0."""

    def phi(features: list[Tensor], t: Tensor) -> Tensor:
        return sum(torch.exp(1j * ((f / f.norm()) @ t)) for f in features) / len(features)

    total = torch.zeros((), dtype=torch.float64)
    for t in frequencies:
        a, b = phi(real, t), phi(synthetic, t)
        phases = 2 * (a.abs() * b.abs() - (a * b.conj()).real)
        square = p.amplitude * (a.abs() - b.abs()) ** 2 + (1 - p.amplitude) * phases.clamp_min(1e-12)
        total = total + square.sqrt()
    return p.scale * total / len(frequencies)


def plain_dance(real: list[Tensor], synthetic: list[Tensor], *_) -> Tensor:
    return ((sum(real) / len(real) - sum(synthetic) / len(synthetic)) ** 2).sum()


PLAIN = {"ncfm": plain_ncfm, "dance": plain_dance}


def plain_loss(name, oracle: PlainPointNet, real: Tensor, points: Tensor, frequencies, p) -> list[Tensor]:
    """Of every class: real (K, n, N, 3), points (K · m, N, 3)."""
    own = points.unflatten(0, (len(real), -1))
    embedded = [[list(oracle.embed(clouds[c])) for clouds in (real, own)] for c in range(len(real))]
    return [PLAIN[name](*pair, frequencies, p) for pair in embedded]


def statistics_of(oracle: PlainPointNet, network) -> None:
    buffers = {name: value.double() for name, value in network.named_buffers()}
    for name in [name for name in buffers if name.endswith("running_mean")]:
        norm = name.removesuffix(".running_mean")
        oracle.statistics[norm] = (buffers[name], buffers[f"{norm}.running_var"])


@pytest.mark.parametrize(("name", "given"), [("ncfm", {}), ("ncfm", {"amplitude": 0.9}), ("dance", {})])
@pytest.mark.parametrize("ppc", [1, 2])
def test_losses_and_gradient_match_the_oracle_in_float64(name, given, ppc, make_task):
    task, m = make_task(ppc=ppc), method(name, **given)
    network = task.network(task.streams.stream("network"))
    oracle = PlainPointNet(network, 1.0)
    clouds = task.train.points.double().view(8, 3, 16, 3).transpose(0, 1)
    network.double().requires_grad_(False)
    oracle.embed(clouds[:, :3].flatten(0, 1), adapt=True)
    real, own = clouds[:, :4], clouds[:, 4 : 4 + ppc].flatten(0, 1)
    frequencies = torch.randn(9, 256, generator=torch.Generator().manual_seed(1)).double()
    inputs = (network, clouds[:, :3].flatten(0, 1), real, own)
    losses, gradient = m.step_at(*inputs, frequencies) if name == "ncfm" else m.step(*inputs)

    leaf = own.clone().requires_grad_()
    expected = torch.stack(plain_loss(name, oracle, real, leaf, frequencies, m.params))
    torch.testing.assert_close(losses, expected.detach(), rtol=1e-9, atol=1e-12)
    (by_points,) = torch.autograd.grad(expected.sum(), leaf)
    assert float(by_points.norm()) > 1e-4
    torch.testing.assert_close(gradient, by_points, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("name", ["ncfm", "dance"])
@pytest.mark.parametrize("calibration", [0.0, 0.5])
def test_two_iterations_match_the_oracle(name, calibration, make_task):
    """In float32 against float64: a ReLU or a maximum that switches for one point costs a few percent."""
    kept = {}
    task = make_task(ppc=2, snapshots=(0, 1, 2))
    make_once = task.cached
    task = replace(task, cached=lambda inputs, make: kept or kept.update(make_once(inputs, make)) or kept)
    own = {"frequencies": 11} if name == "ncfm" else {}
    m = method(name, real_batch=4, bn_batch=3, lr=1e-4, calibration=calibration, **POOL, **own)
    snapshots = list(m.distill(task))
    assert [snapshot.iteration for snapshot in snapshots] == [0, 1, 2]
    assert {key: len(rows) for key, rows in kept.items()} == {"begun": 2, "trained": 2}

    batches, labels = RealBatches(task.train, task.streams), snapshots[0].clouds.labels
    start = points = snapshots[0].clouds.points.double()
    velocity = torch.zeros_like(points)
    put_row = m.distill.__globals__["put_row"]
    network = task.network(torch.Generator())
    for iteration in (1, 2):
        stream = task.streams.stream("mixture", iteration=iteration)
        which = int(torch.randint(2, (), generator=stream))
        share = float(torch.rand((), generator=stream, dtype=torch.float64))
        put_row(share * kept["begun"][which] + (1 - share) * kept["trained"][which], network)
        between = PlainPointNet(network, 1.0)
        between.embed(batches.draw("bn_batch", iteration, 3).double().flatten(0, 1), adapt=True)
        real = batches.draw("real_batch", iteration, 4).double()
        stream = task.streams.stream("frequencies", iteration=iteration)
        frequencies = torch.randn(11, 256, generator=stream).double()
        leaf = points.clone().requires_grad_()
        loss = sum(plain_loss(name, between, real, leaf, frequencies, m.params))
        velocity = 0.5 * velocity + torch.autograd.grad(loss, leaf)[0]
        points = points - 1e-4 * velocity
        if calibration:
            put_row(kept["trained"][which], network)
            judge = PlainPointNet(network)
            statistics_of(judge, network)
            leaf = points.clone().requires_grad_()
            logits = judge.linear("classifier", judge.embed(leaf))
            loss = sum(logits[i].logsumexp(0) - logits[i, label] for i, label in enumerate(labels.tolist()))
            velocity = 0.5 * velocity + torch.autograd.grad(calibration * loss / 2, leaf)[0]
            points = points - 1e-4 * velocity
        moved = (points - start).norm()
        found = snapshots[iteration].clouds.points.double()
        assert float(moved) > 1e-5
        assert float((found - points).norm() / moved) < 0.05


def test_the_discrepancy_of_two_clouds_in_closed_form():
    """One feature each: amplitudes are 1, and the loss is the mean of √(2 α' (1 - cos gap))."""
    real, own = torch.tensor([[[0.3, -1.0]]]).double(), torch.tensor([[[0.9, 1.5]]]).double()
    expected = [math.sqrt(0.5 * 2 * (1 - math.cos(gap))) for gap in (0.6, 2.5)]
    assert float(method("ncfm", scale=2.0).losses(real, own)) == pytest.approx(sum(expected))
    halves = [abs(cmath.exp(1j * a) - cmath.exp(1j * b)) / math.sqrt(2) for a, b in ((0.3, 0.9), (-1, 1.5))]
    assert sum(expected) == pytest.approx(sum(halves))


def test_equal_means_are_not_enough_and_equal_sets_are():
    real = torch.randn(1, 6, 50, generator=torch.Generator().manual_seed(4)).double()
    same, centre = real[:, [3, 1, 0, 2, 5, 4]], real.mean(1, keepdim=True)
    m = method("ncfm", scale=1.0)
    assert float(m.losses(real, same)) <= 1e-6
    assert float(m.losses(real, centre)) > 0.1


@pytest.mark.parametrize("name", ["ncfm", "dance"])
def test_the_order_of_points_does_not_matter(name, make_task):
    task = make_task(ppc=2)
    network = task.network(task.streams.stream("network")).double().requires_grad_(False)
    adapt_batch_norm(network, task.train.points.double(), 1.0)
    clouds = task.train.points.double().view(8, 3, 16, 3).transpose(0, 1)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(4))
    given = (clouds[:, :3].flatten(0, 1), clouds[:, :4])
    own = clouds[:, 4:6].flatten(0, 1)
    losses, gradient = method(name).step(network, *given, own)
    again, moved = method(name).step(network, *given, own[:, order])
    torch.testing.assert_close(again, losses, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(moved, gradient[:, order], rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("name", ["ncfm", "dance"])
def test_both_share_a_pool_that_depends_on_its_own_parameters_alone(name, make_task):
    asked = []
    for params in ({}, {"lr": 3.0, "calibration": 0.0}, {"pool": 7}):
        task = replace(make_task(), cached=lambda inputs, _: asked.append(inputs) or {})
        method(name, **params).pool(task)
    assert asked[0] == asked[1] != asked[2]
