"""The records of a run, and what each of their fields means."""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from pcbench.common.schema import Abridged, Model, Sha256
from pcbench.common.text import one_line
from pcbench.ops.names import REDRAWN
from pcbench.protocols.protocol import rightly_named
from pcbench.records.circumstances import Clock, Memory, Provenance
from pcbench.records.inputs import DistillationInputs, EvaluationInputs
from pcbench.records.values import LARGEST, SCHEMA_VERSION, Breach, Count, Name, Seconds, Text, accuracies
from pcbench.records.verifications import VerificationRecord

Status = Literal["ok", "failed", "timeout", "oom", "interrupted"]
Division = Literal["closed", "open"]
Isolation = Literal["unknown", "in-process", "process", "walled", "external"]


class SnapshotEntry(Abridged):
    """One snapshot of the synthetic set."""

    iteration: Count
    """Updates done by then; 0 is the initialisation."""
    seconds: Seconds
    """The distillation's clock then, in wall time without evaluation."""
    clouds: Sha256
    """Content hash of what is kept: of the clouds or, of a parameterised set, of its tensors."""
    expansion: Name = ""
    """What makes clouds of the tensors, by a name in `pcbench.ops.expansions`, or `own` where the method did;
    empty of clouds."""
    bytes: Count | None = None
    """What the tensors take; None where clouds are kept, which take 12 bytes a point."""
    trained_on: Count | None = None
    """Clouds that students train on, where they are not PPC of every class."""
    trained_points: Count | None = None
    """Points of each of these."""
    soft: bool = False
    """Whether students learn probabilities of the classes, which are among the bytes."""
    weighted: bool = False
    """Whether clouds count differently in the students' loss."""
    student_lr: float | None = Field(None, gt=0, allow_inf_nan=False)
    """The learning rate that students take instead of the recipe's."""

    def idle(self) -> set[str]:
        """What plain clouds do not have, and what few parameterised sets have."""
        plain = set() if self.expansion else {"expansion", "bytes", "trained_on", "trained_points"}
        rare = {name for name in ("soft", "weighted", "student_lr") if not getattr(self, name)}
        return plain | rare


class DistillationRecord(Abridged):
    """One distillation, however it ended."""

    schema_version: Literal[2] = SCHEMA_VERSION
    kind: Literal["distillation"] = "distillation"
    key: Sha256
    """The key of `inputs`."""
    status: Status
    """How it ended."""
    reason: Text = ""
    """Why it did not end well."""
    inputs: DistillationInputs
    """What it depends on."""
    snapshots: list[SnapshotEntry]
    """The snapshots that it gave: those asked for or, of a method without iterations, one at 0."""
    clock: Clock
    """Its time without evaluation; the training of a feature network included."""
    memory: Memory
    """Its peak memory."""
    isolation: Isolation = "unknown"
    """How far the method was kept apart from the run: it worked in the run's own process, in a process of its
    own, or in one that was walled in from files and the network; unknown in records from before. External:
    another program distilled the set, pcbench only has its clouds, and nothing is known of its time."""
    origin: Text = ""
    """Where a set is from that another program distilled, as its importer says."""
    copies: list[Text] = Field([], max_length=10_000)
    """Clouds of the last snapshot that are made of points of test clouds, one text each; none where all are
    right, and in records from before this was looked at."""
    provenance: Provenance
    """Where and with what it ran."""

    def idle(self) -> set[str]:
        """What only a set from elsewhere has."""
        return set() if self.origin else {"origin"}

    @property
    def timed(self) -> bool:
        """Whether the clock says what the method costs: not on a busy machine, nor of another program."""
        return self.isolation != "external" and not self.clock.busy(self.provenance.hardware)

    @property
    def seconds(self) -> float:
        """Wall time."""
        return self.clock.seconds

    @property
    def set_bytes(self) -> int | None:
        """What the last snapshot takes; None of the whole split, and where there is none."""
        if self.inputs.is_whole or not self.snapshots:
            return None
        stored = self.snapshots[-1].bytes
        return self.inputs.plain_bytes if stored is None else stored

    @property
    def marks(self) -> list[str]:
        """What the last snapshot has students learn other than fixed clouds and classes, in words."""
        if not self.snapshots:
            return []
        last = self.snapshots[-1]
        rate = "" if last.student_lr is None else f"the method's learning rate, {last.student_lr:g}"
        drawn = "clouds that are drawn anew in every epoch" * (last.expansion in REDRAWN)
        words = ("soft labels" * last.soft, "weights of clouds" * last.weighted, drawn, rate)
        return [word for word in words if word]

    @property
    def step_factor(self) -> float:
        """How many times as many clouds students train on as PPC of every class, and so steps an epoch."""
        clouds = self.snapshots[-1].trained_on if self.snapshots else None
        return 1.0 if clouds is None else clouds / (self.inputs.ppc * len(self.inputs.data.class_names))

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.key != self.inputs.key:
            raise Breach("altered-inputs", "the key is not the hash of the inputs")
        given = [entry.iteration for entry in self.snapshots]
        if self.status == "ok" and given not in ([0], self.inputs.taken):
            raise ValueError("a finished distillation has the snapshots that were asked for, or 0 alone")
        if self.status != "ok" and not self.reason:
            raise ValueError(f"status {self.status} needs a reason")
        return self


