"""The coreset that every other method has to beat."""

from __future__ import annotations

from collections.abc import Iterator

from pcbench.api import Method, Snapshot, Task


class Random(Method):
    """Training clouds drawn uniformly from every class, without replacement."""

    name = "random"

    def distill(self, task: Task) -> Iterator[Snapshot]:
        yield Snapshot(0, task.initial_clouds())
