"""Evaluations in the schema of Every Eval Ever, which gathers results of many benchmarks: a file each."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from pcbench.common.files import digest
from pcbench.protocols.variants import PLAIN
from pcbench.records import labels
from pcbench.records.models import EvaluationRecord, Run
from pcbench.records.store import read_run
from pcbench.report.cells import CellScores, MeasuredCell, Result
from pcbench.report.current import Current
from pcbench.report.gather import Gathered
from pcbench.report.results import result_of
from pcbench.report.status import submitter
from pcbench.report.text import file_stem, plain, shown
from pcbench.stats import LEVEL

SCHEMA = "0.3.0"
"""The version of eval.schema.json that documents are written in."""

METRICS = (
    ("oa", "accuracy", "Overall accuracy"),
    ("macc", "pcbench.mean_class_accuracy", "Mean class accuracy"),
)
"""What is exported of an evaluation: its name in records, its id in the schema, and its name for people."""

PROPORTION = {
    "evaluation_description": "Networks trained on distilled clouds alone, tested on real ones",
    "metric_kind": "accuracy",
    "metric_unit": "proportion",
    "lower_is_better": False,
    "score_type": "continuous",
    "min_score": 0.0,
    "max_score": 1.0,
}
"""What both metrics have in common."""


def documents(gathered: Gathered, current: Current, by: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """A document for every evaluation that counts on a board, with the path that the datastore gives it.

    Stale results and runs without a score are left out. by: who made those that nobody submitted.
    """
    for slim in gathered.runs:
        run, _ = read_run(slim.folder)
        for evaluation in filter(run.reports, run.evaluations):
            result = result_of(run, evaluation, current)
            if not result.stale:
                yield _document(run, evaluation, result, current, submitter(run) or by)


def _document(
    run: Run, evaluation: EvaluationRecord, result: Result, current: Current, by: str
) -> tuple[str, dict[str, Any]]:
    made, last = run.distillation.inputs, evaluation.provenance
    student = plain(evaluation.inputs.network.label)
    model = plain(labels.title(made, student))
    identity = f"{file_stem(by)}/{file_stem(model)}"
    created = datetime.fromisoformat(last.created)
    own = result.entry.genuine and made.method in current.methods
    document = {
        "schema_version": SCHEMA,
        "evaluation_id": f"pcbench/{identity}/{evaluation.key}",
        "evaluation_timestamp": last.created,
        "retrieved_timestamp": str(created.timestamp()),
        "source_metadata": {
            "source_name": "pcbench",
            "source_type": "evaluation_run",
            "source_organization_name": by,
            # whose a method is that does not come with pcbench is not known
            "evaluator_relationship": "third_party" if own else "other",
            "additional_details": {"status": result.status.text},
        },
        "eval_library": {
            "name": "pcbench",
            "version": last.packages.get("pcbench", "unknown"),
            "additional_details": {"engine": str(evaluation.inputs.engine)},
        },
        "model_info": {
            "name": model,
            "id": identity,
            "additional_details": {
                "deployment_type": "self_deployed",
                "model_availability": "unknown",
                "method": result.entry.title,
                "parameters": shown(made.params),
                "clouds_per_class": labels.bare_amount(made.ppc),
                "distilled_with": result.entry.network,
                "draw": result.entry.draw,
                "repetition": str(made.repetition),
                "student": student,
                "protocol": result.setting.protocol,
                "division": result.setting.division,
                "distillation_seconds": f"{result.seconds:.3f}",
                "distillation_key": run.distillation.key,
            },
        },
        "evaluation_results": [_result(evaluation, result, *metric) for metric in METRICS],
    }
    name = uuid.UUID(hex=digest([by, evaluation.key])[:32], version=4)
    return f"data/pcbench/{identity}/{name}.json", document


def _result(
    evaluation: EvaluationRecord, result: Result, name: str, metric: str, title: str
) -> dict[str, Any]:
    """One score with its spread over the students."""
    cell, data = MeasuredCell((result,)), evaluation.inputs.data
    scores: CellScores = getattr(cell, name)
    test = result.setting.test
    return {
        "evaluation_result_id": f"{evaluation.key}-{name}",
        "evaluation_name": f"{result.place.name}, test {test}" if test else result.place.name,
        "source_data": {
            "dataset_name": plain(data.name),
            "source_type": "other",
            "additional_details": {
                "variant": f"{plain(data.variant)}, hash {data.hash}",
                "points": f"{data.points}, sampling {plain(data.sampling)}",
                "classes": str(len(data.class_names)),
                "test_clouds": f"{sum(evaluation.totals)}, {test or PLAIN.label}",
            },
        },
        "metric_config": {"metric_id": metric, "metric_name": title, **PROPORTION},
        "score_details": {
            "score": scores.mean / 100,
            "details": {"scores": " ".join(f"{score / 100:.6f}" for score in scores.by_distillation[0])},
            "uncertainty": _uncertainty(scores),
        },
    }


def _uncertainty(scores: CellScores) -> dict[str, Any]:
    """The spread over students; of one student there is none."""
    interval = scores.interval
    if interval.std is None or interval.low is None or interval.high is None:
        return {"num_samples": interval.n}
    return {
        "num_samples": interval.n,
        "standard_deviation": interval.std / 100,
        "standard_error": {"value": interval.std / 100 / interval.n**0.5, "method": "analytic"},
        "confidence_interval": {
            "lower": interval.low / 100,
            "upper": interval.high / 100,
            "confidence_level": LEVEL,
            "method": "Student's t over the students of one distillation",
        },
    }