class SnapshotScores(Model):
    """Scores of S students trained on one snapshot. Accuracies follow from `correct` and the totals."""

    iteration: Count
    """The snapshot's iteration."""
    clouds: Sha256
    """Content hash of the clouds that the students were trained on."""
    oa: list[float]
    """Overall accuracy of every student, (S,), in [0, 1]."""
    macc: list[float]
    """Mean class accuracy of every student, (S,), in [0, 1]."""
    correct: list[list[int]]
    """Test clouds that were classified rightly, per student and class, (S, K)."""


class Work(Model):
    """One command's share in an evaluation: the snapshots that it trained students on, and what that took."""

    iterations: list[Count]
    """The snapshots by iteration; none where all scores were those of equal clouds in another record."""
    train: Clock
    """The training of all their students."""
    test: Clock
    """The test of all their students."""
    memory: Memory
    """Peak memory."""
    provenance: Provenance
    """Where and with what."""
    stacks: int = Field(1, ge=1, le=LARGEST)
    """Stacks that the students were divided into, each trained by a thread of its own; 1 in older records.
    Rounding depends on it: who trains the same students again divides them alike."""


class EvaluationRecord(Abridged):
    """Students trained and tested on snapshots of a distillation: on the last one, or on several.

    Snapshots that are evaluated later are added to the same record. Records of several tests may share one
    training: its time stands in each.
    """

    schema_version: Literal[2] = SCHEMA_VERSION
    kind: Literal["evaluation"] = "evaluation"
    key: Sha256
    """The key of `inputs`."""
    inputs: EvaluationInputs
    """What the scores depend on."""
    totals: list[Count]
    """Test clouds per class, (K,)."""
    snapshots: list[SnapshotScores] = Field(min_length=1)
    """The scores of every snapshot that was evaluated, by iteration."""
    confusion: list[list[Count]] | None = None
    """Test clouds by true class (rows) and predicted class, (K, K), summed over the last snapshot's students.

    None where the scores are those of a record without it.
    """
    predictions: Sha256 | None = None
    """Hash of what the last snapshot's students took each test cloud for, which stands in a file beside the
    record, or stood there; None in records from before this was kept."""
    work: list[Work] = Field(min_length=1)
    """Who trained what, in the order of the work. Scores of a snapshot that nobody trained on here are those
    that equal clouds got in another record."""

    def idle(self) -> set[str]:
        """What older records do not have."""
        return {"predictions"} if self.predictions is None else set()

    @property
    def distillation(self) -> str:
        """Key of the distillation."""
        return self.inputs.distillation

    @property
    def headline(self) -> SnapshotScores:
        """The scores that are reported: those of the last snapshot, never of the best."""
        return self.snapshots[-1]

    @property
    def trained(self) -> list[int]:
        """The snapshots, by iteration, that students were trained on for this record."""
        return sorted(iteration for share in self.work for iteration in share.iterations)

    @property
    def main_work(self) -> Work:
        """The share that trained on the last snapshot or, where its scores were taken over, the first one."""
        last = self.headline.iteration
        return next((share for share in self.work if last in share.iterations), self.work[0])

    @property
    def provenance(self) -> Provenance:
        """Where and with what the reported scores were made."""
        return self.main_work.provenance

    @property
    def train(self) -> Clock:
        """The training of all students together."""
        return functools.reduce(Clock.__add__, (share.train for share in self.work))

    @property
    def test(self) -> Clock:
        """The test of all students together."""
        return functools.reduce(Clock.__add__, (share.test for share in self.work))

    @property
    def memory(self) -> Memory:
        """The largest peak of all shares."""
        on_device = [each.memory.device_bytes for each in self.work if each.memory.device_bytes is not None]
        host = max(share.memory.host_bytes for share in self.work)
        return Memory(host_bytes=host, device_bytes=max(on_device, default=None))

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.key != self.inputs.key:
            raise Breach("altered-inputs", "the key is not the hash of the inputs")
        scored = [scores.iteration for scores in self.snapshots]
        if any(one >= other for one, other in itertools.pairwise(scored)):
            raise ValueError("the scored snapshots must stand by ascending iteration, each once")
        if len(set(self.trained)) != len(self.trained) or not set(self.trained) <= set(scored):
            raise ValueError("work names a snapshot twice, or one that has no scores")
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
            self._check_scores(scores)
        if self.confusion is not None:
            self._check_confusion(self.confusion)
        return self

    def _check_scores(self, scores: SnapshotScores) -> None:
        if not len(scores.correct) == len(scores.oa) == len(scores.macc) == len(self.inputs.repetitions):
            raise ValueError(f"snapshot {scores.iteration}: one score per student is needed")
        for correct, oa, macc in zip(scores.correct, scores.oa, scores.macc, strict=True):
            if accuracies(correct, self.totals) != (oa, macc):
                what = f"snapshot {scores.iteration}: a score does not follow from its counts"
                raise Breach("altered-score", what)

    def _check_confusion(self, confusion: list[list[int]]) -> None:
        classes, students = len(self.totals), len(self.inputs.repetitions)
        if [len(row) for row in confusion] != [classes] * classes:
            raise ValueError("the confusion must have a row and a column for every class")
        right = [sum(counts) for counts in zip(*self.headline.correct, strict=True)]
        if [row[place] for place, row in enumerate(confusion)] != right:
            raise Breach("altered-score", "the confusion has other right answers than the last snapshot")
        if [sum(row) for row in confusion] != [students * total for total in self.totals]:
            raise Breach("altered-score", "the confusion has not every answer of every student")


@dataclass(frozen=True)
class Run:
    """A distillation with its evaluations and their verifications, and the folder that holds them."""

    folder: Path
    """Where its files stand."""
    distillation: DistillationRecord
    """How the clouds were distilled."""
    evaluations: tuple[EvaluationRecord, ...]
    """What students of them scored."""
    verifications: tuple[VerificationRecord, ...] = ()
    """What others found who trained such students again."""

    @property
    def last(self) -> int | None:
        """The iteration of its last snapshot; None where it has none."""
        return self.distillation.snapshots[-1].iteration if self.distillation.snapshots else None

    def complete(self, evaluation: EvaluationRecord) -> bool:
        """Whether an evaluation has the score that tables show: that of the last snapshot."""
        return evaluation.headline.iteration == self.last

    def reports(self, evaluation: EvaluationRecord) -> bool:
        """Whether tables show an evaluation: it is complete, and the distillation ended well."""
        return self.distillation.status == "ok" and self.complete(evaluation)

    def verification(self, evaluation: EvaluationRecord) -> VerificationRecord | None:
        """What is known of one of its evaluations."""
        return next((each for each in self.verifications if each.evaluation == evaluation.key), None)
