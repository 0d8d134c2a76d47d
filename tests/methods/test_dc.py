"""Gradient matching against an oracle that recomputes whole iterations, inner training included."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from built_in import CATALOGUE
from plain_pointnet import PlainPointNet
from pydantic import ValidationError
from torch import Tensor

from pcbench.errors import UsageError
from pcbench.ops.batches import RealBatches
from pcbench.ops.gradients import match_gradients
from pcbench.ops.layers import adapt_batch_norm, set_dropout

METRICS = ["ours", "mse", "cos"]


def made(name: str = "dc", **params):
    cls = CATALOGUE.methods.load(name)
    return cls(cls.Params(**params))


class Oracle(PlainPointNet):
    """With logits, cross-entropy, statistics that move again and again, and training with dropout."""

    def __init__(self, network, momentum: float = 0.1) -> None:
        super().__init__(network, momentum)
        self.names = [name for name, _ in network.named_parameters()]
        self.mask: Tensor | float = 1.0

    def norm(self, name: str, y: Tensor, adapt: bool) -> Tensor:
        rows = y.reshape(-1, y.shape[-1])
        known = self.statistics.get(name, (torch.zeros_like(rows[0]), torch.ones_like(rows[0])))
        self.statistics[name] = known = tuple(value.detach() for value in known)
        if not adapt or len(rows) == 1:
            return super().norm(name, y, adapt=False)
        mean, variance = rows.mean(0), rows.var(0, unbiased=False)
        unbiased = variance * len(rows) / (len(rows) - 1)
        weight, bias = self.values[f"{name}.weight"], self.values[f"{name}.bias"]
        self.statistics[name] = tuple(
            (1 - self.momentum) * old + self.momentum * new.detach()
            for old, new in zip(known, (mean, unbiased), strict=True)
        )
        return (y - mean) / (variance + 1e-5).sqrt() * weight + bias

    def loss(self, xyz: Tensor, labels: list[int], adapt: bool = False) -> Tensor:
        """The mean over clouds of -log of the right class's share; `mask` is that of dropout."""
        x = self.unit("head.0", self.point_features(xyz, adapt).amax(1), adapt)
        x = self.norm("head.3", self.linear("head.1", x) * self.mask, adapt)
        logits = self.linear("classifier", x * (x > 0))
        right = torch.stack([row[label] for row, label in zip(logits, labels, strict=True)])
        return (logits.exp().sum(1).log() - right).mean()

    def gradients(
        self, xyz: Tensor, labels: list[int], create_graph: bool = False, **options
    ) -> list[Tensor]:
        leaves = [self.values[name].requires_grad_() for name in self.names]
        return list(torch.autograd.grad(self.loss(xyz, labels, **options), leaves, create_graph=create_graph))

    def train(
        self, clouds: Tensor, labels: list[int], epochs: int, p, order, dropout, rate: float = 0.3
    ) -> None:
        """Plain SGD, one update at a time, with masks in place of dropout."""
        for _ in range(epochs):
            left = torch.randperm(len(clouds), generator=order).tolist()
            while left:
                batch, left = left[: p.inner_batch], left[p.inner_batch :]
                self.mask = (torch.rand(len(batch), 256, generator=dropout) >= rate).double() / (1 - rate)
                found = self.gradients(clouds[batch], [labels[i] for i in batch], adapt=True)
                for name, gradient in zip(self.names, found, strict=True):
                    self.values[name] = (self.values[name] - p.inner_lr * gradient).detach()
        self.mask = 1.0

    def match(self, real: Tensor, synthetic: Tensor, metric: str) -> tuple[Tensor, Tensor]:
        """The distance of every class, and the gradient of their sum by the synthetic clouds (K, m, N, 3)."""
        leaf = synthetic.clone().requires_grad_()
        total = []
        for c in range(len(real)):
            target = [g.detach() for g in self.gradients(real[c], [c] * real.shape[1])]
            found = self.gradients(leaf[c], [c] * leaf.shape[1], create_graph=True)
            total.append(plain_distance(target, found, metric))
        losses = torch.stack(total)
        return losses.detach(), torch.autograd.grad(losses.sum(), leaf)[0]


