"""Parts of records for tests, as small as they can be."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pcbench.protocols.protocol import QUICK
from pcbench.records import layout, predictions
from pcbench.records.circumstances import Hardware, Memory, Provenance
from pcbench.records.inputs import DataInputs, DistillationInputs, EvaluationInputs, Network
from pcbench.records.models import EvaluationRecord, SnapshotScores
from pcbench.records.predictions import Predictions
from pcbench.records.store import read_evaluation, write_record
from pcbench.records.values import accuracies

DATA = DataInputs(
    name="three",
    variant="drawn",
    hash="a" * 64,
    points=QUICK.points,
    sampling="first",
    standard=True,
    class_names=["chair", "desk", "Küche"],
)
NETWORK = Network(name="pointnet", preset="paper", source="b" * 64)
MEMORY = Memory(host_bytes=1, device_bytes=None)


def provenance(command: str = "pcbench", hardware: str = "A CPU") -> Provenance:
    return Provenance(
        created="2026-01-01T00:00:00Z",
        command=[command],
        python="3.11",
        platform="any",
        packages={},
        git_commit=None,
        git_dirty=None,
        hardware=Hardware(device="cpu", name=hardware, cpu_cores=2, threads=2, memory_bytes=1),
    )


def scores_of(
    right: Sequence[Sequence[int]], totals: list[int], iteration: int, clouds: str
) -> SnapshotScores:
    """The scores that follow from right answers per student and class, (S, K)."""
    pairs = [accuracies(list(counts), totals) for counts in right]
    return SnapshotScores(
        iteration=iteration,
        clouds=clouds,
        oa=[oa for oa, _ in pairs],
        macc=[macc for _, macc in pairs],
        correct=[list(counts) for counts in right],
    )


def keep_answers(folder: Path, predicted: ArrayLike) -> EvaluationRecord:
    """Let the students of a run's only evaluation have answered so (S, B), and its record say what follows.

    The test clouds stand in the order of their classes.
    """
    (path,) = layout.evaluations(folder)
    record = read_evaluation(path)
    labels = np.repeat(np.arange(len(record.totals)), record.totals)
    answered = Predictions.of(predicted, labels, len(record.totals))
    last = scores_of(answered.correct, record.totals, record.headline.iteration, record.headline.clouds)
    update = {
        "snapshots": [*record.snapshots[:-1], last],
        "confusion": answered.confusion,
        "predictions": answered.content_hash(),
    }
    record = record.model_copy(update=update)
    predictions.save(layout.predictions(folder, record.key), answered)
    write_record(path, record)
    return record


def a_distillation_inputs(**changes: Any) -> DistillationInputs:
    """Of SADM on three classes, under the protocol `quick`."""
    values: dict[str, Any] = {
        "method": "sadm",
        "params": {"lr": 10.0, "loss": "mmd"},
        "variation": {},
        "source": "d" * 64,
        "data": DATA,
        "ppc": 1,
        "iterations": QUICK.iterations,
        "snapshots": list(QUICK.snapshots),
        "network": NETWORK,
        "whole": QUICK.whole,
        "repetition": 0,
    }
    return DistillationInputs(**values | changes)


def an_evaluation_inputs(**changes: Any) -> EvaluationInputs:
    """Of ten students of that distillation."""
    values: dict[str, Any] = {
        "distillation": a_distillation_inputs().key,
        "data": DATA,
        "network": NETWORK,
        "protocol": QUICK,
        "repetitions": list(range(QUICK.students)),
    }
    return EvaluationInputs(**values | changes)
