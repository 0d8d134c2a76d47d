"""Training clouds chosen greedily by their features: what herding and k-center have in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from pcbench.api import Backbone, Method, MethodParams, Snapshot, Task, param
from pcbench.ops.coreset import Initialisation, initial_clouds


class GreedyParams(MethodParams):
    """The parameters of both."""

    features: Literal["trained", "random"] = param(
        "trained",
        "whose global features: the protocol's network trained on the whole split, or an untrained one",
        source="not stated by the paper; proposed",
    )


class Greedy(Method[GreedyParams]):
    """A coreset by the global features of a network."""

    Params = GreedyParams
    how: ClassVar[Initialisation]
    """Which one: `herding` or `kcenter`."""

    def distill(self, task: Task) -> Iterator[Snapshot]:
        def untrained() -> Backbone:
            return task.network(task.streams.stream("features"))

        network = task.trained_network if self.params.features == "trained" else untrained
        yield Snapshot(0, initial_clouds(self.how, task.train, task.ppc, task.streams, network))