def plain_distance(real: list[Tensor], synthetic: list[Tensor], metric: str) -> Tensor:
    if metric == "mse":
        return sum(((r - s) ** 2).sum() for r, s in zip(real, synthetic, strict=True))
    if metric == "cos":
        vectors = [torch.cat([g.flatten() for g in side])[None] for side in (real, synthetic)]
        return one_minus_cosines(*vectors)
    return sum(one_minus_cosines(r, s) for r, s in zip(real, synthetic, strict=True) if r.dim() == 2)


def one_minus_cosines(real: Tensor, synthetic: Tensor) -> Tensor:
    """Over rows; one of zeros counts 1, and is left out since the root of zero has no slope."""
    alive = (real != 0).any(1) & (synthetic != 0).any(1)
    r, s = real[alive], synthetic[alive]
    cosines = (r * s).sum(1) / ((r * r).sum(1).sqrt() * (s * s).sum(1).sqrt() + 1e-6)
    return len(real) - cosines.sum()


@pytest.fixture
def by_class(training_clouds) -> Tensor:
    """The training clouds in float64 as (K, 8, N, 3)."""
    return training_clouds.points.double().view(8, 3, 16, 3).transpose(0, 1)


def adapted(task, by_class, momentum: float = 0.1):
    """A PointNet in float64 and its oracle, both with the same frozen statistics."""
    network = task.network(task.streams.stream("network", iteration=1))
    oracle = Oracle(network, momentum)
    oracle.loss(by_class[:, :3].flatten(0, 1), [0] * 9, adapt=True)
    adapt_batch_norm(network.double(), by_class[:, :3].flatten(0, 1), momentum)
    return network, oracle


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("ppc", [1, 2])
def test_pointnet_losses_and_gradients_match_the_oracle_in_float64(metric, ppc, make_task, by_class):
    network, oracle = adapted(make_task(), by_class)
    real, synthetic = by_class[:, :4], by_class[:, 4 : 4 + ppc]
    losses, gradient = match_gradients(network, real, synthetic, metric)
    expected, expected_gradient = oracle.match(real, synthetic, metric)
    torch.testing.assert_close(losses, expected, rtol=1e-9, atol=1e-12)
    assert float((gradient - expected_gradient).norm() / expected_gradient.norm()) < 1e-8


class Exact(torch.nn.Module):
    """A network that computes in float64 on the float32 clouds that methods hold."""

    def __init__(self, network) -> None:
        super().__init__()
        self.network = network.double()

    def forward(self, xyz: Tensor) -> Tensor:
        return self.network(xyz.double())


def exact(task):
    return replace(task, network=lambda generator: Exact(task.network(generator)))


def expected_points(task, params, start: Tensor, outer: int, inner: int) -> list[Tensor]:
    """The synthetic points (K · m, N, 3) after each iteration by the oracle."""
    draws = RealBatches(task.train, task.streams)
    labels = [c for c in range(3) for _ in range(task.ppc)]
    points, velocity, result = start.double(), torch.zeros_like(start).double(), []
    for iteration in range(1, task.iterations + 1):
        oracle = Oracle(task.network(task.streams.stream("network", iteration=iteration)), params.bn_momentum)
        order = task.streams.stream("order", iteration=iteration)
        dropout = task.streams.stream("dropout", iteration=iteration)
        for step in range(outer):
            number = (iteration - 1) * outer + step + 1
            bn = draws.draw("bn_batch", number, params.bn_batch).double().flatten(0, 1)
            oracle.loss(bn, [0] * len(bn), adapt=True)
            real = draws.draw("real_batch", number, params.real_batch).double()
            _, gradient = oracle.match(real, points.view(3, task.ppc, 16, 3), params.metric)
            velocity = params.momentum * velocity + gradient.flatten(0, 1)
            points = points - params.lr * velocity
            if step + 1 < outer:
                oracle.train(points, labels, inner, params, order, dropout)
        result.append(points)
    return result


