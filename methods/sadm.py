"""Semantically aligned distribution matching, with rotations estimated alongside."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import model_validator
from torch import Tensor

from pcbench.api import Backbone, Iteration, Method, MethodParams, PointClouds, Setting, Snapshot, Task, param
from pcbench.ops.batches import RealBatches
from pcbench.ops.coreset import Initialisation
from pcbench.ops.layers import adapt_batch_norm
from pcbench.ops.matching import Kernel, match_classes, mean_distance, mmd, sorted_features
from pcbench.ops.rotation import rotate, wrap

CODE, PAPER, OLD_CODE = "authors' code, May 2026", "paper", "authors' code, Feb 2026"


class SADM(Method["SADM.Params"]):
    """Semantically aligned distribution matching (Yim, Kim, Sim 2025), Eq. 5-11."""

    name = "sadm"

    class Params(MethodParams):
        rotate: bool = param(True, "learn three angles per synthetic cloud", source=PAPER + ", Table 6")
        optimise_points: bool = param(
            True, "learn the points; if not, only angles", source=PAPER + ", Table 6"
        )
        align: bool = param(
            True,
            "sort the features; if not, Eq. 3 on features in the points' order",
            source=PAPER + ", Table 5",
        )
        init: Initialisation = param("random", "what the synthetic clouds start from", source=PAPER)
        loss: Literal["mmd", "mean"] = param(
            "mmd", "Eq. 10, or the distance of mean sorted features in place of L_alpha", source=CODE
        )
        lambda_alpha: float = param(0.002, "weight of L_alpha (loss=mmd)", source=CODE, ge=0)
        lambda_mean: float = param(0.2, "weight of the mean distance (loss=mean)", source=OLD_CODE, ge=0)
        lambda_beta: float = param(0.001, "weight of L_beta, on the largest features", source=CODE, ge=0)
        topk: int = param(1, "largest features per channel in L_beta", source=CODE, ge=1)
        kernel: Kernel = param("gaussian", "kernel of the discrepancy", source=PAPER + ", Eq. 4")
        bandwidth: float | None = param(
            None,
            "one fixed sigma of Eq. 4; none: five, from the batch",
            unit="squared feature",
            source=CODE,
            gt=0,
        )
        real_batch: int = param(8, "real clouds per class and iteration", unit="clouds", source=PAPER, ge=1)
        bn_batch: int = param(
            8, "real clouds per class that set batch norm", unit="clouds", source=CODE, ge=1
        )
        bn_momentum: float = param(0.1, "share of that batch in the statistics", source=CODE, gt=0, le=1)
        lr: float = param(10.0, "learning rate of the points", source=CODE, gt=0)
        momentum: float = param(0.5, "momentum of points and angles", source=CODE, ge=0, lt=1)
        lr_y: float = param(0.01, "learning rate of the angle about the up axis", source=CODE, gt=0)
        lr_xz: float = param(0.001, "learning rate of the other two angles", source=CODE, gt=0)
        angle_step: int = param(
            100, "iterations between the angles' decays", unit="iterations", source=CODE, ge=1
        )
        angle_gamma: float = param(0.5, "factor of each decay", source=CODE, gt=0, le=1)

        @model_validator(mode="after")
        def _learns_something(self) -> Self:
            if not (self.rotate or self.optimise_points):
                raise ValueError("rotate and optimise_points are both off: that is the method 'random'")
            return self

    settings: ClassVar[dict[str, Setting]] = {
        "code": Setting(CODE),
        "paper": Setting("paper, version 3, appendix", {"lr": 0.01, "lr_y": 5.0, "lr_xz": 0.5}),
    }

    def distill(self, task: Task) -> Iterator[Snapshot]:
        p = self.params
        start = task.initial_clouds(p.init)
        points = start.points.clone().requires_grad_(p.optimise_points)
        x, y, z = angles = [points.new_zeros(len(points)).requires_grad_(p.rotate) for _ in "xyz"]
        groups: list[dict[str, Any]] = [{"params": [points], "lr": p.lr}, {"params": [x, z]}, {"params": [y]}]
        optimiser = torch.optim.SGD(groups, momentum=p.momentum)
        batches = RealBatches(task.train, task.streams)

        def update(iteration: Iteration) -> None:
            network = iteration.network.requires_grad_(False)
            bn_real = batches.draw("bn_batch", iteration.number, p.bn_batch).flatten(0, 1)
            real = batches.draw("real_batch", iteration.number, p.real_batch)
            self.backward(partial(iteration.recorded, self.step, network, bn_real, real), points, angles)
            decay = p.angle_gamma ** ((iteration.number - 1) // p.angle_step)
            for group, lr in zip(optimiser.param_groups[1:], (p.lr_xz, p.lr_y), strict=True):
                group["lr"] = lr * decay
            optimiser.step()
            for angle in angles:
                angle.data = wrap(angle.data)

        def rotated() -> PointClouds:
            return replace(start, points=rotate(points, torch.stack(angles, 1)))

        yield from task.learn(update, optimiser, rotated)

    def step(self, network: Backbone, bn_real: Tensor, real: Tensor, clouds: Tensor) -> tuple[Tensor, Tensor]:
        """`match`, after real clouds bn_real (B, N, 3) have set the network's batch norm."""
        self.adapt(network, bn_real)
        return self.match(network, real, clouds)

    def adapt(self, network: Backbone, real: Tensor) -> None:
        """Let real clouds (B, N, 3) set the network's batch norm, which is frozen afterwards."""
        adapt_batch_norm(network, real, self.params.bn_momentum, network.observe)

    def match(self, network: Backbone, real: Tensor, clouds: Tensor) -> tuple[Tensor, Tensor]:
        """The classes' losses, (K,), and the gradient of their sum by synthetic clouds (K · m, N, 3).

        real: (K, n, N, 3). network: frozen, its batch norm adapted.
        """
        synthetic = clouds.unflatten(0, (len(real), -1))
        losses, gradient = match_classes(network.point_features, self.losses, real, synthetic)
        return losses, gradient.flatten(0, 1)

    def backward(
        self, match: Callable[[Tensor], Sequence[Tensor]], points: Tensor, angles: Sequence[Tensor]
    ) -> Tensor:
        """Set the gradients of points (K · m, N, 3) and of three angles (K · m,); the classes' losses, (K,).

        match: losses and gradient of the turned clouds, as `match` gives them.
        """
        points.grad = None
        for angle in angles:
            angle.grad = None
        clouds = rotate(points, torch.stack(tuple(angles), 1))
        losses, gradient = match(clouds.detach())
        clouds.backward(gradient)
        return losses

    def losses(self, real: Tensor, synthetic: Tensor) -> Tensor:
        """The loss of every class from features (K, n, N, D) and (K, m, N, D) -> (K,).

        loss=mmd: Eq. 10 times m, as in the authors' code. loss=mean: the squared distance of the mean sorted
        features, averaged over the ranks, in L_alpha's place. Without alignment there is no L_beta.
        """
        p = self.params
        if p.align:
            real, synthetic = (sorted_features(x, descending=False) for x in (real, synthetic))
        else:
            real, synthetic = real.mT, synthetic.mT
        clouds, points = synthetic.shape[1], synthetic.shape[3]
        if p.loss == "mmd":
            alpha, beta = p.lambda_alpha * clouds, p.lambda_beta * clouds
            value = alpha * mmd(real.flatten(2), synthetic.flatten(2), p.kernel, p.bandwidth)
        else:
            alpha, beta = p.lambda_mean / points, p.lambda_beta
            value = alpha * mean_distance(real.flatten(2), synthetic.flatten(2))
        if p.align:
            real_top, synthetic_top = (x[..., -p.topk :].flatten(2) for x in (real, synthetic))
            value = value + beta * mmd(real_top, synthetic_top, p.kernel, p.bandwidth)
        return value
