"""The records of a run, their schema and their store: one folder a distillation, written atomically.

    OUT/sadm-shapes10-ppc1-3f9c0a12be/
        distillation.json            inputs in effect, clock, memory, provenance, hashes of the snapshots
        clouds.h5                    the snapshots' clouds
        evaluation-77ab01c3d9.json   raw scores of the students trained on them

Folder and file names are for people; what a record is stands inside it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from pcbench.errors import DataError
from pcbench.files import canonical_json, digest, write_json
from pcbench.protocol import Protocol, Recipe, rightly_named
from pcbench.variants import PLAIN, Variant

SCHEMA_VERSION = 1
MAX_RECORD_BYTES = 64 << 20


Status = Literal["ok", "failed", "timeout", "oom", "interrupted", "skipped"]
Hash = Field(pattern=r"^[0-9a-f]{64}$")


class Model(BaseModel):
    """Base of all parts of a record: frozen, no unknown field, no NaN or infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Hardware(Model):
    """What the run computed on. Times are compared only where `label` is the same."""

    device: Literal["cpu", "cuda"]
    name: str
    cpu_cores: int = Field(ge=1)
    threads: int = Field(ge=1)
    memory_bytes: int = Field(ge=0)

    @property
    def label(self) -> str:
        """One line for people, for example 'AMD EPYC, 2 threads'."""
        return self.name if self.device == "cuda" else f"{self.name}, {self.threads} threads"


class Provenance(Model):
    """Where and with what a record was made. None of it enters a key."""

    created: str
    command: list[str]
    python: str
    platform: str
    packages: dict[str, str]
    git_commit: str | None
    git_dirty: bool | None
    hardware: Hardware


class Memory(Model):
    """Peak resident memory of the process and, on a GPU, peak allocated device memory, in bytes."""

    host_bytes: int = Field(ge=0)
    device_bytes: int | None = Field(ge=0)


class Network(Model):
    """A backbone in one preset, with the hash of its source."""

    name: str
    preset: str
    source: str = Hash

    @property
    def label(self) -> str:
        """`pointnet:paper`."""
        return f"{self.name}:{self.preset}"


class DataInputs(Model):
    """The data set as loaded. standard: counts and classes are those of its card."""

    name: str
    variant: str
    hash: str = Hash
    points: int = Field(ge=1)
    sampling: str
    standard: bool
    class_names: list[str]


class DistillationInputs(Model):
    """All that a distillation's result depends on; its key is the hash of this."""

    method: str
    params: dict[str, Any]
    variation: dict[str, Any]
    source: str = Hash
    data: DataInputs
    ppc: int = Field(ge=0)  # 0: the whole training split
    iterations: int = Field(ge=1)
    snapshots: list[int]
    network: Network
    whole: Recipe
    repetition: int = Field(ge=0)

    @property
    def key(self) -> str:
        """SHA-256 of the inputs in canonical JSON."""
        return digest(self.model_dump(mode="json"))


class SnapshotEntry(Model):
    """One snapshot: the iteration, the clock then (seconds, without evaluation), the hash of its clouds."""

    iteration: int = Field(ge=0)
    seconds: float = Field(ge=0)
    clouds: str = Hash


class DistillationRecord(Model):
    """One distillation. seconds: its clock, evaluation excluded, training of a feature network included."""

    schema_version: Literal[1] = 1
    kind: Literal["distillation"] = "distillation"
    key: str = Hash
    status: Status
    reason: str = ""
    inputs: DistillationInputs
    snapshots: list[SnapshotEntry]
    seconds: float = Field(ge=0)
    memory: Memory
    provenance: Provenance

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.key != self.inputs.key:
            raise ValueError("the key is not the hash of the inputs")
        given = [entry.iteration for entry in self.snapshots]
        if self.status == "ok" and given not in ([0], self.inputs.snapshots):
            raise ValueError("a finished distillation has the snapshots that were asked for, or 0 alone")
        if self.status != "ok" and not self.reason:
            raise ValueError(f"status {self.status} needs a reason")
        return self