@pytest.mark.parametrize(
    ("ppc", "options"),
    [
        (1, {}),
        (1, {"metric": "mse", "bn_momentum": 1.0, "lr": 1e-6}),
        (2, {"metric": "cos", "outer": 2, "inner": 2, "inner_batch": 6, "lr": 1.0}),
        (3, {"outer": 2}),
    ],
    ids=str,
)
def test_iterations_match_the_oracle(ppc, options, make_task):
    """Points are float32, all else is float64; in the last case, the last batch of an epoch is one cloud.

    Batch norm over two or three clouds would turn the rounding of points into other networks.
    """
    task = make_task(ppc=ppc, snapshots=(0, 1, 2) if ppc == 1 else (0, 1))
    method = made(real_batch=3, bn_batch=3, **options)
    snapshots = list(method.distill(exact(task)))
    assert [snapshot.iteration for snapshot in snapshots] == list(task.snapshots)
    start = snapshots[0].clouds.points
    loops = (method.params.outer or 1, method.params.inner or 1)
    for snapshot, expected in zip(
        snapshots[1:], expected_points(task, method.params, start, *loops), strict=True
    ):
        moved = float((expected - start).norm())
        assert moved > 1e-3
        assert float((snapshot.clouds.points - expected).norm()) < 1e-3 * moved


def test_an_iteration_in_float32_is_near_the_oracle(make_task):
    """A ReLU or a maximum that switches for one point costs a few percent."""
    task = make_task(ppc=3)
    method = made(real_batch=4, bn_batch=4, outer=2)
    start, end = (snapshot.clouds.points for snapshot in method.distill(task))
    (expected,) = expected_points(task, method.params, start, 2, 1)
    assert float((end - expected).norm() / (expected - start).norm()) < 0.03


