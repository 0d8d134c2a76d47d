"""Trajectory matching against an oracle that recomputes an iteration in float64; experts and their cache."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from built_in import CATALOGUE
from plain_pointnet import PlainPointNet
from pydantic import ValidationError
from torch import Tensor

from pcbench.engine.cache import TensorCache
from pcbench.ops import trajectories
from pcbench.seeds import Streams

SMALL = {
    "experts": 2,
    "expert_epochs": 2,
    "expert_batch": 8,
    "bn_batch": 4,
    "max_start_epoch": 1,
    "expert_steps": 1,
    "syn_steps": 3,
    "expert_lr": 1e-3,
    "student_lr": 5e-4,
}


def mtt(**params):
    cls = CATALOGUE.methods.load("mtt")
    return cls(cls.Params(**{**SMALL, **params}))


class Kept:
    """Stands for the runner's cache: keeps what was made, and counts how often."""

    def __init__(self):
        self.tensors, self.inputs, self.made, self.reported = {}, [], 0, []

    def __call__(self, inputs, make):
        key = json.dumps(inputs, sort_keys=True)
        if key not in self.tensors:
            self.made += 1
            streams = Streams({"level": "experts"})
            self.tensors[key] = dict(make(streams, lambda *done: self.reported.append(done)))
        self.inputs.append(inputs)
        return self.tensors[key]


@pytest.fixture(scope="module")
def kept():
    """Experts for all tests of this file that take them as they are."""
    return Kept()


def by_name(named, row: Tensor) -> dict[str, Tensor]:
    """A row taken apart in the order of the names, in float64."""
    values, place = {}, 0
    for name, value in named:
        values[name] = row[place : place + value.numel()].double().view(value.shape)
        place += value.numel()
    assert place == len(row)
    return values


def plain_loss(plain: PlainPointNet, xyz: Tensor, labels: Tensor) -> Tensor:
    logits = plain.linear("classifier", plain.embed(xyz))
    return (logits.logsumexp(1) - logits.gather(1, labels.unsqueeze(1)).squeeze(1)).mean()


def plain_match(network, way: Tensor, epoch: int, buffers: Tensor, xyz, labels, lr, batches) -> Tensor:
    """The loss of a student that starts at an epoch of `way`, as one graph over all its steps."""
    plain = PlainPointNet(network)
    statistics = by_name(network.named_buffers(), buffers)
    for name in [name for name in statistics if name.endswith("running_mean")]:
        norm = name.removesuffix(".running_mean")
        plain.statistics[norm] = (statistics[name], statistics[f"{norm}.running_var"])
    start = by_name(network.named_parameters(), way[epoch])
    target = by_name(network.named_parameters(), way[epoch + 1])
    plain.values = {name: value.clone().requires_grad_() for name, value in start.items()}
    for batch in batches:
        loss = plain_loss(plain, xyz[batch], labels[batch])
        gradients = torch.autograd.grad(loss, list(plain.values.values()), create_graph=True)
        steps = zip(plain.values.items(), gradients, strict=True)
        plain.values = {name: w - lr * g for (name, w), g in steps}
    far = sum(((plain.values[name] - target[name]) ** 2).sum() for name in target)
    return far / sum(((start[name] - target[name]) ** 2).sum() for name in target)


