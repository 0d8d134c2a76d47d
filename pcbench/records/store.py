"""Reads and writes records; a record that breaks a rule is refused by the rule's name."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from pcbench.common.files import canonical_json, write_json
from pcbench.common.schema import Model
from pcbench.common.text import one_line
from pcbench.errors import DataError
from pcbench.records.layout import run_folders
from pcbench.records.models import (
    LONGEST_NAME,
    SCHEMA_VERSION,
    Breach,
    DistillationRecord,
    EvaluationRecord,
    Run,
    VerificationRecord,
)

MAX_RECORD_BYTES = 64 << 20


class RecordError(DataError):
    """A record that cannot be used; code: the name of the rule that it breaks."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def write_record(path: Path, record: DistillationRecord | EvaluationRecord | VerificationRecord) -> None:
    """Write a record atomically, keys sorted."""
    write_json(path, record.model_dump(mode="json"))


def read_distillation(path: Path) -> DistillationRecord:
    """Read and check a distillation record; DataError says what is wrong with it."""
    return read_record(path, DistillationRecord)


def read_evaluation(path: Path) -> EvaluationRecord:
    """Read and check an evaluation record; DataError says what is wrong with it."""
    return read_record(path, EvaluationRecord)


def read_verification(path: Path) -> VerificationRecord:
    """Read and check a verification record; DataError says what is wrong with it."""
    return read_record(path, VerificationRecord)


R = TypeVar("R", bound=Model)


def read_record(path: Path, kind: type[R]) -> R:
    """Read and check a JSON file of version SCHEMA_VERSION; RecordError says what is wrong with it."""
    try:
        if path.exists() and not path.is_file():
            raise RecordError("odd-file", f"{path}: is not a file")
        if path.stat().st_size > MAX_RECORD_BYTES:
            limit = f"larger than a record may be ({MAX_RECORD_BYTES} bytes)"
            raise RecordError("too-large", f"{path}: {limit}")
        data = json.loads(path.read_text(encoding="utf-8"))
        version = data.get("schema_version") if isinstance(data, dict) else None
        if version != SCHEMA_VERSION:
            given = one_line(repr(version), 40)
            told = f"schema_version {given}, but this pcbench reads {SCHEMA_VERSION}"
            raise RecordError("invalid-record", f"{path}: {told}")
        record = kind.model_validate(data)
        canonical_json(data).encode()  # refuses NaN, infinities and lone surrogates in free-form values
        for field, value in record.model_dump(mode="json").items():
            if field not in data or data[field] != value:
                told = f"{field}: is not written as a record writes it"
                raise RecordError("invalid-record", f"{path}: {told}")
        return record
    except OSError as error:
        raise RecordError("missing-file", f"{path}: cannot be read ({error.strerror})") from error
    except ValidationError as error:
        first = error.errors()[0]
        breach = first.get("ctx", {}).get("error")
        where = one_line(".".join(str(part) for part in first["loc"]), LONGEST_NAME) or "record"
        code = breach.code if isinstance(breach, Breach) else "invalid-record"
        raise RecordError(code, f"{path}: {where}: {first['msg']}") from error
    except (ValueError, RecursionError) as error:
        told = f"is not a JSON record ({one_line(str(error), LONGEST_NAME)})"
        raise RecordError("invalid-record", f"{path}: {told}") from error


def read_run(folder: Path) -> tuple[Run, list[str]]:
    """The run of a folder, and a line for every other record in it that could not be used.

    An evaluation counts only beside the distillation whose clouds it scored, a verification only beside the
    evaluation whose scores it tested. DataError where there is no readable distillation.
    """
    run, problems = checked_run(folder)
    return run, [str(error) for error in problems]


def checked_run(folder: Path) -> tuple[Run, list[RecordError]]:
    """As `read_run`, with the errors themselves."""
    distillation = read_distillation(folder / "distillation.json")
    evaluations: list[EvaluationRecord] = []
    verifications: list[VerificationRecord] = []
    problems: list[RecordError] = []
    for file in sorted(folder.glob("evaluation-*.json")):
        try:
            evaluations.append(_matching(file, distillation))
        except RecordError as error:
            problems.append(error)
    for file in sorted(folder.glob("verification-*.json")):
        try:
            verifications.append(_confirming(file, evaluations))
        except RecordError as error:
            problems.append(error)
    evaluations.sort(key=lambda e: e.key)
    return Run(folder, distillation, tuple(evaluations), tuple(verifications)), problems


def read_runs(out: Path) -> tuple[list[Run], list[str]]:
    """All runs below `out`, sorted by key, and a line for every file that could not be used."""
    runs: list[Run] = []
    problems: list[str] = []
    for folder in run_folders(out):
        try:
            run, left_out = read_run(folder)
        except DataError as error:
            problems.append(str(error))
            continue
        runs.append(run)
        problems += left_out
    problems += orphans(out, {run.folder for run in runs})
    return sorted(runs, key=lambda run: run.distillation.key), problems


def _matching(path: Path, distillation: DistillationRecord) -> EvaluationRecord:
    record = read_evaluation(path)

    def unless(fits: bool, told: str) -> None:
        if not fits:
            raise RecordError("misplaced-record", f"{path}: {told}")

    protocol, made = record.inputs.protocol, distillation.inputs
    unless(record.distillation == distillation.key, "belongs to another distillation than the one beside it")
    unless(
        record.inputs.clouds == [entry.clouds for entry in distillation.snapshots],
        "scored other clouds than those of the distillation beside it",
    )
    unless(
        (protocol.points, list(protocol.snapshots)) == (made.data.points, made.snapshots),
        "its protocol is not the one that the distillation beside it followed",
    )
    unless(
        (record.inputs.data.name == made.data.name) == (record.inputs.variant.on is None),
        "it was tested on another data set than it says",
    )
    unless(
        [s.iteration for s in record.snapshots] == [entry.iteration for entry in distillation.snapshots],
        "its snapshots are not those of the distillation beside it",
    )
    return record


def _confirming(path: Path, evaluations: Iterable[EvaluationRecord]) -> VerificationRecord:
    record = read_verification(path)
    scored = next((each for each in evaluations if each.key == record.evaluation), None)
    if scored is None or scored.distillation != record.distillation:
        raise RecordError("misplaced-record", f"{path}: the evaluation that it verifies is not beside it")
    published = dict(zip(scored.inputs.repetitions, scored.headline.oa, strict=True))
    if [published.get(seed) for seed in record.repetitions] != record.published:
        raise RecordError("changed-published", f"{path}: verified other scores than those beside it")
    same = record.redistilled or record.clouds == scored.inputs.clouds[-1]
    if not same or record.iteration != scored.headline.iteration or record.totals != scored.totals:
        raise RecordError("misplaced-record", f"{path}: verified other clouds, or by another test")
    return record


def orphans(out: Path, known: Collection[Path]) -> list[str]:
    """A line for every evaluation below `out` in a folder that is not one of the known runs'."""
    return [
        f"{path}: has no readable distillation.json beside it"
        for path in sorted(out.glob("*/evaluation-*.json"))
        if path.parent not in known
    ]
