"""The coreset that covers the class."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pcbench.api import Backbone, Method, MethodParams, Snapshot, Task, param
from pcbench.ops.coreset import initial_clouds


class KCenter(Method):
    """Training clouds farthest first, from the class mean's nearest (Sener, Savarese 2018)."""

    name = "kcenter"

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
        yield Snapshot(0, initial_clouds("kcenter", task.train, task.ppc, task.streams, network))
