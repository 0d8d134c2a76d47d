"""What there is of a cell is said with its reasons: done, to evaluate, to do, or stale."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from record_parts import MEMORY, a_distillation_inputs, an_evaluation_inputs, provenance

from pcbench.records import identity
from pcbench.records.circumstances import NOTHING
from pcbench.records.inputs import DistillationInputs, EvaluationInputs
from pcbench.records.models import (
    DistillationRecord,
    EvaluationRecord,
    Run,
    SnapshotEntry,
    SnapshotScores,
    Work,
)
from pcbench.records.state import Finished, outdated, state

PROVENANCE = provenance()


def a_run(
    inputs: DistillationInputs,
    *scored: EvaluationInputs,
    iterations: tuple[int, ...] = (0, 60),
    **changes: Any,
) -> Run:
    """A distillation and evaluations of it that have scores of some iterations."""
    entries = [SnapshotEntry(iteration=i, seconds=i, clouds=f"{i:064x}") for i in inputs.snapshots]
    values: dict[str, Any] = {
        "key": inputs.key, "status": "ok", "inputs": inputs, "snapshots": entries, "clock": NOTHING,
        "memory": MEMORY, "provenance": PROVENANCE,
    }  # fmt: skip
    share = Work(
        iterations=list(iterations), train=NOTHING, test=NOTHING, memory=MEMORY, provenance=PROVENANCE
    )
    records = [
        EvaluationRecord(
            key=each.key,
            inputs=each,
            totals=[2, 2, 2],
            snapshots=[
                SnapshotScores(
                    iteration=i, clouds=f"{i:064x}", oa=[0.0] * 10, macc=[0.0] * 10, correct=[[0, 0, 0]] * 10
                )
                for i in iterations
            ],
            work=[share],
        )
        for each in scored
    ]
    return Run(Path("a run"), DistillationRecord(**values | changes), tuple(records))


ASKED, SCORED = a_distillation_inputs(), an_evaluation_inputs()


def label(*runs: Run, snapshots: Any = "all") -> str:
    return state(ASKED, ASKED.key, [SCORED], snapshots, Finished(runs)).label


def test_what_is_there_is_done_and_what_is_not_is_to_do():
    assert label() == "to do"
    assert label(a_run(ASKED)) == "to evaluate"
    assert label(a_run(ASKED, SCORED)) == "done"
    assert label(a_run(ASKED, status="failed", reason="it diverged")) == "to do"


def test_the_last_snapshot_is_done_before_the_others():
    last = a_run(ASKED, SCORED, iterations=(60,))
    assert label(last, snapshots="last") == "done"
    assert label(last, snapshots="all") == "to evaluate"
    assert label(a_run(ASKED, SCORED), snapshots="last") == "done"
    assert last.complete(last.evaluations[0])
    first = a_run(ASKED, SCORED, iterations=(0,))
    assert not first.complete(first.evaluations[0])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"engine": 2}, "stale: ENGINE 2, now 1"),
        ({"params": {"lr": 1.0, "loss": "mmd"}}, "stale: lr 1.0, asked 10.0"),
        ({"source": "0" * 64}, "stale: the method's code has changed"),
        (
            {"source": "0" * 64, "engine": 2},
            "stale: ENGINE 2, now 1; the method's code has changed",
        ),
    ],
)
def test_a_result_of_the_same_request_that_is_other_work_is_stale(change, reason):
    old = ASKED.model_copy(update=change)
    of_old = SCORED.model_copy(update={"distillation": old.key})
    assert label(a_run(old, of_old)) == reason
    assert label(a_run(old, of_old), a_run(ASKED, SCORED)) == "done"


@pytest.mark.parametrize(
    "change",
    [
        {"variation": {"lr": 1.0}, "params": {"lr": 1.0, "loss": "mmd"}},
        {"ppc": 3},
        {"repetition": 1},
        {"draw": "authors"},
        {"data": ASKED.data.model_copy(update={"sampling": "farthest", "hash": "0" * 64})},
        {"method": "dm"},
        {"iterations": 61, "snapshots": [0, 61]},
    ],
    ids=str,
)
def test_a_result_that_was_asked_for_in_other_words_is_another_cell(change):
    other = ASKED.model_copy(update=change)
    scored = SCORED.model_copy(update={"distillation": other.key})
    assert label(a_run(other, scored, iterations=tuple(other.snapshots))) == "to do"


def test_scores_of_students_whose_network_has_changed_are_stale():
    network = SCORED.network.model_copy(update={"source": "0" * 64})
    old = SCORED.model_copy(update={"network": network})
    assert label(a_run(ASKED, old)) == "stale: the network's code has changed"
    assert label(a_run(ASKED, old, SCORED)) == "done"


def test_the_nearest_of_several_stale_results_is_named():
    far = ASKED.model_copy(update={"source": "0" * 64, "engine": 2})
    near = ASKED.model_copy(update={"source": "0" * 64})
    assert label(a_run(far), a_run(near)) == "stale: the method's code has changed"


def test_a_record_of_another_engine_is_outdated_whatever_is_asked_for(monkeypatch):
    assert outdated(ASKED) == outdated(SCORED) == ""
    monkeypatch.setattr(identity, "ENGINE", 2)
    assert outdated(ASKED) == outdated(SCORED) == "ENGINE 1, now 2"
