"""Lifts records of older versions to the form that is written today; the only place that knows old forms.

To add a field with a default that keeps the old behaviour, nothing is needed here: older records are read
without it, and no key changes (`pcbench.records.identity`). To rename, move or remove a field, raise
`SCHEMA_VERSION`, write a function here that lifts a record from the version before, and keep an example of
that version in `tests/records/examples`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pcbench.common.files import digest
from pcbench.records import layout
from pcbench.records.inputs import DistillationInputs, EvaluationInputs
from pcbench.records.values import SCHEMA_VERSION, Breach

Json = dict[str, Any]


def lifted(record: Json, kind: str, folder: Path) -> Json:
    """A record of an older version as SCHEMA_VERSION writes it, with the key that it has there.

    kind: `distillation`, `evaluation` or `verification`. folder: where it stands, for the records beside it
    that it refers to by their old keys. Raises Breach where it is not what its version was.
    """
    version = record.get("schema_version")
    for older in range(version if isinstance(version, int) else SCHEMA_VERSION, SCHEMA_VERSION):
        try:
            record = STEPS[older, kind](record, folder)
        except (KeyError, TypeError, AttributeError, IndexError, OSError) as error:
            what = f"is no {kind} of version {older} ({type(error).__name__}: {error})"
            raise Breach("invalid-record", what) from error
    return record


def _checked_key(record: Json) -> None:
    """Version 1: the key is the hash of the inputs as they are written, prose included."""
    if record["key"] != digest(record["inputs"]):
        raise Breach("altered-inputs", "the key is not the hash of the inputs")


def _distillation_1(record: Json, _: Path) -> Json:
    _checked_key(record)
    seconds = {"seconds": record["seconds"], "processor_seconds": None}
    rest = {name: value for name, value in record.items() if name != "seconds"}
    key = DistillationInputs.model_validate(record["inputs"]).key
    return rest | {"schema_version": 2, "key": key, "clock": seconds}


def _evaluation_1(record: Json, folder: Path) -> Json:
    """The clouds move from the inputs to the scores, the times and the provenance into `work`."""
    _checked_key(record)
    inputs = dict(record["inputs"])
    clouds = inputs.pop("clouds")
    if len(clouds) != len(record["snapshots"]):
        raise ValueError("as many scored snapshots as snapshots are needed")
    inputs["protocol"] = {name: each for name, each in inputs["protocol"].items() if name != "summary"}
    inputs["distillation"] = _new_key_of_distillation(record["distillation"], folder)
    moved = ("code", "distillation", "trained", "train_seconds", "test_seconds", "memory", "provenance")
    return {name: value for name, value in record.items() if name not in moved} | {
        "schema_version": 2,
        "key": EvaluationInputs.model_validate(inputs).key,
        "inputs": inputs,
        "snapshots": [
            scores | {"clouds": each} for scores, each in zip(record["snapshots"], clouds, strict=True)
        ],
        "work": [
            {
                "iterations": record["trained"],
                "train": {"seconds": record["train_seconds"], "processor_seconds": None},
                "test": {"seconds": record["test_seconds"], "processor_seconds": None},
                "memory": record["memory"],
                "provenance": record["provenance"],
            }
        ],
    }


def _verification_1(record: Json, folder: Path) -> Json:
    rest = {name: value for name, value in record.items() if name != "code"}
    scored = _evaluation_of_1(record["evaluation"], folder)
    return rest | {
        "schema_version": 2,
        "evaluation": scored["key"],
        "distillation": scored["inputs"]["distillation"],
    }


def _new_key_of_distillation(old: str, folder: Path) -> str:
    """The key that the distillation in a folder has now, if it is the one of that old key."""
    distillation = json.loads(layout.distillation(folder).read_text(encoding="utf-8"))
    if distillation["key"] != old or distillation["schema_version"] != 1:
        raise Breach("misplaced-record", "belongs to another distillation than the one beside it")
    return str(_distillation_1(distillation, folder)["key"])


def _evaluation_of_1(old: str, folder: Path) -> Json:
    """The evaluation in a folder that had that key, lifted."""
    path = layout.evaluation(folder, old)
    scored = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    if scored is None or scored["key"] != old:
        raise Breach("misplaced-record", "the evaluation that it verifies is not beside it")
    return _evaluation_1(scored, folder)


STEPS: Mapping[tuple[int, str], Callable[[Json, Path], Json]] = {
    (1, "distillation"): _distillation_1,
    (1, "evaluation"): _evaluation_1,
    (1, "verification"): _verification_1,
}
"""What lifts a record of a kind from one version to the next."""
