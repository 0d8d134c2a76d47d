"""Reads and writes records; one that breaks a rule is refused by the rule's name, its file and a message."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from pcbench.common.files import canonical_json, remove_left_overs, write_json
from pcbench.common.schema import Model
from pcbench.common.text import one_line
from pcbench.errors import DataError
from pcbench.records import layout, migrate
from pcbench.records.models import DistillationRecord, EvaluationRecord, Run
from pcbench.records.values import LONGEST_NAME, Breach
from pcbench.records.verifications import VerificationRecord

MAX_RECORD_BYTES = 8 << 20
"""A file of JSON is not read if it is larger; a thousand students on fifty classes are 2 MB."""
MAX_CONTAINERS = 20_000
"""Lists and objects in a file: each takes some 60 bytes and more, where it is written in two."""
MAX_VALUES = 400_000
"""Values in a file, by its commas."""
MAX_FIELDS = 1000
"""Names in one object: unknown ones are told apart one by one."""
MAX_DEPTH = 32
"""Objects and lists within each other."""


class RecordError(DataError):
    """A record that cannot be used: the code of the rule that it breaks, its file, and what is wrong."""

    def __init__(self, code: str, path: Path, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.code = code
        self.path = path
        self.problem = problem


def write_record(path: Path, record: DistillationRecord | EvaluationRecord | VerificationRecord) -> None:
    """Write a record atomically, keys sorted."""
    write_json(path, record.model_dump(mode="json"))


def write_distillation(folder: Path, record: DistillationRecord) -> None:
    """Write the record of a distillation into its run's folder, and tidy that."""
    remove_left_overs(folder)
    write_record(layout.distillation(folder), record)


def write_evaluation(folder: Path, record: EvaluationRecord) -> None:
    """Write the record of an evaluation into its run's folder, and tidy that."""
    remove_left_overs(folder)
    write_record(layout.evaluation(folder, record.key), record)


def write_verification(folder: Path, record: VerificationRecord) -> None:
    """Write a verification into its run's folder, beside the evaluation."""
    write_record(layout.verification(folder, record.evaluation), record)


def read_distillation(path: Path) -> DistillationRecord:
    """Read and check a distillation record; RecordError says what is wrong with it."""
    return read_record(path, DistillationRecord)


def read_evaluation(path: Path) -> EvaluationRecord:
    """Read and check an evaluation record; RecordError says what is wrong with it."""
    return read_record(path, EvaluationRecord)


def read_verification(path: Path) -> VerificationRecord:
    """Read and check a verification record; RecordError says what is wrong with it."""
    return read_record(path, VerificationRecord)


R = TypeVar("R", bound=Model)


def read_record(path: Path, kind: type[R]) -> R:
    """Read and check a JSON file of one kind, of its current version or an older one.

    A field with a default may be absent. RecordError says what is wrong with the file.
    """
    try:
        data = _read_json(path)
        current = kind.model_fields["schema_version"].default
        version = data.get("schema_version") if isinstance(data, dict) else None
        if isinstance(version, int) and not isinstance(version, bool) and 1 <= version < current:
            data = migrate.lifted(data, str(kind.model_fields["kind"].default), path.parent)
        elif version != current or isinstance(version, bool):
            raise RecordError("invalid-record", path, _about_version(version, current))
        record = kind.model_validate(data)
        canonical_json(data).encode()  # refuses NaN, infinities and lone surrogates in free-form values
        for name, value in record.model_dump(mode="json").items():
            if name in data and not _agrees(data[name], value):
                raise RecordError("invalid-record", path, f"{name}: is not written as a record writes it")
        return record
    except OSError as error:
        raise RecordError("missing-file", path, f"cannot be read ({error.strerror})") from error
    except ValidationError as error:
        raise _invalid(path, error) from error
    except Breach as error:
        raise RecordError(error.code, path, one_line(str(error))) from error
    except (ValueError, RecursionError) as error:
        reason = f"is not a JSON record ({one_line(str(error), LONGEST_NAME)})"
        raise RecordError("invalid-record", path, reason) from error


def _read_json(path: Path) -> Any:
    if path.exists() and not path.is_file():
        raise RecordError("odd-file", path, "is not a file")
    if path.stat().st_size > MAX_RECORD_BYTES:
        raise RecordError("too-large", path, f"larger than a record may be ({MAX_RECORD_BYTES} bytes)")
    return bounded_json(path.read_bytes())


