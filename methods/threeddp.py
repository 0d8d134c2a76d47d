"""Learnable shape morphing: a slot keeps four coarse clouds and the weights of their mixtures."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from pcbench.api import Backbone, Iteration, Method, MethodParams, Setting, Snapshot, Stored, Task, param
from pcbench.ops.batches import ClassIndex, RealBatches
from pcbench.ops.expansions import morph
from pcbench.ops.layers import adapt_batch_norm
from pcbench.ops.matching import by_class, mmd, sorted_features
from pcbench.ops.neighbours import farthest_point_sample, gather_points, nearest

CODE = "authors' code, yimjae0/3DDP b7d8dde"


class ThreeDDP(Method["ThreeDDP.Params"]):
    """Parameterised distillation by learnable shape morphing, 3DDP (Yim et al., ICLR 2026)."""

    name = "3ddp"

    class Params(MethodParams):
        anchors: int = param(4, "M, clouds that a slot keeps", unit="clouds", source=CODE, ge=2)
        morphs: int = param(
            4, "L, mixtures of a slot's anchors", unit="clouds", source=CODE + ": 16 on ModelNet10", ge=1
        )
        real_batch: int = param(8, "real clouds per class and iteration", unit="clouds", source=CODE, ge=1)
        bn_batch: int = param(
            8, "real clouds per class that set batch norm", unit="clouds", source=CODE, ge=1
        )
        bn_momentum: float = param(0.1, "share of that batch in the statistics", source=CODE, gt=0, le=1)
        lr: float = param(100.0, "learning rate of the anchors' points", source=CODE, gt=0)
        lr_weights: float = param(10.0, "learning rate of the weights", source=CODE, gt=0)
        momentum: float = param(0.5, "momentum of both", source=CODE, ge=0, lt=1)
        scale: float = param(0.08, "weight of a class's loss", source=CODE + ": 0.8 / 10", gt=0)
        sharpness: float = param(
            1000.0, "how much a part counts less that is less even than its cloud", source=CODE, ge=0
        )
        neighbours: int = param(16, "nearest points, itself included, that tell evenness", source=CODE, ge=2)

    settings: ClassVar[dict[str, Setting]] = {
        "modelnet10": Setting(CODE + ", on ModelNet10", {"morphs": 16}),
    }

    def distill(self, task: Task) -> Iterator[Snapshot]:
        p = self.params
        size = self.anchor_points(task.train.points_per_cloud)
        start = self.start(task, size)  # (S, M, n, 3)
        anchors = start.requires_grad_()
        shape = len(anchors), p.morphs, p.anchors
        noise = torch.randn(shape, dtype=torch.float64, generator=task.streams.stream("weights"))
        weights = (noise[..., :-1] - noise[..., -1:]).to(anchors).requires_grad_()  # (S, L, M - 1)
        groups: list[dict[str, Any]] = [
            {"params": [anchors], "lr": p.lr},
            {"params": [weights], "lr": p.lr_weights},
        ]
        optimiser = torch.optim.SGD(groups, momentum=p.momentum)
        batches = RealBatches(task.train, task.streams)

        def stored() -> Stored:
            return Stored("morph", {"anchors": anchors, "weights": weights})

        def update(iteration: Iteration) -> None:
            network = iteration.network.requires_grad_(False)
            bn_real = batches.draw("bn_batch", iteration.number, p.bn_batch).flatten(0, 1)
            adapt_batch_norm(network, bn_real, p.bn_momentum, network.observe)
            parts, shares = self.parts(batches.draw("real_batch", iteration.number, p.real_batch), size)
            slots = morph({"anchors": anchors, "weights": weights})  # (S, C, n, 3)
            clouds = slots.unflatten(0, (parts.shape[1], -1)).flatten(1, 2)  # by class
            losses = self.losses(network, parts, shares, clouds)
            optimiser.zero_grad()
            losses.sum().backward()
            optimiser.step()
            task.log(loss=losses.detach().sum())

        yield from task.learn(update, optimiser, stored)

    def anchor_points(self, points: int) -> int:
        """n: what is left for each anchor of the bytes of a cloud of N points, once the weights have theirs.

        The weights of L mixtures take 4 L (M − 1) bytes, as many as L (M − 1) / 3 points, rounded up.
        """
        p = self.params
        return (points - math.ceil(p.morphs * (p.anchors - 1) / 3)) // p.anchors

    def start(self, task: Task, size: int) -> Tensor:
        """M training clouds of its class for every slot, of n points, matched to the first: (S, M, n, 3).

        The first of a slot is the one that the run's draw picks, the others are drawn for each slot.
        """
        train, index = task.train, ClassIndex(task.train)
        drawn = [
            index.draw(self.params.anchors - 1, task.streams.stream("anchors", slot=slot), "anchors")
            for slot in range(task.ppc)
        ]
        others = torch.stack(drawn, 1).flatten(0, 1)  # (S, M - 1), by class, then by slot
        first = task.initial_clouds().points.unsqueeze(1)
        clouds = torch.cat([first, train.points[others.to(first.device)]], 1)  # (S, M, N, 3)
        far = farthest_point_sample(clouds.flatten(0, 1), size)
        few = gather_points(clouds.flatten(0, 1), far).unflatten(0, clouds.shape[:2])
        return matched(few)

    def parts(self, real: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """Real clouds (K, B, N, 3) as M parts of n points, (M, K, B, n, 3), and what each counts, (M, K).

        A part is the n points that farthest point sampling takes of what the parts before it left. Part s of
        a class counts p_s = exp(−γ (u_s − u)²) / Σ p: u is how uneven the distances of neighbours are, of
        the part and of the whole.
        """
        p = self.params
        classes, count = real.shape[:2]
        rest = real.flatten(0, 1)
        whole = self.unevenness(rest).unflatten(0, (classes, count)).mean(1)
        parts, closeness = [], []
        for _ in range(p.anchors):
            index = farthest_point_sample(rest, size)
            part = gather_points(rest, index)
            left = torch.ones(rest.shape[:2], dtype=torch.bool, device=rest.device).scatter_(1, index, False)
            rest = rest[left].unflatten(0, (len(rest), -1))
            uneven = self.unevenness(part).unflatten(0, (classes, count)).mean(1)
            parts.append(part.unflatten(0, (classes, count)))
            closeness.append(torch.exp(-p.sharpness * (uneven - whole).square()))
        shares = torch.stack(closeness)
        return torch.stack(parts), shares / shares.sum(0).clamp_min(torch.finfo(shares.dtype).tiny)

    def unevenness(self, clouds: Tensor) -> Tensor:
        """The mean over points of σ / μ of the distances to their nearest points, (B, N, 3) -> (B,)."""
        index = nearest(clouds, clouds, min(self.params.neighbours, clouds.shape[1]))
        distances = (gather_points(clouds, index) - clouds.unsqueeze(2)).norm(dim=-1)
        ratios: Tensor = distances.std(2) / distances.mean(2).clamp_min(1e-12)
        return ratios.mean(1)

    def losses(self, network: Backbone, parts: Tensor, shares: Tensor, clouds: Tensor) -> Tensor:
        """0.08 Σ_s p_s · MMD(part s of the real clouds, all clouds of the class's slots), (K,).

        parts: (M, K, B, n, 3). shares: (M, K). clouds: (K, C, n, 3), by which the gradient is. Features are
        those before pooling, their absolute values sorted along the points.
        """
        with torch.no_grad():
            real = by_class(network.point_features, parts.flatten(0, 1)).abs()
            real = sorted_features(real, descending=False).flatten(2)  # (M · K, B, D · n)
        synthetic = sorted_features(by_class(network.point_features, clouds).abs(), descending=False).flatten(
            2
        )
        distances = [
            share * mmd(part, synthetic)
            for part, share in zip(real.unflatten(0, parts.shape[:2]), shares, strict=True)
        ]
        return self.params.scale * torch.stack(distances).sum(0)


def matched(clouds: Tensor) -> Tensor:
    """The points of every cloud of a slot in the order in which they are nearest to those of the first.

    The order with the smallest sum of distances, by linear assignment: (S, M, n, 3) -> (S, M, n, 3).
    """
    result = clouds.clone()
    for slot in range(clouds.shape[0]):
        for other in range(1, clouds.shape[1]):
            cost = torch.cdist(clouds[slot, 0].double(), clouds[slot, other].double()).cpu().numpy()
            _, order = linear_sum_assignment(cost)
            result[slot, other] = clouds[slot, other, torch.from_numpy(order).to(clouds.device)]
    return result
