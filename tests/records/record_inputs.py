"""Inputs of records for tests, as small as they can be."""

from __future__ import annotations

from typing import Any

from pcbench.protocols.protocol import QUICK
from pcbench.records.models import DataInputs, DistillationInputs, EvaluationInputs, Network

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
