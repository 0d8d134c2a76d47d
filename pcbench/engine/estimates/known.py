"""What estimates are made from: the runs that there are, and the first steps that were timed."""

from __future__ import annotations

import functools
import statistics
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

from pcbench.engine.cell import Cell
from pcbench.engine.estimates import stand_ins
from pcbench.engine.estimates.nearness import alike
from pcbench.engine.estimates.steps import DistilTrial, StudentTrial
from pcbench.engine.estimates.training import recipe_of
from pcbench.engine.estimates.trials import Trials
from pcbench.records.circumstances import Hardware, Memory
from pcbench.records.inputs import DistillationInputs
from pcbench.records.models import EvaluationRecord, Run, Work


@dataclass(frozen=True)
class Cost:
    """What a distillation takes, or students of one snapshot."""

    seconds: float
    """Wall seconds."""
    memory: int | None
    """Peak bytes."""
    based_on: str
    """A run's folder, or whose first steps were timed."""
    own: bool
    """Whether it is by the work itself."""


@dataclass(frozen=True)
class Known:
    """What costs are estimated from, all on one kind of hardware."""

    runs: Sequence[Run]
    """All runs that there are."""
    hardware: Hardware
    """What the cells would be computed on."""
    trials: Trials | None = None
    """First steps that were timed; None where only records count."""
    cells: Sequence[Cell] = ()
    """The cells that are planned, whose first steps may tell of one another."""
    _tried: dict[Hashable, DistilTrial | None] = field(default_factory=dict)
    _stand_ins: dict[Hashable, DistilTrial | None] = field(default_factory=dict)
    _students: dict[Hashable, StudentTrial | None] = field(default_factory=dict)
    _corrections: dict[tuple[str, str, int], float] = field(default_factory=dict)

    def distillations(self) -> list[Run]:
        """The finished runs whose distillation did not have to wait for others."""
        return [run for run in self.runs if self._of_use(run)]

    def _of_use(self, run: Run) -> bool:
        record = run.distillation
        there = record.provenance.hardware
        return record.status == "ok" and there.label == self.hardware.label and not record.clock.busy(there)

    def shares(self, record: EvaluationRecord) -> list[Work]:
        """The parts of an evaluation that trained students, undisturbed."""
        return [
            share
            for share in record.work
            if share.iterations
            and share.provenance.hardware.label == self.hardware.label
            and not share.train.busy(share.provenance.hardware)
        ]

    def tried(self, inputs: DistillationInputs) -> DistilTrial | None:
        """The first steps of a distillation."""
        if self.trials is None:
            return None
        work = stand_ins.work(inputs), inputs.data.hash, inputs.draw  # ten thousand keys take seconds
        if work not in self._tried:
            self._tried[work] = self.trials.of_distillation(inputs)
        return self._tried[work]

    def tried_stand_in(self, inputs: DistillationInputs) -> DistilTrial | None:
        """The first steps of the stand-in of a distillation."""
        if self.trials is None:
            return None
        work = stand_ins.work(inputs)
        if work not in self._stand_ins:
            self._stand_ins[work] = self.trials.of_stand_in(inputs)
        return self._stand_ins[work]

    @functools.cached_property
    def tried_inputs(self) -> list[tuple[DistillationInputs, DistilTrial]]:
        """First steps of the planned cells and of their stand-ins, of equal ones once."""
        first: dict[Hashable, DistillationInputs] = {}
        for cell in self.cells if self.trials else ():
            first.setdefault((stand_ins.work(cell.inputs), cell.inputs.data.hash), cell.inputs)
        found = [(inputs, self.tried(inputs)) for inputs in first.values()]
        served: dict[Hashable, DistillationInputs] = {}
        for inputs in first.values():
            served.setdefault(stand_ins.work(inputs), inputs)
        found += [(stand_ins.inputs_of(each), self.tried_stand_in(each)) for each in served.values()]
        return [(inputs, trial) for inputs, trial in found if trial is not None]

    @functools.cached_property
    def cells_with_students(self) -> list[Cell]:
        """The planned cells, of those whose students take the same the first."""
        first: dict[Hashable, Cell] = {}
        for cell in self.cells if self.trials else ():
            first.setdefault((id(cell.evaluation), cell.inputs.ppc, stand_ins.work(cell.inputs)), cell)
        return [*first.values()]

    def correction(self, inputs: DistillationInputs) -> float:
        """What runs of a method took, over what their own first steps said: the median, 1 without any."""
        work = inputs.method, inputs.network.label, inputs.data.points
        if work not in self._corrections:
            ratios = []
            for run in self.distillations():
                like = run.distillation
                trial = self.tried(like.inputs) if alike(inputs, like.inputs) else None
                if trial is not None:
                    ratios.append(like.clock.seconds / max(trial.seconds(like.inputs.iterations), 1e-3))
            self._corrections[work] = statistics.median(ratios) if ratios else 1.0
        return self._corrections[work]

    def tried_students(self, cell: Cell, clouds: int, points: int) -> StudentTrial | None:
        """The first steps of a cell's students on so many clouds."""
        batch = min(clouds, recipe_of(cell).batch)
        return self._of_students(cell, points, batch, lambda trials: trials.of_students(cell, clouds, points))

    def tried_fewer_students(self, cell: Cell, clouds: int, points: int) -> StudentTrial | None:
        """What those of its stand-in say of them."""
        small = self._of_students(cell, points, 0, lambda trials: trials.of_stand_ins_students(cell, points))
        batch = min(clouds, recipe_of(cell).batch)
        return small.grown(cell.evaluation.protocol.students, batch) if small else None

    def _of_students(
        self, cell: Cell, points: int, batch: int, read: Callable[[Trials], StudentTrial | None]
    ) -> StudentTrial | None:
        """What a trial of students says, read once; batch: its clouds, 0 for those of the stand-in."""
        if self.trials is None:
            return None
        work = id(cell.evaluation), cell.inputs.is_whole, points, batch
        if work not in self._students:
            self._students[work] = read(self.trials)
        return self._students[work]


def peak(memory: Memory) -> int:
    """The bytes that are scarce: those of a GPU where there is one."""
    return memory.host_bytes if memory.device_bytes is None else memory.device_bytes
