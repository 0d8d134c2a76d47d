"""The coreset of the clouds that a network learns and forgets most often."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pcbench.api import PointClouds, param

from ._scored import Scored, ScoredParams
from ._training import Seen


class Forgetting(Scored["Forgetting.Params"]):
    """Training clouds by how often training forgets them (Toneva et al. 2019).

    A forgetting event of a cloud: in its batch of one epoch it was classified rightly, in that of the next
    wrongly, each time before the batch's step (their Sec. 2). A cloud that was never right has more than any
    other, as in the paper. Counts are compared within a class, so that every class has as many clouds; equal
    ones, of which there are many, are chosen among at random.
    """

    name = "forgetting"

    class Params(ScoredParams):
        networks: int = param(
            1, "networks that counts are averaged over", unit="networks", source="proposed", ge=1
        )
        epochs: int = param(200, "epochs that each is trained", unit="epochs", source="paper, CIFAR-10", ge=1)

    def watch(self, clouds: PointClouds) -> tuple[Seen, Callable[[Tensor], Tensor]]:
        right, learnt = torch.zeros(2, len(clouds), dtype=torch.bool, device=clouds.labels.device)
        events = torch.zeros(len(clouds), device=clouds.labels.device)

        def seen(index: Tensor, logits: Tensor) -> None:
            now = logits.argmax(1) == clouds.labels[index]
            events[index] += (right[index] & ~now).to(events.dtype)
            learnt[index] |= now
            right[index] = now

        def score(_: Tensor) -> Tensor:
            return events.masked_fill(~learnt, float(self.params.epochs))

        return seen, score
