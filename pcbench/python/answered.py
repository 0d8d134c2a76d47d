"""`pcbench.predictions`: what the students of a run took each test cloud for, as a data frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from pcbench.engine.evaluate import Outcome
from pcbench.errors import DataError
from pcbench.python.arguments import AnyPath
from pcbench.python.distilled import folder_of
from pcbench.records.models import EvaluationRecord, Run
from pcbench.records.predictions import Predictions, read
from pcbench.records.store import read_run

if TYPE_CHECKING:
    from pandas import DataFrame


def predictions(run: AnyPath | Run | Outcome) -> DataFrame:
    """What every student of a run took each test cloud for, a row each; of the last snapshot, as in tables.

    run: its folder, the beginning of its name below `results`, `latest`, or what `run` gave for a cell.
    Columns: student_backbone, protocol, test, student (its seed, from 0), cloud (its place in the test split,
    from 0), label and predicted (classes by name), right. DataError where there is no run, where its
    evaluations are from before answers were kept, or where they are not those of the record.
    """
    there, _ = read_run(folder_of(run))
    parts = [
        _rows(record, answered)
        for record in there.evaluations
        if (answered := read(there.folder, record)) is not None
    ]
    if not parts:
        raise DataError(f"{there.folder} has kept no student's answers, as older versions did not")
    return pd.concat(parts, ignore_index=True)


def _rows(record: EvaluationRecord, answered: Predictions) -> DataFrame:
    """The rows of one evaluation."""
    inputs, (students, clouds) = record.inputs, answered.predicted.shape
    names = inputs.data.class_names

    def classes(codes: np.ndarray) -> pd.Categorical:
        return pd.Categorical.from_codes(codes.astype(np.int64), names)

    return pd.DataFrame(
        {
            "student_backbone": inputs.network.label,
            "protocol": inputs.protocol.label,
            "test": inputs.variant.label,
            "student": np.repeat(inputs.repetitions, clouds),
            "cloud": np.tile(np.arange(clouds), students),
            "label": classes(np.tile(answered.labels, students)),
            "predicted": classes(answered.predicted.ravel()),
            "right": answered.right.ravel(),
        }
    )
