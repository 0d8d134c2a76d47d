"""Trajectories of network weights: experts trained on real clouds, and how near a student gets to one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from pcbench.clouds import PointClouds
from pcbench.errors import UsageError
from pcbench.ops.layers import Layer, stack


def flatten(values: Iterable[Tensor], stacked: bool = False) -> Tensor:
    """All values in one row, (P,), or in one row a stacked network, (S, P)."""
    rows = [value.detach().reshape(len(value) if stacked else 1, -1) for value in values]
    return torch.cat(rows, 1) if stacked else torch.cat(rows, 1)[0]


def statistics(network: nn.Module) -> dict[str, Tensor]:
    """The buffers of a network's layers by name: what `stack` stacks."""
    return {
        f"{place}.{name}": buffer
        for place, layer in network.named_modules()
        if isinstance(layer, Layer)
        for name, buffer in layer.named_buffers(recurse=False)
    }


def train_experts(
    networks: Sequence[nn.Module],
    clouds: PointClouds,
    orders: Sequence[torch.Generator],
    epochs: int,
    lr: float,
    batch: int,
    report: Callable[[int, int], None],
) -> tuple[Tensor, Tensor]:
    """Train E networks together by plain SGD: their parameters after every epoch, and their statistics.

    The first result is (E, epochs + 1, P), epoch 0 being the start, the second (E, Q), both in the order of
    `flatten`. Networks stay in evaluation mode: norms keep the statistics that they have, dropout is off.
    orders: one generator a network, which shuffles its clouds. report: gets the epochs done and in all.
    Raises UsageError when a network diverges, or when an epoch leaves it where it was.
    """
    network = stack(networks).eval()
    weights = list(network.parameters())
    start = flatten(weights, stacked=True)
    parameters = start.new_empty(len(start), epochs + 1, start.shape[1])
    parameters[:, 0] = start
    optimiser = torch.optim.SGD(weights, lr, foreach=True)
    for epoch in range(1, epochs + 1):
        order = torch.stack([torch.randperm(len(clouds), generator=g) for g in orders])
        for index in order.to(clouds.points.device).split(batch, dim=1):
            optimiser.zero_grad(set_to_none=True)
            logits, labels = network(clouds.points[index]), clouds.labels[index]
            loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum")
            (loss / index.shape[1]).backward()
            optimiser.step()
        parameters[:, epoch] = flatten(weights, stacked=True)
        if not parameters[:, epoch].isfinite().all():
            raise UsageError(
                f"an expert diverged in epoch {epoch}: choose a rate lower than {lr:g} for experts"
            )
        if (parameters[:, epoch] == parameters[:, epoch - 1]).all(1).any():
            raise UsageError(f"epoch {epoch} moved an expert nowhere: choose a rate above {lr:g} for experts")
        report(epoch, epochs)
    none = start.new_empty(len(start), 0)
    return parameters, flatten([none, *statistics(network).values()], stacked=True)


def shuffled_batches(count: int, size: int, batches: int, generator: torch.Generator) -> list[Tensor]:
    """Indices of consecutive batches: [0, count) is shuffled, cut into `size`, and shuffled again when used.

    The last batch before a new shuffle may be smaller.
    """
    order: list[Tensor] = []
    while len(order) < batches:
        order += torch.randperm(count, generator=generator).split(size)
    return order[:batches]


class FlatNetwork:
    """A frozen network as a function of one row of parameters (P,) and clouds (B, N, 3).

    buffers: (Q,), the layers' statistics as `flatten` gives them. The network itself keeps its own values; it
    is put into evaluation mode.
    """

    def __init__(self, network: nn.Module, buffers: Tensor) -> None:
        self.network = network.eval().requires_grad_(False)
        self.like = {name: value.shape for name, value in network.named_parameters()}
        like = {name: value.shape for name, value in statistics(network).items()}
        self.buffers = _by_name(buffers, like)

    def loss(self, parameters: Tensor, clouds: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy, ()."""
        values = _by_name(parameters, self.like) | self.buffers
        return F.cross_entropy(functional_call(self.network, values, (clouds,)), labels)


def _by_name(row: Tensor, like: dict[str, torch.Size]) -> dict[str, Tensor]:
    """The inverse of `flatten` for one network: views of the row."""
    parts = row.split([shape.numel() for shape in like.values()]) if like else ()
    return {name: part.view(shape) for (name, shape), part in zip(like.items(), parts, strict=True)}


def match_trajectory(
    network: FlatNetwork,
    start: Tensor,
    target: Tensor,
    clouds: Tensor,
    labels: Tensor,
    lr: Tensor,
    batches: Sequence[Tensor],
) -> tuple[Tensor, Tensor, Tensor]:
    """How far a student trained on `clouds` stays from the target: ‖θ̂ − θ*‖² / ‖θ − θ*‖².

    Eq. 2 of Cazenavette et al. 2022. θ = start and θ* = target: (P,). θ̂ is what one step of plain SGD at
    learning rate lr () on every batch makes of θ; batches: indices of clouds (B, N, 3), each at most once a
    batch. Gives the loss (), its gradient by the clouds (B, N, 3) and by lr (). Raises UsageError where that
    gradient is not finite.

    The gradient is exact, second derivatives included, and taken backwards a step at a time. With
    λ = ∂loss/∂θ after a step θ − lr · g, the step adds −λ·g to the gradient by lr, −lr · ∂(λ·g)/∂x to that by
    its clouds x, and −lr · ∂(λ·g)/∂θ to λ. Kept for each step are P parameters; the graph, built anew for the
    way back, is that of one step alone.
    """
    weights = [start]
    for batch in batches:
        weight = weights[-1].detach().requires_grad_()
        gradient = torch.autograd.grad(network.loss(weight, clouds[batch], labels[batch]), weight)[0]
        weights.append(weights[-1] - lr * gradient)
    distance = (start - target).square().sum()
    gap = weights.pop() - target
    loss = gap.square().sum() / distance
    by_weight = 2 * gap / distance
    by_clouds, by_lr = torch.zeros_like(clouds), torch.zeros_like(lr)
    for batch, before in zip(reversed(batches), reversed(weights), strict=True):
        x, weight = clouds[batch].requires_grad_(), before.detach().requires_grad_()
        step_loss = network.loss(weight, x, labels[batch])
        gradient = torch.autograd.grad(step_loss, weight, create_graph=True)[0]
        by_x, curvature = torch.autograd.grad(gradient, (x, weight), by_weight)
        by_lr -= torch.dot(by_weight, gradient.detach())
        by_clouds[batch] -= lr * by_x
        by_weight = by_weight - lr * curvature
    if not (by_clouds.isfinite().all() and by_lr.isfinite()):
        raise UsageError(
            f"a student diverged at a learning rate of {float(lr):g}: lower that, or the points' rate"
        )
    return loss, by_clouds, by_lr
