"""What the tests of all networks ask of a stack: that each of its networks is what it is alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from pcbench.api import Backbone
from pcbench.ops.layers import set_dropout, stack


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def close(ours: Tensor, theirs: Tensor, tolerance: float = 1e-8) -> None:
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


def loss(logits: Tensor) -> Tensor:
    """The cross-entropy of logits (B, K) for the classes 0, 1, …, K - 1, 0, …"""
    return F.cross_entropy(logits, torch.arange(len(logits)) % logits.shape[1])


def assert_each_is_as_alone(
    networks: Sequence[Backbone], xyz: Tensor, classes: int, shared: bool | None = None
) -> None:
    """Logits, gradients by points and by parameters, and statistics, in float64 and with dropout.

    xyz: clouds of each network, (S, B, N, 3). shared: True takes the first network's clouds for all, so that
    their geometry is given once; False gives each its own; None has the stack work the geometry out itself.
    """
    together = stack(networks).train(networks[0].training)
    set_dropout(together, [generator(70 + number) for number in range(len(networks))])
    first = xyz[:1].detach()
    xyz = (first.expand_as(xyz) if shared else xyz).detach().clone().requires_grad_()
    geometry = () if shared is None else together.geometry(first if shared else xyz)
    logits = together(xyz, *geometry)
    assert logits.shape == (*xyz.shape[:2], classes)
    sum(loss(one) for one in logits).backward()
    for number, network in enumerate(networks):
        set_dropout(network, [generator(70 + number)])
        one = xyz[number].detach().clone().requires_grad_()
        alone = network(one)
        loss(alone).backward()
        close(logits[number], alone, 1e-9)
        close(xyz.grad[number], one.grad, 1e-9)
        for (name, ours), theirs in zip(together.named_parameters(), network.parameters(), strict=True):
            assert (ours.grad is None) == (theirs.grad is None), name
            if theirs.grad is not None:
                close(ours.grad[number], theirs.grad, 1e-9)
        for ours, theirs in zip(together.buffers(), network.buffers(), strict=True):
            close(ours[number], theirs)
