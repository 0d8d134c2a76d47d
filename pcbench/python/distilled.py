"""Distilled clouds as arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pcbench.clouds import PointClouds, as_stored
from pcbench.engine.artifacts import load_snapshots
from pcbench.engine.evaluate import Outcome
from pcbench.errors import DataError, UsageError
from pcbench.python.arguments import AnyPath, path
from pcbench.records import layout
from pcbench.records.models import Run
from pcbench.records.named import named
from pcbench.records.store import read_distillation

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, eq=False)
class Clouds:
    """The distilled clouds of one snapshot: B = PPC · K clouds of N points in K classes."""

    iteration: int
    """Updates done by then; 0 is the initialisation."""
    points: NDArray[np.float32]
    """Coordinates, (B, N, 3), as they were distilled; students see each centred and scaled to radius one."""
    labels: NDArray[np.int64]
    """Classes, (B,), in [0, K)."""
    class_names: tuple[str, ...]
    """The K classes, in label order."""

    @classmethod
    def of(cls, iteration: int, clouds: PointClouds) -> Clouds:
        """The same from tensors."""
        points, labels = as_stored(clouds)
        return cls(iteration, points, labels, clouds.class_names)

    @property
    def names(self) -> list[str]:
        """The class of every cloud by name, B of them."""
        return [self.class_names[label] for label in self.labels]


def load_clouds(run: AnyPath | Run | Outcome) -> tuple[Clouds, ...]:
    """The distilled clouds of all snapshots of a run, by iteration; the last ones are what is reported.

    run: its folder, the beginning of its name below `results`, `latest`, or what `run` gave for a cell. Every
    set is compared with the hash in the record. Raises DataError where there is no run, or where its clouds
    are missing, damaged or others, and UsageError for the whole training split, which has no clouds of its
    own.
    """
    folder = folder_of(run)
    if not layout.is_run_folder(folder):
        raise DataError(f"{folder} is no run's folder: give one that 'pcbench run' made", "results")
    record = read_distillation(layout.distillation(folder))
    if record.inputs.is_whole:
        raise UsageError(f"{folder} is the whole training split and has no distilled clouds")
    if not record.snapshots:
        raise DataError(f"{folder} has no clouds: {record.status}: {record.reason}")
    snapshots = load_snapshots(layout.clouds(folder), record.snapshots)
    return tuple(Clouds.of(snapshot.iteration, snapshot.clouds) for snapshot in snapshots)


def folder_of(run: AnyPath | Run | Outcome) -> Path:
    """The folder of a run, however it is given."""
    if isinstance(run, Outcome):
        run = run.run
    return run.folder if isinstance(run, Run) else named(path(run, "results"))
