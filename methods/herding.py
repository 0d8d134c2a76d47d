"""The coreset whose mean follows the class mean."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pcbench.api import Backbone, Method, MethodParams, Snapshot, Task, param
from pcbench.ops.coreset import initial_clouds


class Herding(Method):
    """Training clouds chosen so that their mean feature stays near the class mean (Welling 2009)."""

    name = "herding"

    class Params(MethodParams):
        features: Literal["trained", "random"] = param(
            "trained",
            "whose global features: the protocol's network trained on the whole split, or an untrained one",
            source="not stated by the paper; proposed",
        )

    def distill(self, task: Task) -> Iterator[Snapshot]:
        def untrained() -> Backbone:
            return task.network(task.streams.stream("features"))

        network = task.trained_network if self.params.features == "trained" else untrained
        yield Snapshot(0, initial_clouds("herding", task.train, task.ppc, task.streams, network))