def test_inner_training_is_plain_sgd(make_task, by_class):
    task = make_task()
    network, oracle = adapted(task, by_class)
    set_dropout(network, [task.streams.stream("dropout")])
    method = made(inner_batch=4, inner_lr=0.05)
    clouds = task.train.select(torch.arange(9))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    method.train(Exact(network), clouds, 2, task.streams.stream("order"), method.gradients)
    streams = task.streams.stream("order"), task.streams.stream("dropout")
    oracle.train(clouds.points.double(), clouds.labels.tolist(), 2, method.params, *streams)
    for name, value in network.named_parameters():
        torch.testing.assert_close(value, oracle.values[name], rtol=1e-7, atol=1e-9)
        if name.endswith("0.weight"):
            assert not torch.equal(value, before[name])
    for name, (mean, variance) in oracle.statistics.items():
        torch.testing.assert_close(network.get_buffer(f"{name}.running_mean"), mean, rtol=1e-7, atol=1e-9)
        torch.testing.assert_close(network.get_buffer(f"{name}.running_var"), variance, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("momentum", [0.1, 1.0])
def test_gradients_are_taken_with_statistics_of_real_clouds(momentum, make_task, monkeypatch):
    """Of a fresh network, moved by the drawn batch; frozen, and without dropout."""
    seen = []

    def spy(network, real, synthetic, *rest):
        assert not any(module.training for module in network.modules())
        seen.append({name: value.clone() for name, value in network.state_dict().items()})
        return match_gradients(network, real, synthetic, *rest)

    method, task = made(bn_batch=5, bn_momentum=momentum), make_task()
    monkeypatch.setitem(method.distill.__globals__, "match_gradients", spy)
    list(method.distill(task))
    (state,) = seen
    oracle = Oracle(task.network(task.streams.stream("network", iteration=1)), momentum)
    real = RealBatches(task.train, task.streams).draw("bn_batch", 1, 5).double().flatten(0, 1)
    oracle.loss(real, [0] * 15, adapt=True)
    assert len(oracle.statistics) == 10
    for name, (mean, variance) in oracle.statistics.items():
        torch.testing.assert_close(state[f"{name}.running_mean"].double(), mean, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(state[f"{name}.running_var"].double(), variance, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("ppc", "outer", "inner"),
    [
        (1, 1, 1),
        (2, 1, 1),
        (3, 5, 1),
        (4, 5, 1),
        (5, 5, 1),
        (9, 5, 1),
        (10, 3, 10),
        (50, 3, 10),
    ],
)
def test_loops_are_those_of_the_paper_unless_asked_for(ppc, outer, inner):
    """SADM's paper, version 3: (1, 1), (5, 1), (3, 10) at PPC 1, 3, 10."""
    assert made().loops(ppc) == (outer, inner)
    assert made(outer=7).loops(ppc) == (7, inner)
    assert made(inner=7).loops(ppc) == (outer, 7)


@pytest.mark.parametrize(
    ("ppc", "outer", "inner"),
    [(1, 1, 1), (3, 5, 1), (10, 5, 1), (19, 5, 1), (20, 20, 25), (50, 50, 10)],
)
def test_the_loops_of_the_authors_later_code_have_a_name(ppc, outer, inner):
    assert made(loops="code").loops(ppc) == (outer, inner)


def test_every_outer_step_draws_real_clouds_of_its_own(make_task, monkeypatch):
    drawn = []
    original = RealBatches.draw
    monkeypatch.setattr(
        RealBatches, "draw", lambda self, name, i, n: drawn.append((name, i)) or original(self, name, i, n)
    )
    list(made(outer=2, real_batch=2, bn_batch=2).distill(make_task(snapshots=(2,))))
    assert drawn == [(name, i) for i in range(1, 5) for name in ("bn_batch", "real_batch")]


@pytest.mark.parametrize("init", ["random", "noise", "herding", "kcenter"])
def test_every_start_runs(init, make_task):
    start, end = made(init=init, outer=2, real_batch=2, bn_batch=2).distill(make_task(ppc=2))
    assert end.clouds.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert torch.isfinite(end.clouds.points).all()
    assert not torch.equal(start.clouds.points, end.clouds.points)


def test_pcc_is_dc_from_herding(make_task):
    task = make_task(ppc=2)
    runs = [
        list(made(name, **init).distill(task)) for name, init in (("pcc", {}), ("dc", {"init": "herding"}))
    ]
    herding = CATALOGUE.methods.load("herding")
    (chosen,) = herding(herding.Params()).distill(task)
    assert torch.equal(runs[0][0].clouds.points, chosen.clouds.points)
    for pcc, dc in zip(*runs, strict=True):
        assert torch.equal(pcc.clouds.points, dc.clouds.points)
    fields = CATALOGUE.methods.load("pcc").Params.model_fields
    assert list(fields) == list(CATALOGUE.methods.load("dc").Params.model_fields)
    assert all(field.description and field.json_schema_extra["source"] for field in fields.values())


def test_only_the_asked_snapshots_come(make_task):
    assert [s.iteration for s in made(real_batch=2).distill(make_task(snapshots=(2, 3)))] == [2, 3]


def test_too_few_real_clouds_are_named(make_task):
    with pytest.raises(UsageError, match="real_batch = 9"):
        list(made(real_batch=9).distill(make_task()))


def test_parameters_default_to_the_card():
    p = made().params
    assert (p.metric, p.init, p.lr, p.momentum, p.real_batch, p.bn_batch) == (
        "ours",
        "random",
        1e-4,
        0.5,
        8,
        8,
    )
    assert (p.bn_momentum, p.outer, p.inner, p.inner_lr, p.inner_batch) == (0.1, None, None, 0.01, 8)
    assert made("pcc").params.init == "herding"


@pytest.mark.parametrize(
    "wrong", [{"outer": 0}, {"inner": 0}, {"metric": "l2"}, {"lr": 0}, {"loops": 1}], ids=str
)
def test_impossible_parameters_are_refused(wrong):
    with pytest.raises(ValidationError):
        made(**wrong)
