"""Distribution matching against an oracle that recomputes whole iterations in float64."""

import pytest
import torch
from plain_pointnet import PlainPointNet

from pcbench import plugins
from pcbench.ops.batches import RealBatches


@pytest.mark.parametrize("layer", ["embedding", "global"])
@pytest.mark.parametrize("ppc", [1, 2])
def test_three_iterations_match_the_oracle(layer, ppc, make_task):
    """In float32 against float64: a ReLU or a maximum that switches for one point costs a few percent."""
    cls = plugins.methods().load("dm")
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
