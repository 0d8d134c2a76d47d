"""IDM against an oracle: losses class by class in float64, and a queue that is kept as a list of networks."""

from __future__ import annotations

import copy

import pytest
import torch
from built_in import CATALOGUE
from plain_pointnet import PlainPointNet

from pcbench.errors import UsageError
from pcbench.ops.batches import RealBatches
from pcbench.ops.layers import adapt_batch_norm, set_dropout


def idm(**params):
    cls = CATALOGUE.methods.load("idm")
    return cls(cls.Params(**params))


def plain_losses(oracle, real, points, weight):
    """The loss of every class: real (K, n, N, 3), points (K · m, N, 3)."""
    logits = [oracle.linear("classifier", oracle.embed(clouds)) for clouds in real]
    accuracy = sum(int(row.argmax()) == c for c, rows in enumerate(logits) for row in rows)
    accuracy /= sum(map(len, logits))
    losses = []
    for c, own in enumerate(points.unflatten(0, (len(real), -1))):
        means = [sum(side) / len(side) for side in (oracle.embed(real[c]), oracle.embed(own))]
        rows = oracle.linear("classifier", oracle.embed(own))
        entropy = sum(row.logsumexp(0) - row[c] for row in rows) / len(rows)
        losses.append(((means[0] - means[1]) ** 2).sum() + weight * accuracy * entropy)
    return torch.stack(losses), accuracy


def with_statistics(oracle, network):
    buffers = {name: value.double() for name, value in network.named_buffers()}
    for name in [name for name in buffers if name.endswith("running_mean")]:
        norm = name.removesuffix(".running_mean")
        oracle.statistics[norm] = (buffers[name], buffers[f"{norm}.running_var"])
    return oracle


@pytest.mark.parametrize("ppc", [1, 2])
def test_losses_and_gradient_match_the_oracle_in_float64(ppc, make_task):
    task = make_task(ppc=ppc)
    network = task.network(task.streams.stream("network"))
    oracle = PlainPointNet(network)
    clouds = task.train.points.double().view(8, 3, 16, 3).transpose(0, 1)
    network.double().requires_grad_(False)
    bn_real, real, own = clouds[:, :3].flatten(0, 1), clouds[:, :4], clouds[:, 4 : 4 + ppc].flatten(0, 1)
    oracle.embed(bn_real, adapt=True)
    losses, gradient = idm(weight=3.0).both(network, bn_real, real, own)

    leaf = own.clone().requires_grad_()
    expected, accuracy = plain_losses(oracle, real, leaf, 3.0)
    assert 0 < accuracy < 1
    torch.testing.assert_close(losses, expected.detach(), rtol=1e-9, atol=1e-12)
    (by_points,) = torch.autograd.grad(expected.sum(), leaf)
    torch.testing.assert_close(gradient, by_points, rtol=1e-7, atol=1e-10)


def test_five_iterations_with_a_queue_of_two_match_a_list_of_networks(make_task):
    """In float32 against float64: a ReLU or a maximum that switches for one point costs a few percent."""
    task = make_task(ppc=2, snapshots=(0, 1, 2, 3, 4, 5))
    method = idm(
        queue=2, every=2, train_steps=2, train_batch=10, real_batch=4, bn_batch=3, lr=0.1, weight=2.0
    )
    snapshots = list(method.distill(task))
    batches = RealBatches(task.train, task.streams)
    start = points = snapshots[0].clouds.points.double()
    velocity, networks, used = torch.zeros_like(points), [None, None], []
    for iteration in (1, 2, 3, 4, 5):
        if iteration in (1, 3, 5):  # the third takes the place of the first
            networks[(iteration // 2) % 2] = task.network(task.streams.stream("network", iteration=iteration))
        alive = 1 if iteration < 3 else 2
        stream = task.streams.stream("queue", iteration=iteration)
        used.append(int(torch.randint(alive, (), generator=stream)))
        network = networks[used[-1]]
        adapt_batch_norm(network, batches.draw("bn_batch", iteration, 3).flatten(0, 1))
        oracle = with_statistics(PlainPointNet(network), network)
        leaf = points.clone().requires_grad_()
        losses, _ = plain_losses(oracle, batches.draw("real_batch", iteration, 4).double(), leaf, 2.0)
        velocity = 0.5 * velocity + torch.autograd.grad(losses.sum(), leaf)[0]
        points = points - 0.1 * velocity
        train_by_hand(network, task, iteration)
        moved = (points - start).norm()
        assert float(moved) > 1e-4
        assert float((snapshots[iteration].clouds.points.double() - points).norm() / moved) < 0.05
    assert len(set(used[2:])) == 2


def train_by_hand(network, task, iteration):
    """Two steps down the slope of ten clouds' mean cross-entropy."""
    set_dropout(network.train(), [task.streams.stream("dropout", iteration=iteration)])
    order = task.streams.stream("training", iteration=iteration)
    for _ in range(2):
        index = torch.randperm(24, generator=order)[:10]
        logits, labels = network(task.train.points[index]), task.train.labels[index]
        loss = (logits.logsumexp(1) - logits[torch.arange(10), labels]).mean()
        weights = list(network.parameters())
        with torch.no_grad():
            for weight, slope in zip(weights, torch.autograd.grad(loss, weights), strict=True):
                weight -= 0.01 * slope


def test_networks_learn_while_they_wait(make_task):
    task = make_task()
    method = idm(train_steps=40, train_batch=24, train_lr=0.05)
    network = task.network(task.streams.stream("network"))
    before = copy.deepcopy(network)
    method.train(network, task, 1)
    set_dropout(before, [])
    right = [
        float((n.eval()(task.train.points).argmax(1) == task.train.labels).float().mean())
        for n in (before, network)
    ]
    assert right[1] > right[0] + 0.2


def test_without_training_or_judging_it_is_dm_by_the_networks_of_the_queue(make_task):
    cls = CATALOGUE.methods.load("dm")
    task = make_task(ppc=2, snapshots=(0, 2))
    last = [
        list(method.distill(task))[-1].clouds.points
        for method in (idm(every=1, queue=1, train_steps=0, weight=0.0, lr=1.0), cls(cls.Params(lr=1.0)))
    ]
    torch.testing.assert_close(*last, rtol=1e-4, atol=1e-6)


def test_by_its_default_rate_clouds_come_nearer_where_a_hundred_times_it_diverges(make_task):
    """Trained networks' slopes grow a thousandfold over fresh ones', and a step must stay below them."""
    task = make_task(ppc=2, snapshots=(0, 40))
    default = idm().params.lr

    def distances(rate: float) -> list[float]:
        method, met = idm(lr=rate), []

        def matched(*given):
            losses, gradient = step(*given)
            met.append(float(losses.sum()))
            return losses, gradient

        step, method.step = method.step, matched
        first, last = method.distill(task)
        assert float((last.clouds.points - first.clouds.points).abs().mean()) < 0.05
        return met

    still, moved = distances(1e-12), distances(default)
    assert moved[0] == still[0]
    assert sum(moved[20:]) < 0.95 * sum(still[20:])
    with pytest.raises(UsageError, match=r"has diverged by iteration [12]0, at"):
        distances(1e-2)


def test_a_network_of_the_queue_that_diverges_is_named_with_its_rate(make_task):
    method = idm(train_lr=1e20, train_steps=3, train_batch=10)
    with pytest.raises(ValueError, match=r"diverged in iteration 1: choose a train_lr lower than 1e\+20"):
        list(method.distill(make_task()))
