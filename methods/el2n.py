"""The coreset of the clouds on which networks err most, early in their training."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from pcbench.api import PointClouds

from ._scored import Scored, ScoredParams
from ._training import Seen


class EL2N(Scored[ScoredParams]):
    """Training clouds by the length of the error vector after a few epochs (Paul, Ganguli, Dziugaite 2021).

    Score of (x, y): the mean over networks of ‖softmax f(x) - onehot y‖, their Definition 2.2. Scores are
    compared within a class, so that every class has as many clouds; nothing else had to change for clouds.
    The paper keeps half of CIFAR-10 and takes the hard ones; where a class has one cloud, that is its oddest.
    """

    name = "el2n"
    Params = ScoredParams

    def watch(self, clouds: PointClouds) -> tuple[Seen, Callable[[Tensor], Tensor]]:
        def score(logits: Tensor) -> Tensor:
            gap = logits.softmax(1) - F.one_hot(clouds.labels, clouds.classes)
            length: Tensor = torch.linalg.vector_norm(gap, dim=1)
            return length

        return lambda *_: None, score
