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

import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import (
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from pcbench.common.files import digest
from pcbench.common.schema import Model, Sha256
from pcbench.common.text import one_line
from pcbench.protocols.protocol import Protocol, Recipe, rightly_named
from pcbench.protocols.variants import PLAIN, Variant

SCHEMA_VERSION = 1
LONGEST_NAME = 200
LARGEST = (1 << 53) - 1  # the largest integer that every reader of JSON keeps
_DEEPEST = 6

Status = Literal["ok", "failed", "timeout", "oom", "interrupted", "skipped"]
Division = Literal["closed", "open"]
Verdict = Literal["verified", "refuted", "inconclusive"]


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
