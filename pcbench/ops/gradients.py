"""Distances between the weight gradients of real and synthetic clouds, for all classes of a chunk at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pcbench.ops.batches import POINT_BYTES, groups_at_once, in_chunks
from pcbench.ops.layers import stack

Metric = Literal["ours", "mse", "cos"]
CHUNK_POINTS = 1 << 17
"""Points worked on at once, a cloud counting as FEWEST_POINTS at least: about 0.7 GB kept for PointNet."""
FEWEST_POINTS = 512
CHUNK_WEIGHTS = 1 << 24
"""Weights, one copy a class, that are worked on at once: 64 MiB in float32, and as much for each gradient."""
WEIGHT_BYTES = 24
"""What a GPU is planned to need for a weight of a class: itself, two gradients, and what goes back."""


def one_minus_cosine(a: Tensor, b: Tensor, epsilon: float) -> Tensor:
    """1 - a·b / (‖a‖‖b‖ + epsilon) along the last axis, (..., F) -> (...); 1 where either is zero."""
    norms: Tensor = torch.linalg.vector_norm(a, dim=-1) * torch.linalg.vector_norm(b, dim=-1)
    return 1 - (a * b).sum(-1) / (norms + epsilon)


def gradient_distance(
    real: Sequence[Tensor], synthetic: Sequence[Tensor], metric: Metric, epsilon: float = 1e-6
) -> Tensor:
    """The distance of every class's gradients, (K,), from one tensor (K, ...) a parameter and side.

    `ours`: Σ over weights Σ over output rows of 1 - cosine; biases and norms, one number an output, do not
    count (Zhao, Mopuri, Bilen 2021). `mse`: the squared difference, summed. `cos`: 1 - cosine of all
    gradients as one vector. Rows whose norms have a product well below epsilon hardly count: their term is
    about 1 - a·b / epsilon, no cosine.
    """
    if metric == "ours":
        pairs = [(r, s) for r, s in zip(real, synthetic, strict=True) if r.dim() > 2]
        return torch.stack(
            [one_minus_cosine(r.flatten(2), s.flatten(2), epsilon).sum(1) for r, s in pairs]
        ).sum(0)
    r, s = (torch.cat([gradient.flatten(1) for gradient in side], 1) for side in (real, synthetic))
    return (r - s).square().sum(1) if metric == "mse" else one_minus_cosine(r, s, epsilon)


def differentiable_copies(network: nn.Module, count: int, metric: Metric) -> nn.Module:
    """A frozen network stacked `count` times; only what the metric compares requires a gradient."""
    copies = stack([network] * count).eval()
    for parameter in copies.parameters():
        parameter.requires_grad_(metric != "ours" or parameter.dim() > 2)
    return copies


def class_gradients(
    copies: nn.Module, clouds: Tensor, labels: Tensor, create_graph: bool = False
) -> tuple[Tensor, ...]:
    """The gradients of every class's mean cross-entropy, one (k, ...) per parameter that requires one.

    copies: one network stacked k times, so that a copy has the gradients of one class alone. clouds: (k, n,
    N, 3). labels: (k,). create_graph: so that the gradients can be differentiated by the clouds.
    """
    weights = [parameter for parameter in copies.parameters() if parameter.requires_grad]
    count = clouds.shape[1]
    logits = copies(clouds).flatten(0, 1)
    loss = F.cross_entropy(logits, labels.repeat_interleave(count), reduction="sum") / count
    return torch.autograd.grad(loss, weights, create_graph=create_graph)


def match_gradients(
    network: nn.Module, real: Tensor, synthetic: Tensor, metric: Metric = "ours", epsilon: float = 1e-6
) -> tuple[Tensor, Tensor]:
    """The distance of every class, (K,), and the gradient of their sum by the synthetic clouds, (K, m, N, 3).

    real: (K, n, N, 3), with class k's clouds at k; the distance is that of `gradient_distance` between the
    network's gradients on them and on synthetic: (K, m, N, 3). The network is taken in evaluation mode and
    left as it is. Classes do not depend on one another, and a chunk of them, bounded by CHUNK_POINTS and
    CHUNK_WEIGHTS, is worked on at a time.
    """
    points = (real.shape[1] + synthetic.shape[1]) * max(real.shape[2], FEWEST_POINTS)
    weights = sum(parameter.numel() for parameter in network.parameters())
    on_cpu = min(CHUNK_POINTS // points, CHUNK_WEIGHTS // weights)
    size = groups_at_once(real.device, on_cpu, POINT_BYTES * points + WEIGHT_BYTES * weights)
    copies: dict[int, nn.Module] = {}

    def work(part: slice) -> tuple[Tensor, Tensor]:
        label = torch.arange(part.start, part.stop, device=real.device)
        if len(label) not in copies:
            copies.clear()
            copies[len(label)] = differentiable_copies(network, len(label), metric)
        own = copies[len(label)]
        clouds = synthetic[part].detach().requires_grad_()
        target = class_gradients(own, real[part], label)
        gradient = class_gradients(own, clouds, label, create_graph=True)
        value = gradient_distance(target, gradient, metric, epsilon)
        return value.detach(), torch.autograd.grad(value.sum(), clouds)[0]

    losses, gradients = zip(*in_chunks(work, len(real), size), strict=True)
    return torch.cat(losses), torch.cat(gradients)