@pytest.mark.parametrize("batch_syn", [None, 4], ids=["all at once", "batches"])
@pytest.mark.parametrize("longest", [1e9, 2.0])
def test_two_iterations_match_the_oracle(batch_syn, longest, make_task, kept, monkeypatch):
    """In float32 against float64: a ReLU or a maximum that switches for one point costs a few percent."""
    task = replace(make_task(ppc=2, snapshots=(0, 1, 2)), cached=kept)
    rate = 0.02 / (6 * task.train.points_per_cloud)
    method = mtt(batch_syn=batch_syn, lr=rate, lr_lr=0.01, momentum=0.5, longest=longest)
    rates: list[float] = []
    match = method.distill.__globals__["match_trajectory"]

    def recorded(*arguments):
        rates.append(float(arguments[5]))
        return match(*arguments)

    monkeypatch.setitem(method.distill.__globals__, "match_trajectory", recorded)
    snapshots = list(method.distill(task))
    assert [snapshot.iteration for snapshot in snapshots] == [0, 1, 2]

    experts = method.experts(task)
    network = task.network(torch.Generator())
    start = snapshots[0].clouds
    points, log_lr = start.points.double(), torch.tensor(5e-4, dtype=torch.float64).log()
    velocities = [torch.zeros_like(points), torch.zeros_like(log_lr)]
    for iteration in (1, 2):
        stream = task.streams.stream("trajectory", iteration=iteration)
        expert = int(torch.randint(2, (), generator=stream))
        epoch = int(torch.randint(2, (), generator=stream))
        orders = [torch.randperm(6, generator=stream) for _ in range(3 if batch_syn is None else 2)]
        cut = orders if batch_syn is None else [orders[0][:4], orders[0][4:], orders[1][:4]]
        leaves = [points.clone().requires_grad_(), log_lr.clone().requires_grad_()]
        way, buffers = experts["parameters"][expert], experts["buffers"][expert]
        loss = plain_match(network, way, epoch, buffers, leaves[0], start.labels, leaves[1].exp(), cut)
        by_points, by_rate = torch.autograd.grad(loss, leaves)
        sizes = [6 * float(len(g) * g.square().sum()) ** 0.5 for g in by_points]
        assert (max(sizes) > longest) == (longest == 2.0)
        shares = torch.tensor([min(1, longest / size) for size in sizes]).double().view(-1, 1, 1)
        gradients = (by_points * shares, by_rate.clamp(-1, 1))
        velocities = [0.5 * v + g for v, g in zip(velocities, gradients, strict=True)]
        assert rates[iteration - 1] == pytest.approx(float(log_lr.exp()), rel=1e-3)
        points, log_lr = points - 0.02 * velocities[0], log_lr - 0.01 * velocities[1]
        moved = (points - start.points).norm()
        found = snapshots[iteration].clouds.points.double()
        assert float(moved) > 1e-4
        assert float((found - points).norm() / moved) < 0.03
    assert abs(rates[1] - rates[0]) > 1e-7


def test_experts_do_not_depend_on_ppc_and_are_trained_once(make_task):
    kept = Kept()
    for ppc in (1, 3):
        list(mtt().distill(replace(make_task(ppc=ppc), cached=kept)))
    assert kept.made == 1
    assert kept.inputs[0] == kept.inputs[1]
    assert kept.reported == [(1, 2), (2, 2)]
    again = Kept()
    mtt().experts(replace(make_task(ppc=3, repetition=7), cached=again))
    for (first,), (second,) in [(kept.tensors.values(), again.tensors.values())]:
        assert first.keys() == second.keys() == {"parameters", "buffers"}
        assert all(torch.equal(first[name], second[name]) for name in first)
    parameters = next(iter(kept.tensors.values()))["parameters"]
    assert not torch.equal(parameters[0], parameters[1])


@pytest.mark.parametrize(
    ("name", "value"),
    [("experts", 3), ("expert_epochs", 3), ("expert_lr", 2e-3), ("expert_batch", 9), ("bn_batch", 5)],
)
def test_what_changes_experts_is_among_the_inputs(name, value, make_task):
    asked = []

    def cached(inputs, _):
        asked.append(inputs)
        return {}

    for method in (mtt(), mtt(**{name: value}), mtt(lr=3, syn_steps=9)):
        method.experts(replace(make_task(), cached=cached))
    assert asked[0] != asked[1]
    assert asked[0] == asked[2]


def test_cached_experts_give_the_same_clouds(make_task, monkeypatch):
    """With the runner's own cache: the second run trains nothing."""
    cache = TensorCache({"test": "mtt"}, torch.device("cpu"))

    def cached(inputs, make):
        return cache.get(inputs, lambda: make(Streams({"level": "experts"}), lambda *done: None))

    task = replace(make_task(), cached=cached)
    first = list(mtt().distill(task))[-1].clouds.points
    monkeypatch.setattr(trajectories, "stack", None)
    monkeypatch.setitem(mtt().distill.__globals__, "train_experts", None)
    assert torch.equal(list(mtt().distill(task))[-1].clouds.points, first)


def test_points_come_nearer_to_the_experts(make_task, kept, monkeypatch):
    """One expert, one epoch: the loss falls where only the points can change it."""
    rates = {"expert_lr": 3e-4, "student_lr": 3e-4, "lr": 5e-4, "lr_lr": 0, "longest": 100}
    method = mtt(experts=1, expert_epochs=1, max_start_epoch=0, **rates)
    losses: list[float] = []
    match = method.distill.__globals__["match_trajectory"]

    def recorded(*arguments):
        result = match(*arguments)
        losses.append(float(result[0]))
        return result

    monkeypatch.setitem(method.distill.__globals__, "match_trajectory", recorded)
    list(method.distill(replace(make_task(snapshots=(0, 12)), cached=kept)))
    assert sum(losses[-4:]) < 0.7 * sum(losses[:4])


def test_a_target_beyond_the_last_epoch_is_refused():
    with pytest.raises(ValidationError, match="raise expert_epochs"):
        mtt(max_start_epoch=2)
