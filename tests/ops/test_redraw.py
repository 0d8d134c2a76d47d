"""A network drawn anew in place is the one that would have been built."""

from __future__ import annotations

import threading

import pytest
import torch

from pcbench.ops.redraw import FreshNetworks, Redraws
from pcbench.seeds import Streams


def stream(number: int) -> torch.Generator:
    return Streams({"test": "redraw"}).stream("network", iteration=number)


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_every_drawing_is_the_network_built_by_its_generator(pointnet, kind):
    network = pointnet.build(3, "paper", stream(0)).to(kind)
    parameters = dict(network.named_parameters())
    with Redraws(network, (stream(number) for number in range(1, 8))) as redraws:
        for number in range(1, 8):
            network.eval()
            network.classifier.weight.data.zero_()
            network.low[0][1].running_mean.add_(1)
            redraws.apply()
            expected = pointnet.build(3, "paper", stream(number)).to(kind)
            for name, value in expected.state_dict().items():
                assert torch.equal(network.state_dict()[name], value)
            assert network.training
    assert all(parameter is parameters[name] for name, parameter in network.named_parameters())


def test_a_drawing_that_fails_is_heard_of(pointnet):
    network = pointnet.build(3, "paper", stream(0))
    network.extra = torch.nn.Linear(2, 2)
    with Redraws(network, iter([stream(1)])) as redraws, pytest.raises(TypeError, match="layer 'extra'"):
        redraws.apply()


def test_fresh_networks_begin_anywhere_pass_over_iterations_and_never_go_back(pointnet):
    threads = threading.active_count()
    with FreshNetworks(lambda generator: pointnet.build(3, "paper", generator), stream, 9) as networks:
        assert threading.active_count() == threads
        first = networks.of(3)
        for iteration in (3, 4, 4, 7, 9):
            network = networks.of(iteration)
            assert network is first
            expected = pointnet.build(3, "paper", stream(iteration))
            for name, value in expected.state_dict().items():
                assert torch.equal(network.state_dict()[name], value)
        with pytest.raises(ValueError, match="the network of iteration 8 has become that of 9"):
            networks.of(8)
    assert threading.active_count() == threads
