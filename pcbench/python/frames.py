"""Records as a pandas data frame, a row a student and snapshot."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import pandas as pd

from pcbench.errors import DataError
from pcbench.python.arguments import AnyPath, catalogue_of, path
from pcbench.records.models import Run
from pcbench.records.named import RESULTS
from pcbench.report.current import Current
from pcbench.report.gather import gather
from pcbench.report.site import NOTHING
from pcbench.report.students import StudentScore, rows

if TYPE_CHECKING:
    from pandas import DataFrame

COLUMNS = [field.name for field in fields(StudentScore) if field.name != "params"]
"""The columns that every frame has, in their order; the parameters stand behind them."""
TYPES = {
    "ppc": "int64",
    "repetition": "int64",
    "student": "Int64",
    "iteration": "Int64",
    "reported": "bool",
    "oa": "float64",
    "macc": "float64",
    "seconds": "float64",
    "snapshot_seconds": "float64",
    "set_bytes": "Int64",
    "step_factor": "float64",
    "busy": "bool",
    "stale": "bool",
}
"""Types of columns that are not texts; Int64 has a missing value, which a run without scores needs."""


def results(folder: AnyPath = RESULTS, plugins: AnyPath | Sequence[AnyPath] = ()) -> DataFrame:
    """The records of a folder of runs, a row a student and snapshot; neither torch nor data sets are needed.

    Every run of the folder is there: one without a score has one row, whose `status` and `reason` say why.
    Runs of the same distillation count once, as in `pcbench results table`, whose figures are those of the
    rows with `reported`. Columns, in this order:

    - method, setting, dataset, ppc (clouds per class; 0: the whole split), draw, repetition;
    - backbone: the network that was distilled with; protocol; division: closed or open;
    - student_backbone, test (`plain`, or what was done to test clouds), student: which one, from 0;
    - iteration: of the snapshot; reported: whether it is the last one, which tables show;
    - oa, macc: overall and mean class accuracy in percent;
    - seconds: the distillation's wall clock, snapshot_seconds: until the snapshot; set_bytes: what the set
      takes; step_factor: how many times as many clouds students train on as PPC of every class; marks: what
      they learn beside clouds and classes, as soft labels; busy: whether the machine had other work, so that
      tables leave the clock out; hardware;
    - status: finished, stale, not evaluated, failed, out of memory, interrupted; stale; reason;
    - folder: the run's, as a text; then `params.NAME` for every parameter of any method there, as it was in
      effect: NaN where a method has no such parameter.

    plugins: folders of plugin files. Files that cannot be used are left out with a warning that names them.
    Raises DataError where there is no run.
    """
    source = path(folder, "results")
    runs: dict[str, Run] = {}
    current = Current.of(catalogue_of(plugins))
    gathered = gather(source, current, lambda run: runs.update({str(run.folder): run}))
    for problem in gathered.told():
        warnings.warn(f"left out {problem}", stacklevel=2)
    if not gathered.kept:
        raise DataError(NOTHING.format(source=source), "results")
    counted = [row for slim in gathered.runs for row in rows(runs[str(slim.folder)], current)]
    return frame(sorted(counted, key=_place))


def _place(row: StudentScore) -> tuple[Any, ...]:
    """Where a row stands: as in `pcbench results table`, then by snapshot and student."""
    where = row.dataset, row.ppc == 0, row.ppc, row.protocol, row.student_backbone, row.test, row.draw
    return *where, row.method, row.repetition, str(row.folder), row.iteration or 0, row.student or 0


def frame(scores: Iterable[StudentScore]) -> DataFrame:
    """Rows as a data frame, with the columns that `results` has."""
    scores = list(scores)
    data = {name: [getattr(row, name) for row in scores] for name in COLUMNS}
    data["folder"] = [str(folder) for folder in data["folder"]]
    known = sorted({name for row in scores for name in row.params})
    parameters = {f"params.{name}": [row.params.get(name, math.nan) for row in scores] for name in known}
    columns = {name: pd.Series(values, dtype=TYPES.get(name, "object")) for name, values in data.items()}
    columns |= {name: pd.Series(values, dtype="object") for name, values in parameters.items()}
    return pd.DataFrame(columns)
