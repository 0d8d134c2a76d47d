"""Trajectory matching: training on the synthetic clouds leads where training on real clouds led."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, ClassVar, Self

import torch
from pydantic import model_validator
from torch import Tensor

from pcbench.api import Iteration, Method, MethodParams, Setting, Snapshot, Streams, Task, param
from pcbench.ops.batches import RealBatches
from pcbench.ops.coreset import Initialisation
from pcbench.ops.layers import adapt_batch_norm
from pcbench.ops.trajectories import FlatNetwork, match_trajectory, shuffled_batches, train_experts

CODE = "MTT's public code"
OF_EXPERTS = ("experts", "expert_epochs", "expert_lr", "expert_batch", "bn_batch")


class MTT(Method["MTT.Params"]):
    """Matching training trajectories of experts (Cazenavette, Wang, Torralba, Efros, Zhu 2022).

    Batch norm, whose trajectory depends on the batch, is replaced by an affine map: an expert's norms are set
    once, before it is trained, from one batch of real clouds, and their statistics stay as they are, for the
    expert and for the students that start from it. All parameters are trained, the norms' own among them;
    dropout is off. Experts hold experts · (expert_epochs + 1) · P float32 values: with PointNet (preset
    `paper`, P = 1.6 million) 6.4 MB a checkpoint, 1.2 GB by default. A step of the student keeps about 5 MB a
    cloud of 1024 points: where there are many clouds, set batch_syn.

    It did not beat random clouds on ModelNet10 (protocol `lite`, two experts, PPC 1 and 3). A PointNet's way
    through an epoch hardly repeats: there, ten steps on 300 real clouds went along an expert's with a cosine
    of 0.1 to 0.7 and left a loss of 0.6 or more (with norms in training mode: cosines of 0.1 to 0.4). Clouds
    matched at PPC 3 lowered the loss from the fourth checkpoint on (1.4 to 0.9), where students of few clouds
    overshoot, and raised it from the first (0.9 to 1.0), where the classes are learnt.
    """

    name = "mtt"

    class Params(MethodParams):
        init: Initialisation = param("random", "what the synthetic clouds start from", source="paper")
        experts: int = param(
            20, "networks trained on the training split", unit="networks", source="proposed", ge=1
        )
        expert_epochs: int = param(
            8, "epochs of every expert", unit="epochs", source=f"proposed; 50 in {CODE}", ge=1
        )
        expert_lr: float = param(
            5e-4,
            "learning rate of the experts, without momentum",
            source="proposed; at 3e-3 and batches of 256, networks without batch statistics diverge",
            gt=0,
        )
        expert_batch: int = param(256, "clouds per step of an expert", unit="clouds", source=CODE, ge=1)
        bn_batch: int = param(
            8, "real clouds per class that set an expert's norms", unit="clouds", source="proposed", ge=1
        )
        max_start_epoch: int = param(
            5,
            "latest epoch a student starts from",
            unit="epochs",
            source="proposed",
            ge=0,
        )
        expert_steps: int = param(
            1,
            "epochs from the student's start to its target",
            unit="epochs",
            source=f"proposed; 2 or 3 in {CODE}, which a student of few steps at a small rate does not reach",
            ge=1,
        )
        syn_steps: int = param(
            10, "steps of the student", unit="steps", source=f"proposed; 20 in {CODE}", ge=1
        )
        batch_syn: int | None = param(
            None, "synthetic clouds per step of the student; none: all", unit="clouds", source=CODE, ge=1
        )
        student_lr: float = param(
            2e-4,
            "the student's learning rate at the start",
            source="proposed; at 1e-3, students of few clouds diverge within ten steps",
            gt=0,
        )
        lr_lr: float = param(
            0.1,
            "learning rate of the logarithm of the student's learning rate, whose gradient is cut at ±1; "
            "0: that stays as it is",
            source=f"{CODE}: 1e-5 of the rate itself, the same where that is 0.01; the cut is proposed",
            ge=0,
        )
        lr: float = param(
            2e-4,
            "learning rate of the points; their gradient is taken times the number of points in the set",
            source="proposed; ten times less moves hardly a point, with ten times more students diverge",
            gt=0,
        )
        longest: float = param(
            10.0,
            "largest gradient of a cloud, the root mean square over its points; a longer one is shortened",
            source="proposed; without it one step throws clouds far out, and students diverge from there",
            gt=0,
        )
        momentum: float = param(
            0.5, "momentum of the points and of the student's learning rate", source=CODE, ge=0, lt=1
        )

        @model_validator(mode="after")
        def _targets_exist(self) -> Self:
            latest = self.max_start_epoch + self.expert_steps
            if latest > self.expert_epochs:
                raise ValueError(
                    f"max_start_epoch + expert_steps is {latest}, beyond the last of expert_epochs = "
                    f"{self.expert_epochs}: raise expert_epochs or lower one of the others"
                )
            return self

    settings: ClassVar[dict[str, Setting]] = {
        "tuned": Setting("candidates on a validation part of ModelNet10"),
        "paper": Setting("SADM's paper, version 3, appendix", {"lr": 1e-4}),
    }

    def distill(self, task: Task) -> Iterator[Snapshot]:
        p = self.params
        start = task.initial_clouds(p.init)
        points = start.points.clone().requires_grad_()
        log_lr = points.new_tensor(p.student_lr).log().requires_grad_()
        groups: list[dict[str, Any]] = [{"params": [points], "lr": p.lr}, {"params": [log_lr], "lr": p.lr_lr}]
        optimiser = torch.optim.SGD(groups, momentum=p.momentum)

        def update(iteration: Iteration) -> None:
            stream = task.streams.stream("trajectory", iteration=iteration.number)
            expert = int(torch.randint(p.experts, (), generator=stream))
            epoch = int(torch.randint(p.max_start_epoch + 1, (), generator=stream))
            batches = shuffled_batches(len(points), p.batch_syn or len(points), p.syn_steps, stream)
            way = experts["parameters"][expert]
            lr = log_lr.detach().exp()
            _, by_points, by_lr = match_trajectory(
                FlatNetwork(network, experts["buffers"][expert]),
                way[epoch],
                way[epoch + p.expert_steps],
                points.detach(),
                start.labels,
                lr,
                [batch.to(task.device) for batch in batches],
            )
            by_points *= points.numel() / 3
            size = by_points.square().sum(2).mean(1).sqrt()
            points.grad = by_points * (p.longest / size.clamp_min(p.longest)).view(-1, 1, 1)
            log_lr.grad = (by_lr * lr).clamp(-1, 1)
            optimiser.step()

        learning = task.learn(update, optimiser, lambda: replace(start, points=points))
        if 0 in task.snapshots:
            yield next(learning)  # experts are trained after it: their time is not the initialisation's
        experts = self.experts(task)
        network = task.network(task.streams.stream("network"))
        yield from learning

    def experts(self, task: Task) -> dict[str, Tensor]:
        """The experts' `parameters` (E, epochs + 1, P) and `buffers` (E, Q), trained or from the cache."""
        p = self.params

        def make(streams: Streams, report: Callable[[int, int], None]) -> dict[str, Tensor]:
            networks, orders = [], []
            for expert in range(p.experts):
                own = streams.within(expert=expert)
                network = task.network(own.stream("network"))
                real = RealBatches(task.train, own).draw("bn_batch", 0, p.bn_batch).flatten(0, 1)
                adapt_batch_norm(network, real, momentum=1.0)
                networks.append(network)
                orders.append(own.stream("order"))
            parameters, buffers = train_experts(
                networks, task.train, orders, p.expert_epochs, p.expert_lr, p.expert_batch, report
            )
            return {"parameters": parameters, "buffers": buffers}

        return task.cached({name: getattr(p, name) for name in OF_EXPERTS}, make)