class EvaluationInputs(Model):
    """All that scores depend on: clouds, test data, student, protocol, seeds, and how the test is changed.

    A plain test is not serialised.
    """

    clouds: list[str]
    data: DataInputs
    network: Network
    protocol: Protocol
    repetitions: list[int]
    variant: Variant = PLAIN

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.variant.points not in (None, self.data.points):
            raise ValueError(f"the test {self.variant.label} is on data of {self.data.points} points")
        return self

    @model_serializer(mode="wrap")
    def _in_effect(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = serialise(self)
        if self.variant == PLAIN:
            del values["variant"]
        return values

    @property
    def key(self) -> str:
        """SHA-256 of the inputs in canonical JSON."""
        return digest(self.model_dump(mode="json"))


class SnapshotScores(Model):
    """Scores of S students trained on one snapshot.

    correct: test clouds classified rightly, per student and class, (S, K). oa and macc: overall and
    mean class accuracy per student, in [0, 1]; they must follow from `correct` and the record's `totals`.
    """

    iteration: int = Field(ge=0)
    oa: list[float]
    macc: list[float]
    correct: list[list[int]]


class EvaluationRecord(Model):
    """Students trained and tested on a distillation's snapshots.

    totals: test clouds per class, (K,). trained: the snapshots, by iteration, whose students were trained
    and tested for this record, in the seconds given; the scores of the others are those that the same clouds
    got in another record. Records of several variants may share one training: its seconds stand in each.
    code: hash of the code that trains, which such records share.
    """

    schema_version: Literal[1] = 1
    kind: Literal["evaluation"] = "evaluation"
    key: str = Hash
    distillation: str = Hash
    inputs: EvaluationInputs
    totals: list[int]
    snapshots: list[SnapshotScores] = Field(min_length=1)
    trained: list[int]
    code: str = Hash
    train_seconds: float = Field(ge=0)
    test_seconds: float = Field(ge=0)
    memory: Memory
    provenance: Provenance

    @property
    def headline(self) -> SnapshotScores:
        """The scores that are reported: those of the last snapshot, never of the best."""
        return self.snapshots[-1]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.key != self.inputs.key:
            raise ValueError("the key is not the hash of the inputs")
        if len(self.snapshots) != len(self.inputs.clouds):
            raise ValueError("as many scored snapshots as snapshots are needed")
        if not set(self.trained) <= {scores.iteration for scores in self.snapshots}:
            raise ValueError("trained names a snapshot that has no scores")
        if len(self.totals) != len(self.inputs.data.class_names) or min(self.totals, default=0) < 0:
            raise ValueError("totals must give the test clouds of every class")
        students = len(self.inputs.repetitions)
        if students != self.inputs.protocol.students or len(set(self.inputs.repetitions)) != students:
            raise ValueError("the repetitions must be distinct and as many as the protocol has students")
        protocol = self.inputs.protocol
        if not rightly_named(protocol):
            raise ValueError(f"the protocol is not the one that is called {protocol.name!r}")
        for scores in self.snapshots:
            if not len(scores.correct) == len(scores.oa) == len(scores.macc) == students:
                raise ValueError(f"snapshot {scores.iteration}: one score per student is needed")
            for correct, oa, macc in zip(scores.correct, scores.oa, scores.macc, strict=True):
                if accuracies(correct, self.totals) != (oa, macc):
                    raise ValueError(f"snapshot {scores.iteration}: a score does not follow from its counts")
        return self


def accuracies(correct: list[int], totals: list[int]) -> tuple[float, float]:
    """Overall and mean class accuracy, in [0, 1], from exact counts per class; empty classes are left out.

    Raises ValueError for counts outside their totals.
    """
    if len(correct) != len(totals) or any(not 0 <= c <= t for c, t in zip(correct, totals, strict=True)):
        raise ValueError("counts of right answers must lie between 0 and the test clouds of the class")
    present = [(c, t) for c, t in zip(correct, totals, strict=True) if t]
    if not present:
        raise ValueError("there are no test clouds")
    oa = sum(correct) / sum(totals)
    return oa, sum(c / t for c, t in present) / len(present)


@dataclass(frozen=True)
class Run:
    """A distillation with its evaluations, and the folder that holds them."""

    folder: Path
    distillation: DistillationRecord
    evaluations: tuple[EvaluationRecord, ...]


def ppc_label(ppc: int) -> str:
    """For people: `PPC 3`, or `whole` for the whole training split."""
    return f"PPC {ppc}" if ppc else "whole"


def run_folder(out: Path, inputs: DistillationInputs) -> Path:
    """Where a distillation's files stand below `out`; the name is made safe for a file system."""
    name = f"{inputs.method}-{inputs.data.name}-{ppc_label(inputs.ppc).lower().replace(' ', '')}"
    return out / f"{re.sub(r'[^A-Za-z0-9_.-]+', '_', name).lstrip('.')[:80]}-{inputs.key[:10]}"


def evaluation_path(folder: Path, inputs: EvaluationInputs) -> Path:
    """Where an evaluation record stands in its run's folder."""
    return folder / f"evaluation-{inputs.key[:10]}.json"


def write_record(path: Path, record: DistillationRecord | EvaluationRecord) -> None:
    """Write a record atomically, keys sorted."""
    write_json(path, record.model_dump(mode="json"))


def read_distillation(path: Path) -> DistillationRecord:
    """Read and check a distillation record; DataError says what is wrong with it."""
    return _read(path, DistillationRecord)


def read_evaluation(path: Path) -> EvaluationRecord:
    """Read and check an evaluation record; DataError says what is wrong with it."""
    return _read(path, EvaluationRecord)


R = TypeVar("R", DistillationRecord, EvaluationRecord)


def _read(path: Path, kind: type[R]) -> R:
    try:
        if path.exists() and not path.is_file():
            raise DataError(f"{path}: is not a file")
        if path.stat().st_size > MAX_RECORD_BYTES:
            raise DataError(f"{path}: larger than a record may be ({MAX_RECORD_BYTES} bytes)")
        data = json.loads(path.read_text(encoding="utf-8"))
        version = data.get("schema_version") if isinstance(data, dict) else None
        if version != SCHEMA_VERSION:
            raise DataError(f"{path}: schema_version {version!r}, but this pcbench reads {SCHEMA_VERSION}")
        record = kind.model_validate(data)
        canonical_json(data).encode()  # refuses NaN, infinities and lone surrogates in free-form values
        for field, value in record.model_dump(mode="json").items():
            if field not in data or data[field] != value:
                raise DataError(f"{path}: {field}: is not written as a record writes it")
        return record
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "record"
        raise DataError(f"{path}: {where}: {first['msg']}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is not a JSON record ({error})") from error


def read_run(folder: Path) -> tuple[Run, list[str]]:
    """The run of a folder, and a line for every evaluation in it that could not be used.

    An evaluation counts only beside the distillation whose clouds it scored. DataError where there is no
    readable distillation.
    """
    distillation = read_distillation(folder / "distillation.json")
    evaluations: list[EvaluationRecord] = []
    problems: list[str] = []
    for file in sorted(folder.glob("evaluation-*.json")):
        try:
            evaluations.append(_matching(file, distillation))
        except DataError as error:
            problems.append(str(error))
    return Run(folder, distillation, tuple(sorted(evaluations, key=lambda e: e.key))), problems


def read_runs(out: Path) -> tuple[list[Run], list[str]]:
    """All runs below `out`, sorted by key, and a line for every file that could not be used."""
    runs: list[Run] = []
    problems: list[str] = []
    for path in sorted(out.glob("*/distillation.json")):
        try:
            run, left_out = read_run(path.parent)
        except DataError as error:
            problems.append(str(error))
            continue
        runs.append(run)
        problems += left_out
    return sorted(runs, key=lambda run: run.distillation.key), problems + _orphans(out, runs)


def _matching(path: Path, distillation: DistillationRecord) -> EvaluationRecord:
    record = read_evaluation(path)
    if record.distillation != distillation.key:
        raise DataError(f"{path}: belongs to another distillation than the one beside it")
    if record.inputs.clouds != [entry.clouds for entry in distillation.snapshots]:
        raise DataError(f"{path}: scored other clouds than those of the distillation beside it")
    protocol, made = record.inputs.protocol, distillation.inputs
    if (protocol.points, list(protocol.snapshots)) != (made.data.points, made.snapshots):
        raise DataError(f"{path}: its protocol is not the one that the distillation beside it followed")
    if [s.iteration for s in record.snapshots] != [entry.iteration for entry in distillation.snapshots]:
        raise DataError(f"{path}: its snapshots are not those of the distillation beside it")
    return record


def _orphans(out: Path, runs: Iterable[Run]) -> list[str]:
    known = {run.folder for run in runs}
    return [
        f"{path}: has no readable distillation.json beside it"
        for path in sorted(out.glob("*/evaluation-*.json"))
        if path.parent not in known
    ]
