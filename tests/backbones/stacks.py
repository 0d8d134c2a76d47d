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


def assert_each_is_as_alone(networks: Sequence[Backbone], xyz: Tensor, shared: bool = False) -> None:
    """Logits, gradients by points and by parameters, and statistics, in float64 and with dropout.

    xyz: clouds of each network, (S, B, N, 3); its own, or with `shared` the first network's for all, so that
    their geometry is worked out once.
    """
    together = stack(networks).train(networks[0].training)
    set_dropout(together, [generator(70 + number) for number in range(len(networks))])
    first = xyz[:1].detach()
    xyz = (first.expand_as(xyz) if shared else xyz).detach().clone().requires_grad_()
    logits = together(xyz, *together.geometry(first if shared else xyz))
    assert logits.shape[:2] == xyz.shape[:2]
    sum(loss(one) for one in logits).backward()
    for number, network in enumerate(networks):
        set_dropout(network, [generator(70 + number)])
        one = xyz[number].detach().clone().requires_grad_()
        alone = network(one)
        loss(alone).backward()
        close(logits[number], alone)
        close(xyz.grad[number], one.grad)
        for (name, ours), theirs in zip(together.named_parameters(), network.parameters(), strict=True):
            assert (ours.grad is None) == (theirs.grad is None), name
            if theirs.grad is not None:
                close(ours.grad[number], theirs.grad)
        for ours, theirs in zip(together.buffers(), network.buffers(), strict=True):
            close(ours[number], theirs)
