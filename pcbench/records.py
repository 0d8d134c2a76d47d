"""The records of a run, their schema and their store: one folder a distillation, written atomically.

    OUT/sadm-shapes10-ppc1-3f9c0a12be/
        distillation.json            inputs in effect, clock, memory, provenance, hashes of the snapshots
        clouds.h5                    the snapshots' clouds
        checkpoint.h5                what a distillation that is not finished has reached
        evaluation-77ab01c3d9.json   raw scores of the students trained on them
        part-77ab01c3d9-0.json       the same of some snapshots, while others are still to be scored
        verification-77ab01c3d9.json what somebody else found who trained them again

Folder and file names are for people; what a record is stands inside it.
"""

from __future__ import annotations

import json
import re
import statistics
import unicodedata
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias, TypeVar

from pydantic import (
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from pcbench import recipes
from pcbench.errors import DataError
from pcbench.files import canonical_json, digest, write_json
from pcbench.protocol import PROTOCOLS, STANDARD, Protocol, Recipe, rightly_named
from pcbench.schema import Model, Sha256
from pcbench.variants import PLAIN, Variant, listed

SCHEMA_VERSION = 1
MAX_RECORD_BYTES = 64 << 20
LONGEST_NAME = 200
LONGEST_TEXT = 4000
LARGEST = (1 << 53) - 1  # the largest integer that every reader of JSON keeps
_DEEPEST = 6

Status = Literal["ok", "failed", "timeout", "oom", "interrupted", "skipped"]
Division = Literal["closed", "open"]
Verdict = Literal["verified", "refuted", "inconclusive"]


def one_line(text: str, longest: int = LONGEST_TEXT) -> str:
    """Text that is safe to show: line ends and tabs become spaces, control and bidi characters U+FFFD; cut.

    The zero-width joiners, which some scripts need, stay.
    """
    if not (text.isascii() and text.isprintable()):
        text = "".join(map(_shown, text))
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _shown(char: str) -> str:
    category = unicodedata.category(char)
    if category in ("Zl", "Zp") or char in "\t\n\v\f\r\x85":
        return " "
    hidden = category in ("Cc", "Cf", "Cs") and char not in "\u200c\u200d"
    return "\ufffd" if hidden else char


def _named(value: Any) -> Any:
    return one_line(value, LONGEST_NAME) if isinstance(value, str) else value


def _told(value: Any) -> Any:
    return one_line(value) if isinstance(value, str) else value


def _settled(value: Any, depth: int = 0) -> Any:
    """A free-form JSON value with its texts made safe; ValueError where it is too deep or too large."""
    if depth > _DEEPEST:
        raise ValueError(f"values are nested more than {_DEEPEST} deep")
    if isinstance(value, dict):
        return {_named(key): _settled(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_settled(item, depth + 1) for item in value]
    if isinstance(value, int) and abs(value) > LARGEST:
        raise ValueError(f"an integer lies outside ±{LARGEST}")
    return _told(value)


# Whoever makes a record gets these texts made safe; whoever reads one that is not so refuses it.
Name: TypeAlias = Annotated[str, BeforeValidator(_named)]
Text: TypeAlias = Annotated[str, BeforeValidator(_told)]
Values: TypeAlias = Annotated[dict[str, Any], BeforeValidator(_settled), Field(max_length=1000)]
Count: TypeAlias = Annotated[int, Field(ge=0, le=LARGEST)]
Seconds: TypeAlias = Annotated[float, Field(ge=0, le=1e10)]


class Breach(ValueError):
    """A rule of the records that one breaks; code: the rule's name, for programs."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class RecordError(DataError):
    """A record that cannot be used; code: the name of the rule that it breaks."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Hardware(Model):
    """What the run computed on. Times are compared only where `label` is the same."""

    device: Literal["cpu", "cuda"]
    name: Name
    cpu_cores: int = Field(ge=1, le=LARGEST)
    threads: int = Field(ge=1, le=LARGEST)
    memory_bytes: Count

    @property
    def label(self) -> str:
        """One line for people, for example 'AMD EPYC, 2 threads'."""
        return self.name if self.device == "cuda" else f"{self.name}, {self.threads} threads"


class Provenance(Model):
    """Where and with what a record was made. None of it enters a key."""

    created: Name
    command: list[Text] = Field(max_length=1000)
    python: Name
    platform: Name
    packages: dict[Name, Name] = Field(max_length=1000)
    git_commit: Name | None
    git_dirty: bool | None
    hardware: Hardware


class Memory(Model):
    """Peak resident memory of the process and, on a GPU, peak allocated device memory, in bytes."""

    host_bytes: Count
    device_bytes: Count | None


class Network(Model):
    """A backbone in one preset, with the hash of its source."""

    name: Name
    preset: Name
    source: Sha256

    @property
    def label(self) -> str:
        """`pointnet:paper`."""
        return f"{self.name}:{self.preset}"


class DataInputs(Model):
    """The data set as loaded. standard: counts and classes are those of its card."""

    name: Name
    variant: Name
    hash: Sha256
    points: int = Field(ge=1, le=LARGEST)
    sampling: Name
    standard: bool
    class_names: list[Name] = Field(max_length=10_000)


class DistillationInputs(Model):
    """All that a distillation's result depends on; its key is the hash of this."""

    method: Name
    params: Values
    variation: Values
    source: Sha256
    data: DataInputs
    ppc: Count  # 0: the whole training split
    iterations: int = Field(ge=1, le=LARGEST)
    snapshots: list[Count]
    network: Network
    whole: Recipe
    repetition: Count

    @property
    def key(self) -> str:
        """SHA-256 of the inputs in canonical JSON."""
        return digest(self.model_dump(mode="json"))


class SnapshotEntry(Model):
    """One snapshot: the iteration, the clock then (seconds, without evaluation), the hash of its clouds."""

    iteration: Count
    seconds: Seconds
    clouds: Sha256


class DistillationRecord(Model):
    """One distillation. seconds: its clock, evaluation excluded, training of a feature network included."""

    schema_version: Literal[1] = 1
    kind: Literal["distillation"] = "distillation"
    key: Sha256
    status: Status
    reason: Text = ""
    inputs: DistillationInputs
    snapshots: list[SnapshotEntry]
    seconds: Seconds
    memory: Memory
    provenance: Provenance

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.key != self.inputs.key:
            raise Breach("altered-inputs", "the key is not the hash of the inputs")
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

    clouds: list[Sha256]
    data: DataInputs
    network: Network
    protocol: Protocol
    repetitions: list[Count]
    variant: Variant = PLAIN

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.variant.points not in (None, self.data.points):
            raise ValueError(f"the test {self.variant.label} is on data of {self.data.points} points")
        if self.variant.on not in (None, self.data.name):
            raise ValueError(f"the test {self.variant.label} is on {self.data.name}")
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

    iteration: Count
    oa: list[float]
    macc: list[float]
    correct: list[list[int]]


class EvaluationRecord(Model):
    """Students trained and tested on a distillation's snapshots.

    totals: test clouds per class, (K,). trained: the snapshots, by iteration, whose students were trained
    and tested for this record, in the seconds given; the scores of the others are those that the same clouds
    got in another record. Records of several variants may share one training: its seconds stand in each.
    code: hash of the code that trains, which such records share.
    confusion: test clouds of the last snapshot by true class (rows) and predicted class, summed over its
    students, (K, K); None where its scores are those of a record without it, and then not serialised.
    """

    schema_version: Literal[1] = 1
    kind: Literal["evaluation"] = "evaluation"
    key: Sha256
    distillation: Sha256
    inputs: EvaluationInputs
    totals: list[Count]
    snapshots: list[SnapshotScores] = Field(min_length=1)
    confusion: list[list[Count]] | None = None
    trained: list[Count]
    code: Sha256
    train_seconds: Seconds
    test_seconds: Seconds
    memory: Memory
    provenance: Provenance

    @property
    def headline(self) -> SnapshotScores:
        """The scores that are reported: those of the last snapshot, never of the best."""
        return self.snapshots[-1]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.key != self.inputs.key:
            raise Breach("altered-inputs", "the key is not the hash of the inputs")
        if len(self.snapshots) != len(self.inputs.clouds):
            raise ValueError("as many scored snapshots as snapshots are needed")
        if not set(self.trained) <= {scores.iteration for scores in self.snapshots}:
            raise ValueError("trained names a snapshot that has no scores")
        if len(self.totals) != len(self.inputs.data.class_names):
            raise ValueError("totals must give the test clouds of every class")
        students = len(self.inputs.repetitions)
        if students != self.inputs.protocol.students or len(set(self.inputs.repetitions)) != students:
            raise Breach(
                "repeated-seeds", "the repetitions must be distinct and as many as the protocol has students"
            )
        protocol = self.inputs.protocol
        if not rightly_named(protocol):
            called = one_line(protocol.name, 40)
            raise Breach("changed-protocol", f"the protocol is not the one that is called {called!r}")
        for scores in self.snapshots:
            if not len(scores.correct) == len(scores.oa) == len(scores.macc) == students:
                raise ValueError(f"snapshot {scores.iteration}: one score per student is needed")
            for correct, oa, macc in zip(scores.correct, scores.oa, scores.macc, strict=True):
                if accuracies(correct, self.totals) != (oa, macc):
                    what = f"snapshot {scores.iteration}: a score does not follow from its counts"
                    raise Breach("altered-score", what)
        if self.confusion is not None:
            self._check_confusion(self.confusion)
        return self

    def _check_confusion(self, confusion: list[list[int]]) -> None:
        classes, students = len(self.totals), len(self.inputs.repetitions)
        if [len(row) for row in confusion] != [classes] * classes:
            raise ValueError("the confusion must have a row and a column for every class")
        right = [sum(counts) for counts in zip(*self.headline.correct, strict=True)]
        if [row[place] for place, row in enumerate(confusion)] != right:
            raise Breach("altered-score", "the confusion has other right answers than the last snapshot")
        if [sum(row) for row in confusion] != [students * total for total in self.totals]:
            raise Breach("altered-score", "the confusion has not every answer of every student")

    @model_serializer(mode="wrap")
    def _in_effect(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = serialise(self)
        if self.confusion is None:
            del values["confusion"]
        return values


def accuracies(correct: list[int], totals: list[int]) -> tuple[float, float]:
    """Overall and mean class accuracy, in [0, 1], from exact counts per class; empty classes are left out.

    Raises ValueError for counts outside their totals.
    """
    if len(correct) != len(totals) or any(not 0 <= c <= t for c, t in zip(correct, totals, strict=True)):
        raise Breach(
            "altered-score", "counts of right answers must lie between 0 and the test clouds of the class"
        )
    present = [(c, t) for c, t in zip(correct, totals, strict=True) if t]
    if not present:
        raise ValueError("there are no test clouds")
    oa = sum(correct) / sum(totals)
    return oa, sum(c / t for c, t in present) / len(present)


class VerificationRecord(Model):
    """Students of a published evaluation trained and tested again by somebody else.

    evaluation, distillation: keys of the records. iteration: the snapshot, the last one. clouds: the hash of
    the clouds that were used; those of the record, or, where redistilled, those that the method made anew.
    published: the overall accuracies that the record gives to the students `repetitions`, in [0, 1].
    correct, totals: what was counted now, (S, K) and (K,). low, high: the 90 % interval of the mean
    difference, now less published, in points of accuracy. margin: what counts as equal, in points.
    code: hash of the code that trained.

    The verdict is `verified` where the interval lies inside ± margin, `refuted` where the mean itself lies
    outside, and else `inconclusive`.
    """

    schema_version: Literal[1] = 1
    kind: Literal["verification"] = "verification"
    evaluation: Sha256
    distillation: Sha256
    iteration: Count
    clouds: Sha256
    redistilled: bool
    repetitions: list[Count] = Field(min_length=1)
    published: list[float]
    totals: list[Count]
    correct: list[list[int]]
    low: float = Field(ge=-100, le=100)
    high: float = Field(ge=-100, le=100)
    margin: float = Field(gt=0, le=100)
    verdict: Verdict
    code: Sha256
    provenance: Provenance

    @property
    def oa(self) -> list[float]:
        """The overall accuracies that were found now, in [0, 1]."""
        return [accuracies(counts, self.totals)[0] for counts in self.correct]

    @property
    def difference(self) -> float:
        """The mean of now less published, in points of accuracy."""
        return 100 * statistics.fmean(a - b for a, b in zip(self.oa, self.published, strict=True))

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (
            not len(set(self.repetitions))
            == len(self.repetitions)
            == len(self.published)
            == len(self.correct)
        ):
            raise ValueError("one published and one new score per distinct student is needed")
        if not self.low <= self.difference + 1e-9 or not self.difference - 1e-9 <= self.high:
            raise ValueError("the mean difference does not lie in its interval")
        if self.verdict != verdict(self.difference, self.low, self.high, self.margin):
            raise ValueError("the verdict does not follow from the interval and the margin")
        return self


def verdict(mean: float, low: float, high: float, margin: float) -> Verdict:
    """What a mean difference with its 90 % interval says about equality within ± margin, all in points."""
    if -margin < low and high < margin:
        return "verified"
    return "refuted" if abs(mean) >= margin else "inconclusive"


@dataclass(frozen=True)
class Run:
    """A distillation with its evaluations and their verifications, and the folder that holds them."""

    folder: Path
    distillation: DistillationRecord
    evaluations: tuple[EvaluationRecord, ...]
    verifications: tuple[VerificationRecord, ...] = ()

    def verification(self, evaluation: EvaluationRecord) -> VerificationRecord | None:
        """What is known of one of its evaluations."""
        return next((each for each in self.verifications if each.evaluation == evaluation.key), None)


def division(run: Run, *scored: EvaluationRecord) -> Division:
    """`closed` if all evaluations, by default those of the run, follow the rules that make them comparable.

    The rules: a standard protocol, not `custom`; training on the whole split, also of the network that was
    distilled with, by that protocol's recipe, under `standard` by the one that pcbench has for the backbone;
    standard data; the first S students, in order; a test that is plain or listed in `pcbench.variants`.
    Anything else is `open`, and no table mixes the two.
    """
    evaluations = scored or run.evaluations
    return (
        "closed" if evaluations and all(_closed(run.distillation, each) for each in evaluations) else "open"
    )


def _closed(made: DistillationRecord, scored: EvaluationRecord) -> bool:
    inputs, protocol = scored.inputs, scored.inputs.protocol
    trained = [(made.inputs.network, made.inputs.whole), (inputs.network, protocol.whole)]
    return (
        protocol.name in PROTOCOLS
        and all(whole == _whole(protocol, network.name) for network, whole in trained)
        and made.inputs.data.standard
        and inputs.data.standard
        and inputs.repetitions == list(range(protocol.students))
        and listed(inputs.variant)
    )


def _whole(protocol: Protocol, backbone: str) -> Recipe | None:
    """How a protocol trains a built-in backbone on the whole split; None where it is not written down."""
    return protocol.whole if protocol.base != STANDARD.name else _recipes().get(backbone)


@cache
def _recipes() -> dict[str, Recipe]:
    return {each.backbone: each.recipe for each in recipes.listing()}


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


def part_path(folder: Path, inputs: EvaluationInputs, number: int) -> Path:
    """Where a part of an unfinished evaluation stands: a record of some of its snapshots."""
    return folder / f"part-{inputs.key[:10]}-{number}.json"


def part_paths(folder: Path, inputs: EvaluationInputs) -> list[Path]:
    """The files of all parts of an unfinished evaluation."""
    return sorted(folder.glob(f"part-{inputs.key[:10]}-*.json"))


def verification_path(folder: Path, evaluation: str) -> Path:
    """Where the verification of an evaluation, given by its key, stands: beside it."""
    return folder / f"verification-{evaluation[:10]}.json"


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


def run_folders(out: Path) -> list[Path]:
    """The folders below `out` that hold a distillation, sorted."""
    return [path.parent for path in sorted(out.glob("*/distillation.json"))]


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
