"""Networks trained on the real clouds, for methods that look at how networks learn."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pcbench.api import Backbone, PointClouds, Streams
from pcbench.ops import batches
from pcbench.ops.batches import groups_at_once, in_chunks
from pcbench.ops.layers import set_dropout
from pcbench.ops.trajectories import flatten, statistics

MOMENTUM, WEIGHT_DECAY = 0.9, 5e-4
"""Of SGD, as the protocols train networks on the whole split."""

Seen = Callable[[Tensor, Tensor], None]
"""seen(index, logits): a batch's clouds (b,) and what the network said of them (b, K) before it learnt."""


def train(
    network: Backbone,
    clouds: PointClouds,
    epochs: int,
    lr: float,
    batch: int,
    streams: Streams,
    seen: Seen = lambda *_: None,
) -> Iterator[int]:
    """Train a network by SGD on all clouds, shuffled in every epoch; gives the number of each epoch done.

    Streams used: `order` and `dropout`. Raises ValueError where the network diverges.
    """
    network.train().requires_grad_(True)
    set_dropout(network, [streams.stream("dropout")])
    order = streams.stream("order")
    parameters = list(network.parameters())
    optimiser = torch.optim.SGD(parameters, lr, MOMENTUM, weight_decay=WEIGHT_DECAY)
    for epoch in range(1, epochs + 1):
        shuffled = torch.randperm(len(clouds), generator=order).to(clouds.points.device)
        for index in shuffled.split(batch):
            logits = network(clouds.points[index])
            loss = F.cross_entropy(logits, clouds.labels[index])
            slopes = torch.autograd.grad(loss, parameters, allow_unused=True)
            for parameter, slope in zip(parameters, slopes, strict=True):
                parameter.grad = slope
            optimiser.step()
            seen(index, logits.detach())
        if not all(parameter.isfinite().all() for parameter in parameters):
            raise ValueError(f"a network diverged in epoch {epoch}: choose a rate lower than {lr:g}")
        yield epoch
    network.eval().requires_grad_(False)


def logits_of(network: Backbone, points: Tensor) -> Tensor:
    """Of clouds (B, N, 3) -> (B, K): evaluation mode, no gradient, a chunk at a time."""
    network.eval()
    size = groups_at_once(
        points.device, batches.CHUNK_POINTS // points.shape[1], batches.POINT_BYTES * points.shape[1]
    )
    with torch.no_grad():
        return torch.cat(in_chunks(lambda part: network(points[part]), len(points), size))


def row_of(network: nn.Module) -> Tensor:
    """The parameters and statistics of a network as one row, (P,)."""
    return flatten(_values(network))


def put_row(row: Tensor, network: nn.Module) -> None:
    """The inverse of `row_of`, in place."""
    values = _values(network)
    parts = row.split([value.numel() for value in values])
    for value, part in zip(values, parts, strict=True):
        value.copy_(part.view_as(value))


def _values(network: nn.Module) -> list[Tensor]:
    return [*(parameter.detach() for parameter in network.parameters()), *statistics(network).values()]
