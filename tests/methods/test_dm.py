"""Distribution matching against an oracle that recomputes whole iterations in float64."""

import pytest
import torch
from built_in import CATALOGUE
from plain_pointnet import PlainPointNet
from torch import Tensor

from pcbench.ops.batches import RealBatches
from pcbench.ops.layers import adapt_batch_norm
from pcbench.ops.matching import match_classes


@pytest.mark.parametrize("layer", ["embedding", "global"])
@pytest.mark.parametrize("ppc", [1, 2])
def test_three_iterations_match_the_oracle(layer, ppc, make_task):
    """In float32 against float64: a ReLU or a maximum that switches for one point costs a few percent."""
    cls = CATALOGUE.methods.load("dm")
    task = make_task(ppc=ppc, snapshots=(0, 1, 2, 3))
    params = cls.Params(layer=layer, real_batch=4, bn_batch=3, lr=2.0, momentum=0.5)
    snapshots = list(cls(params).distill(task))
    assert [snapshot.iteration for snapshot in snapshots] == [0, 1, 2, 3]

    batches = RealBatches(task.train, task.streams)
    points = snapshots[0].clouds.points.double()
    velocity = torch.zeros_like(points)
    for iteration in (1, 2, 3):
        network = PlainPointNet(task.network(task.streams.stream("network", iteration=iteration)))
        pooled = lambda xyz, net=network: net.point_features(xyz).amax(1)  # noqa: E731
        feature = network.embed if layer == "embedding" else pooled
        network.embed(batches.draw("bn_batch", iteration, 3).double().flatten(0, 1), adapt=True)
        real = batches.draw("real_batch", iteration, 4).double()
        leaf = points.clone().requires_grad_()
        loss = torch.zeros((), dtype=torch.float64)
        for c in range(3):
            gap = feature(real[c]).mean(0) - feature(leaf[c * ppc : (c + 1) * ppc]).mean(0)
            loss = loss + (gap**2).sum()
        velocity = 0.5 * velocity + torch.autograd.grad(loss, leaf)[0]
        points = points - 2.0 * velocity
        moved = (points - snapshots[0].clouds.points).norm()
        found = snapshots[iteration].clouds.points.double()
        assert float(moved) > 1e-4
        assert float((found - points).norm() / moved) < 0.03


@pytest.mark.parametrize("layer", ["embedding", "global"])
@pytest.mark.parametrize("ppc", [1, 2])
def test_losses_and_gradient_match_the_oracle_in_float64(layer, ppc, make_task):
    cls = CATALOGUE.methods.load("dm")
    method, task = cls(cls.Params(layer=layer)), make_task(ppc=ppc)
    network = task.network(task.streams.stream("network", iteration=1))
    oracle = PlainPointNet(network)
    clouds = task.train.points.double().view(8, 3, 16, 3).transpose(0, 1)
    network.double().requires_grad_(False)
    adapt_batch_norm(network, clouds[:, :3].flatten(0, 1))
    oracle.embed(clouds[:, :3].flatten(0, 1), adapt=True)
    real, synthetic = clouds[:, :4], clouds[:, 4 : 4 + ppc]
    losses, gradient = match_classes(method.feature(network), method.losses, real, synthetic)

    leaf = synthetic.clone().requires_grad_()
    expected = []
    for c in range(3):
        means = []
        for group in (real[c], leaf[c]):
            values = oracle.embed(group) if layer == "embedding" else oracle.point_features(group).amax(1)
            means.append(sum(values) / len(values))
        expected.append(sum((a - b) ** 2 for a, b in zip(*means, strict=True)))
    total = torch.stack(expected)
    torch.testing.assert_close(losses, total.detach(), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(gradient, torch.autograd.grad(total.sum(), leaf)[0], rtol=1e-7, atol=1e-11)


def test_a_relative_overrides_what_is_matched_and_how(make_task):
    """The clouds themselves as features and the gap of their means: the step is known in closed form."""
    dm = CATALOGUE.methods.load("dm")

    class Raw(dm):
        def feature(self, network):  # noqa: ARG002
            return lambda clouds: clouds.flatten(1)

        def losses(self, real: Tensor, synthetic: Tensor) -> Tensor:
            return (real.mean(1) - synthetic.mean(1)).sum(1)

    task = make_task(ppc=2, snapshots=(0, 1))
    start, end = Raw(dm.Params(lr=0.3)).distill(task)
    torch.testing.assert_close(end.clouds.points, start.clouds.points + 0.3 / 2)


def test_relatives_have_no_parameter_that_only_dm_knows():
    methods = CATALOGUE.methods
    own = {name: set(methods.load(name).Params.model_fields) for name in ("dm", "m3d", "datadam")}
    shared = {"init", "lr", "momentum", "real_batch", "bn_batch", "bn_momentum"}
    assert own["dm"] == shared | {"layer"}
    assert own["m3d"] == shared | {"kernel", "bandwidth"}
    assert own["datadam"] == shared | {"power", "sort", "lambda_output"}
