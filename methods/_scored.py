"""Training clouds chosen by a score that training gives each of them: what EL2N and forgetting share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import ClassVar, Literal, TypeVar

import torch
from torch import Tensor

from pcbench.api import Method, MethodParams, PointClouds, Setting, Snapshot, Streams, Task, param
from pcbench.ops.batches import ClassIndex

from ._training import Seen, logits_of, train

WHOLE = "as the protocols train on the whole split"


class ScoredParams(MethodParams):
    """The parameters of them all."""

    keep: Literal["hard", "easy"] = param(
        "hard",
        "which clouds of a class: those of the highest scores, or of the lowest",
        source="paper",
    )
    networks: int = param(10, "networks that scores are averaged over", unit="networks", source="paper", ge=1)
    epochs: int = param(20, "epochs that each is trained", unit="epochs", source="paper", ge=1)
    lr: float = param(0.01, "learning rate of the networks", source=WHOLE, gt=0)
    batch: int = param(32, "clouds per step of a network", unit="clouds", source=WHOLE, ge=1)


P = TypeVar("P", bound=ScoredParams)
OF_TRAINING = ("networks", "epochs", "lr", "batch")


class Scored(Method[P]):
    """A coreset of the clouds of every class that are the hardest to learn, or the easiest."""

    settings: ClassVar[dict[str, Setting]] = {
        "paper": Setting("paper"),
        "easy": Setting("Sorscher et al. 2022: where few are kept, the easy ones", {"keep": "easy"}),
    }

    @abstractmethod
    def watch(self, clouds: PointClouds) -> tuple[Seen, Callable[[Tensor], Tensor]]:
        """What looks on while one network is trained, and the scores (B,) that follow from what it saw.

        The second is given the logits (B, K) of the trained network.
        """

    def distill(self, task: Task) -> Iterator[Snapshot]:
        index = ClassIndex(task.train)
        index.require(task.ppc, "ppc")
        scores = self.scores(task)
        if self.params.keep == "hard":
            scores = -scores
        order = torch.randperm(len(scores), generator=task.streams.stream("ties"))
        chosen = least(scores.cpu(), order, index.table(), task.ppc)
        yield Snapshot(0, task.train.select(chosen.flatten().to(task.train.labels.device)))

    def scores(self, task: Task) -> Tensor:
        """Of every training cloud, the mean over the networks, (B,); trained or from the cache."""
        p = self.params

        def make(streams: Streams, report: Callable[[int, int], None]) -> dict[str, Tensor]:
            total = torch.zeros(len(task.train), device=task.device)
            for number in range(p.networks):
                own = streams.within(network=number)
                network = task.network(own.stream("network"))
                seen, score = self.watch(task.train)
                for epoch in train(network, task.train, p.epochs, p.lr, p.batch, own, seen):
                    report(number * p.epochs + epoch, p.networks * p.epochs)
                total += score(logits_of(network, task.train.points))
            return {"scores": total / p.networks}

        return task.cached({name: getattr(p, name) for name in OF_TRAINING}, make)["scores"]


def least(scores: Tensor, order: Tensor, table: Tensor, per_class: int) -> Tensor:
    """The clouds of the least scores in every class -> indices (K, per_class) int64, the least first.

    scores: (B,). order: (B,), a permutation: of equal clouds, that which stands first in it. table: as of
    `ClassIndex.table`.
    """
    ranked = order[scores[order].argsort(stable=True)]
    rank = torch.empty_like(ranked)
    rank[ranked] = torch.arange(len(ranked))
    places = rank[table].masked_fill(table < 0, len(ranked)).argsort(1)[:, :per_class]
    return table.gather(1, places)