def bounded_json(content: bytes) -> Any:
    """A JSON value of a stranger's; ValueError where it holds more, or is deeper, than a record may.

    What a text claims is counted before it is parsed: `{},` takes three bytes there and sixty in memory, and
    every entry that a model refuses takes a kilobyte more to be told.
    """
    for what, most, there in (
        ("lists and objects", MAX_CONTAINERS, content.count(b"{") + content.count(b"[")),
        ("values", MAX_VALUES, content.count(b",")),
    ):
        if there > most:
            raise ValueError(f"more than {most} {what}")
    value = json.loads(content.decode("utf-8"), object_pairs_hook=_object)
    _check_depth(value)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; ValueError for one with too many names, or with one twice."""
    if len(pairs) > MAX_FIELDS:
        raise ValueError(f"more than {MAX_FIELDS} names in one object")
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return values


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        containers = [each for each in level if isinstance(each, dict | list)]
        if not containers:
            return
        level = [item for each in containers for item in (each.values() if isinstance(each, dict) else each)]
    raise ValueError(f"values are nested more than {MAX_DEPTH} deep")


def _about_version(version: object, current: int) -> str:
    if isinstance(version, int) and not isinstance(version, bool) and version > current:
        return (
            f"was written by a newer pcbench (schema_version {one_line(repr(version), 40)}, this one reads "
            f"up to {current}): update pcbench"
        )
    return f"schema_version {one_line(repr(version), 40)}, but this pcbench reads 1 to {current}"


def _agrees(written: Any, read: Any) -> bool:
    """Whether JSON values are those of a record that was read from them; absent fields hold defaults."""
    if isinstance(written, dict) and isinstance(read, dict):
        return all(name in read and _agrees(value, read[name]) for name, value in written.items())
    if isinstance(written, list) and isinstance(read, list):
        return len(written) == len(read) and all(map(_agrees, written, read))
    return isinstance(written, bool) == isinstance(read, bool) and bool(written == read)


def _invalid(path: Path, error: ValidationError) -> RecordError:
    first = error.errors(include_url=False, include_input=False)[0]
    place = one_line(".".join(str(part) for part in first["loc"]), LONGEST_NAME) or "record"
    breach = first.get("ctx", {}).get("error")
    code = breach.code if isinstance(breach, Breach) else "invalid-record"
    message = first["msg"]
    if first["type"] == "extra_forbidden":
        message = "there is no such field: was it written by a newer pcbench? Update this one"
    return RecordError(code, path, f"{place}: {message}")


@dataclass(frozen=True)
class FolderRead:
    """What a run's folder holds."""

    run: Run
    """The run, with the evaluations and verifications that belong to it."""
    problems: tuple[RecordError, ...]
    """Why every other record in the folder could not be used."""


def checked_run(folder: Path) -> FolderRead:
    """The run of a folder. RecordError where there is no readable distillation.

    An evaluation counts only beside the distillation whose clouds it scored, a verification only beside the
    evaluation whose scores it tested.
    """
    distillation = read_distillation(layout.distillation(folder))
    problems: list[RecordError] = []

    def readable(files: Iterable[Path], read: Callable[[Path], R]) -> list[R]:
        records = []
        for file in files:
            try:
                records.append(read(file))
            except RecordError as error:
                problems.append(error)
        return records

    evaluations = readable(layout.evaluations(folder), lambda file: _matching(file, distillation))
    verifications = readable(layout.verifications(folder), lambda file: _confirming(file, evaluations))
    evaluations.sort(key=lambda evaluation: evaluation.key)
    run = Run(folder, distillation, tuple(evaluations), tuple(verifications))
    return FolderRead(run, tuple(problems))


def read_run(folder: Path) -> tuple[Run, list[str]]:
    """As `checked_run`, with the problems as lines."""
    checked = checked_run(folder)
    return checked.run, [str(error) for error in checked.problems]


def read_runs(out: Path) -> tuple[list[Run], list[str]]:
    """All runs below `out`, sorted by key, and a line for every file that could not be used."""
    runs: list[Run] = []
    problems: list[str] = []
    for folder in layout.run_folders(out):
        try:
            run, left_out = read_run(folder)
        except DataError as error:
            problems.append(str(error))
            continue
        runs.append(run)
        problems += left_out
    problems += orphans(out, {run.folder for run in runs})
    return sorted(runs, key=lambda run: run.distillation.key), problems


def orphans(out: Path, known: Collection[Path]) -> list[str]:
    """A line for every evaluation below `out` in a folder that is not one of the known runs'."""
    return [
        f"{path}: has no readable {layout.DISTILLATION} beside it"
        for folder in sorted({path.parent for path in out.glob("*/evaluation-*.json")} - set(known))
        for path in layout.evaluations(folder)
    ]


def _matching(path: Path, distillation: DistillationRecord) -> EvaluationRecord:
    """The evaluation in a file, if it is of that distillation."""
    record = read_evaluation(path)
    clouds = {entry.iteration: entry.clouds for entry in distillation.snapshots}
    protocol, distilled = record.inputs.protocol, distillation.inputs
    problem = ""
    if record.distillation != distillation.key:
        problem = "belongs to another distillation than the one beside it"
    elif any(scores.iteration not in clouds for scores in record.snapshots):
        problem = "its snapshots are not those of the distillation beside it"
    elif any(clouds[scores.iteration] != scores.clouds for scores in record.snapshots):
        problem = "scored other clouds than those of the distillation beside it"
    elif (protocol.points, list(protocol.snapshots)) != (distilled.data.points, distilled.snapshots):
        problem = "its protocol is not the one that the distillation beside it followed"
    elif (record.inputs.data.name == distilled.data.name) != (record.inputs.variant.on is None):
        problem = "it was tested on another data set than it says"
    if problem:
        raise RecordError("misplaced-record", path, problem)
    return record


def _confirming(path: Path, evaluations: Iterable[EvaluationRecord]) -> VerificationRecord:
    """The verification in a file, if it is of one of the evaluations."""
    record = read_verification(path)
    scored = next((each for each in evaluations if each.key == record.evaluation), None)
    if scored is None or scored.distillation != record.distillation:
        raise RecordError("misplaced-record", path, "the evaluation that it verifies is not beside it")
    published = dict(zip(scored.inputs.repetitions, scored.headline.oa, strict=True))
    if [published.get(seed) for seed in record.repetitions] != record.published:
        raise RecordError("changed-published", path, "verified other scores than those beside it")
    same = record.redistilled or record.clouds == scored.headline.clouds
    if not same or record.iteration != scored.headline.iteration or record.totals != scored.totals:
        raise RecordError("misplaced-record", path, "verified other clouds, or by another test")
    return record
