"""First steps that were timed on this machine, kept in the cache for all who ask.

They are extrapolated: what a step takes depends on shapes, and not on what the numbers are. Where the machine
has other work, a CPU's processor seconds tell what would have been taken without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import ValidationError

from pcbench.common.files import digest, write_json
from pcbench.common.schema import Model
from pcbench.datasets.store import cache_root
from pcbench.engine import machine
from pcbench.engine.apart import MethodFailed
from pcbench.engine.cell import Cell
from pcbench.engine.estimates import stand_ins
from pcbench.engine.estimates.first_steps import LONGEST, Networks, try_distillation
from pcbench.engine.estimates.steps import BRISK, CAREFUL, DistilTrial, Pace, StudentTrial
from pcbench.engine.estimates.training import of_shape, recipe_of, try_students
from pcbench.records.circumstances import Hardware
from pcbench.records.inputs import DistillationInputs

FOLDER = "trials"
"""Where trials are kept, in the cache folder."""
QUICK = 1.0
"""Seconds that first steps of a cell may take, by those of its stand-in, to be timed unasked."""

T = TypeVar("T", bound=Model)


@dataclass(frozen=True)
class Trials:
    """The trials that were made on one device of this machine, kept in the cache folder."""

    device: torch.device
    """What the cells are computed on."""
    hardware: Hardware
    """What that is: of other hardware, or other threads, nothing is known."""
    _networks: Networks = field(default_factory=dict)

    @property
    def any(self) -> bool:
        """Whether anything was ever tried."""
        return (cache_root() / FOLDER).is_dir()

    def of_distillation(self, inputs: DistillationInputs) -> DistilTrial | None:
        """What a distillation takes, for however many iterations; None where it was not tried."""
        return self._read(self._distillation(inputs), DistilTrial)

    def of_stand_in(self, inputs: DistillationInputs) -> DistilTrial | None:
        """What the stand-in of a distillation takes; None where it was not tried."""
        return self.of_distillation(stand_ins.inputs_of(inputs))

    def of_students(self, cell: Cell, clouds: int, points: int) -> StudentTrial | None:
        """What the students of a cell take on so many clouds; None where they were not tried."""
        return self._read(self._students(cell, clouds, points), StudentTrial)

    def of_stand_ins_students(self, cell: Cell, points: int) -> StudentTrial | None:
        """What the students of a cell's stand-in take; None where they were not tried."""
        shape = stand_ins.shape_of(cell, self.hardware.threads)
        return self.of_students(shape, recipe_of(shape).batch, points)

    def measure(self, cell: Cell, longest: float = LONGEST) -> None:
        """Try whatever of a cell was not tried yet. PcbenchError where it cannot be, which is not kept."""
        self._measure(cell, longest, CAREFUL)

    def measure_soon(self, cell: Cell, longest: float) -> None:
        """Try its stand-in; the cell itself where that was tried, and tells that its first steps are quick.

        On a GPU first steps are quick, and what comes before them is not: nothing stands in there.
        """
        if self.hardware.device == "cuda":
            self.measure(cell, longest)
            return
        if not self._tried(stand_ins.shape_of(cell, self.hardware.threads)):
            try:
                self._measure(stand_ins.of_cell(cell, self.hardware.threads), longest, BRISK)
            except MethodFailed:  # so few clouds may be what it cannot work with
                more = stand_ins.of_cell(cell, self.hardware.threads, stand_ins.MORE)
                self._measure(more, longest, BRISK)
        elif self._quick(cell):
            self.measure(cell, longest)

    def lacks(self, cell: Cell) -> bool:
        """Whether `measure_soon` would try anything of a cell."""
        if self._tried(cell):
            return False
        if self.hardware.device == "cuda" or self._quick(cell):
            return True
        return not self._tried(stand_ins.shape_of(cell, self.hardware.threads))

    def _tried(self, cell: Cell) -> bool:
        """Whether a cell, or the shape of a stand-in, was tried: its method and its students."""
        trial = self.of_distillation(cell.inputs)
        if trial is None or trial.at_least:
            return False
        return self.of_students(cell, _taught(cell, trial), trial.points) is not None

    def _quick(self, cell: Cell) -> bool:
        """Whether the first steps of a cell and of its students are, by those of its stand-in."""
        small = stand_ins.shape_of(cell, self.hardware.threads)
        trial = self.of_distillation(small.inputs)
        students = self.of_stand_ins_students(cell, trial.points) if trial else None
        if trial is None or students is None or trial.at_least or not trial.updates:
            return False
        train = cell.evaluation.splits.train
        distil = trial.grown(train.classes, len(train))
        batch = min(distil.clouds, recipe_of(cell).batch)
        step = students.grown(cell.evaluation.protocol.students, batch).step
        return distil.before + 2 * distil.step + 3 * step < QUICK

    def _measure(self, cell: Cell, longest: float, pace: Pace) -> None:
        trial = self.of_distillation(cell.inputs)
        if trial is None or trial.at_least:  # the machine may have been busy, or have been given less time
            trial = try_distillation(cell, self.device, longest, pace, self._networks)
            self._write(self._distillation(cell.inputs), trial)
        clouds, points = _taught(cell, trial), trial.points
        if self.of_students(cell, clouds, points) is None:
            recipe = recipe_of(cell)
            batch = of_shape(cell.evaluation.splits.train, min(clouds, recipe.batch), points)
            made = try_students(cell.evaluation, batch, recipe, self.device, pace)
            self._write(self._students(cell, clouds, points), made)

    def _distillation(self, inputs: DistillationInputs) -> Path:
        """Where the trial of a distillation stands; which repetition it is, and how long, is all the same."""
        like = {"repetition": 0, "iterations": 1, "snapshots": [0], "curve": []}
        return self._path({"distillation": inputs.model_copy(update=like).key})

    def _students(self, cell: Cell, clouds: int, points: int) -> Path:
        """Where the trial of students stands; what they learn from is all the same but for its shape."""
        evaluation, recipe = cell.evaluation, recipe_of(cell)
        like = recipe.model_copy(update={"epochs": 1, "drop_after": 0})
        return self._path(
            {
                "network": evaluation.network.model_dump(mode="json"),
                "recipe": like.model_dump(mode="json"),
                "students": evaluation.protocol.students,
                "classes": len(evaluation.data.class_names),
                "tested points": evaluation.data.points,
                "points": points,
                "batch": min(clouds, recipe.batch),
            }
        )

    def _path(self, about: Mapping[str, Any]) -> Path:
        key = digest({"hardware": self.hardware.label, "torch": torch.__version__, **about})
        return cache_root() / FOLDER / f"{key}.json"

    def _read(self, path: Path, kind: type[T]) -> T | None:
        try:
            return kind.model_validate_json(path.read_bytes())
        except (OSError, ValidationError):  # not there, or of another version: it is tried again
            return None

    def _write(self, path: Path, trial: Model) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, trial.model_dump(mode="json"))


def _taught(cell: Cell, trial: DistilTrial) -> int:
    """The clouds that the students of a cell learn from; those of a stand-in have a batch at any PPC."""
    return recipe_of(cell).batch if cell.inputs.data.name == stand_ins.NAME else trial.clouds


def on(device: torch.device) -> Trials:
    """The trials on a device, with as many threads as there are now."""
    return Trials(device, machine.hardware(device))
