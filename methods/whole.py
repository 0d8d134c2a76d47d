"""No distillation: what every method is measured against."""

from __future__ import annotations

from collections.abc import Iterator

from pcbench.api import Method, Snapshot, Task


class Whole(Method):
    """The whole training split, whatever the PPC: students follow the protocol's recipe for it."""

    name = "whole"
    whole = True

    def distill(self, task: Task) -> Iterator[Snapshot]:
        yield Snapshot(0, task.train)
