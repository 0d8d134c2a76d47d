"""The records of a run: what each field of them means. No other module says what a record holds."""

from __future__ import annotations

import functools
import itertools
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import BeforeValidator, Field, model_validator

from pcbench.common.schema import LABEL, Abridged, Model, Sha256
from pcbench.common.text import one_line
from pcbench.ops.names import REDRAWN
from pcbench.protocols.protocol import Protocol, Recipe, rightly_named
from pcbench.protocols.variants import PLAIN, Variant
from pcbench.records import identity
from pcbench.records.labels import is_whole

SCHEMA_VERSION: Literal[2] = 2
"""The form that records are written in; `pcbench.records.migrate` reads the older ones."""
LONGEST_NAME = 200
LARGEST = (1 << 53) - 1  # the largest integer that every reader of JSON keeps
_DEEPEST = 6

Status = Literal["ok", "failed", "timeout", "oom", "interrupted"]
Division = Literal["closed", "open"]
Verdict = Literal["verified", "refuted", "inconclusive"]
Judgement = Literal["margin", "equal counts", "same hardware", "equivalence"]
STANDARD_MARGIN = 3.0
"""Points of accuracy within which scores count as equal; beyond it nothing is verified."""
DOUBTFUL, REFUTED = 0.05, 0.001
"""What claims that look too high are doubted at, and refuted at: the shares of honest ones that meet it."""
Isolation = Literal["unknown", "in-process", "process", "walled", "external"]


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
    """What a piece of work was computed on. Times are compared only where `label` is the same."""

    device: Literal["cpu", "cuda"]
    """The kind of device that torch used."""
    name: Name
    """The processor's model, or the GPU's."""
    cpu_cores: int = Field(ge=1, le=LARGEST)
    """Processor cores that the process might use."""
    threads: int = Field(ge=1, le=LARGEST)
    """Threads of torch's own on the processor."""
    memory_bytes: Count
    """Memory of the machine or, with a GPU, of the GPU."""
    instructions: Name = ""
    """Of torch's kernels, as `AVX2`, with the numbers of the processor's model; empty in older records."""

    @property
    def label(self) -> str:
        """One line for people, for example 'AMD EPYC, 2 threads'."""
        return self.name if self.device == "cuda" else f"{self.name}, {self.threads} threads"


class Provenance(Abridged):
    """Where, when and with what a piece of work was done. None of it enters a key."""

    created: Name
    """The time of writing, ISO 8601 in UTC."""
    command: list[Text] = Field(max_length=1000)
    """The command line, word by word."""
    python: Name
    """Python's version."""
    platform: Name
    """Operating system and architecture."""
    packages: dict[Name, Name] = Field(max_length=1000)
    """Versions of pcbench and of the packages that compute, by name."""
    git_commit: Name | None
    """The commit of the checkout that pcbench ran from; None where it was installed."""
    git_dirty: bool | None
    """Whether that checkout had changes that were not committed."""
    hardware: Hardware
    """What the work was computed on."""
    load: float | None = Field(None, ge=0, le=1e6)
    """Processes that wanted a processor of the machine, on average while the work ran; None if unknown."""
    attempt: Name = ""
    """The attempt at the cell that did it: of two that worked at one cell, each wrote its own id. Empty where
    no attempt was counted, and in older records."""

    def idle(self) -> set[str]:
        """What older records do not have."""
        return set() if self.attempt else {"attempt"}


BUSY = 0.6
"""A process that got less than this share of its threads' time shared the machine with others."""
SHORTEST = 1.0
"""Seconds: a shorter clock says nothing of a busy machine."""


class Clock(Model):
    """How long a phase took."""

    seconds: Seconds
    """Wall time."""
    processor_seconds: Seconds | None = None
    """Processor time of all threads of the process; None in records from before it was measured."""

    def busy(self, hardware: Hardware) -> bool:
        """Whether the process had to wait for others: it then says nothing of what the phase costs.

        Processor seconds far below wall time × threads show it. Work on a GPU leaves the processor idle, so
        that nothing is known there, nor of a clock without processor seconds.
        """
        if self.processor_seconds is None or hardware.device != "cpu" or self.seconds < SHORTEST:
            return False
        threads = min(hardware.threads, hardware.cpu_cores)
        return self.processor_seconds < BUSY * self.seconds * threads

    def __add__(self, other: Clock) -> Clock:
        """Both phases together."""
        known = [each.processor_seconds for each in (self, other) if each.processor_seconds is not None]
        processor = sum(known) if len(known) == 2 else None
        return Clock(seconds=self.seconds + other.seconds, processor_seconds=processor)


NOTHING = Clock(seconds=0.0, processor_seconds=0.0)
"""The clock of a phase in which nothing was done."""


class Memory(Model):
    """Peak memory."""

    host_bytes: Count
    """Peak resident memory of the process."""
    device_bytes: Count | None
    """Peak memory allocated on the GPU; None without one."""


class Network(Model):
    """A backbone in one preset."""

    name: Name
    """The backbone's name."""
    preset: Name
    """The preset's name."""
    source: Sha256
    """Hash of the backbone's code with its private halves, as `pcbench.catalogue` computes it."""
    one_by_one: Annotated[bool, LABEL] = False
    """Whether it is a plain torch module, whose students are trained one after another."""

    @property
    def label(self) -> str:
        """`pointnet:paper`."""
        return f"{self.name}:{self.preset}"


class DataInputs(Model):
    """The data set as it was loaded."""

    name: Name
    """The data set's name, as `modelnet10`."""
    variant: Annotated[Name, LABEL]
    """Which of its public forms it is, for people."""
    hash: Sha256
    """Content hash of both splits as loaded."""
    points: int = Field(ge=1, le=LARGEST)
    """N, points of a cloud."""
    sampling: Name
    """How N points were taken from each stored cloud."""
    standard: Annotated[bool, LABEL]
    """Whether counts and classes are those of the data set's card."""
    class_names: list[Name] = Field(max_length=10_000)
    """The K classes, in label order."""


class DistillationInputs(Model):
    """All that a distillation's result depends on; its key is the hash of this."""

    method: Name
    """The method's name."""
    params: Values
    """All parameters in effect."""
    variation: Values
    """Those of them that differ from the method's defaults."""
    setting: Annotated[Name, LABEL] = ""
    """What the method calls these parameters, as `paper`; empty where it has no name for them."""
    source: Sha256
    """Hash of the method's code, as `pcbench.catalogue` computes it."""
    data: DataInputs
    """What was distilled."""
    ppc: Count
    """Clouds per class; 0 stands for the whole training split."""
    iterations: int = Field(ge=1, le=LARGEST)
    """Updates of the synthetic set."""
    snapshots: list[Count]
    """The iterations at which the synthetic set was asked for, ascending."""
    network: Network
    """The network that was distilled with."""
    whole: Recipe
    """How that network is trained on the whole training split, where a method asks for that."""
    repetition: Count
    """Which of the repeated distillations: an axis of the seeds."""
    engine: int = Field(1, ge=1, le=LARGEST)
    """The number of pcbench's arithmetic, `pcbench.records.identity.ENGINE` when it ran."""
    draw: Name = "per-ppc"
    """How training clouds to start from were chosen, by the names in `pcbench.ops.draws`."""
    files: list[Name] = Field([], max_length=1000)
    """Data files that the method reads beside the training clouds; `source` covers what is in them."""
    curve: Annotated[list[Count], LABEL] = Field([], max_length=1000)
    """More iterations, ascending, at which the synthetic set was kept, for a finer learning curve of the same
    work."""

    @model_validator(mode="after")
    def _curve_within(self) -> Self:
        if self.curve != sorted({*self.curve} - {*self.snapshots}) or self.curve[-1:] > [self.iterations]:
            raise ValueError("the curve has ascending iterations beside the snapshots, none after the last")
        return self

    @property
    def taken(self) -> list[int]:
        """All iterations at which the synthetic set is kept, ascending."""
        return sorted({*self.snapshots, *self.curve})

    @property
    def key(self) -> str:
        """The SHA-256 that names the work."""
        return identity.key(self)

    @property
    def is_whole(self) -> bool:
        """Whether it gives the whole training split."""
        return is_whole(self.ppc)

    @property
    def plain_bytes(self) -> int:
        """What PPC plain clouds of every class take, 12 bytes a point: the budget of the closed division."""
        return 12 * len(self.data.class_names) * self.ppc * self.data.points


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


class EvaluationInputs(Model):
    """All that scores depend on: a distillation, its students, their protocol and seeds, and their test.

    Which of the distillation's snapshots were evaluated is not among it.
    """

    distillation: Sha256
    """Key of the distillation."""
    data: DataInputs
    """What the students are tested on."""
    network: Network
    """The students' network."""
    protocol: Protocol
    """How they are trained."""
    repetitions: list[Count]
    """The students' axes of the seeds, (S,)."""
    variant: Variant = PLAIN
    """What is done to the test clouds."""
    engine: int = Field(1, ge=1, le=LARGEST)
    """The number of pcbench's arithmetic, `pcbench.records.identity.ENGINE` when they were trained."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.variant.points not in (None, self.data.points):
            raise ValueError(f"the test {self.variant.label} is on data of {self.data.points} points")
        if self.variant.on not in (None, self.data.name):
            raise ValueError(f"the test {self.variant.label} is on {self.data.name}")
        return self

    @property
    def key(self) -> str:
        """The SHA-256 that names the work."""
        return identity.key(self)


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
    """Students of a published evaluation trained and tested again by somebody else."""

    schema_version: Literal[2] = SCHEMA_VERSION
    kind: Literal["verification"] = "verification"
    evaluation: Sha256
    """Key of the evaluation."""
    distillation: Sha256
    """Key of its distillation."""
    iteration: Count
    """The snapshot, the last one."""
    clouds: Sha256
    """Content hash of the clouds that were trained on."""
    redistilled: bool
    """Whether the method made these clouds anew; else they are those of the record."""
    same_clouds: bool | None = None
    """Whether these clouds are those of the record, bit for bit; None in older records."""
    distil_seconds: Seconds | None = None
    """Wall time of distilling anew, on the verifier's clock; None where nothing was."""
    claimed_seconds: Seconds | None = None
    """The distillation's wall time by the record; None in older records."""
    repetitions: list[Count] = Field(min_length=1)
    """The students' axes of the seeds, (S,)."""
    published: list[float]
    """The overall accuracy that the record gives to each, (S,), in [0, 1]."""
    totals: list[Count]
    """Test clouds per class, (K,)."""
    correct: list[list[int]]
    """Right answers that were counted now, (S, K)."""
    alike: list[float] = Field([], max_length=10_000)
    """The share of test clouds that each student takes for the class that the answers beside the record say,
    (S,), in [0, 1]; empty where no answers were there. No verdict depends on it."""
    more: list[list[int]] = Field([], max_length=10_000)
    """Right answers of further students, of the seeds that follow, (E, K)."""
    same_hardware: bool | None = None
    """Whether packages, processor or GPU, and instruction set are those of the record; None if unknown."""
    judgement: Judgement = "margin"
    """The rule that was used. `equal counts`: every student has as many right answers in every class as the
    record says. `same hardware`: they should have, and have not. `equivalence`: elsewhere, by an interval.
    `margin`: that of older records, which refuted by the mean alone."""
    low: float = Field(ge=-100, le=100)
    """Lower end of the 90 % interval of the mean difference, now less published, in points of accuracy."""
    high: float = Field(ge=-100, le=100)
    """Its upper end."""
    p_lower: float | None = Field(None, ge=0, le=1)
    """One-sided p of the scores now being no lower than the published ones; None in older records."""
    margin: float = Field(gt=0, le=100)
    """What counts as equal, in points; beyond the standard margin nothing is verified."""
    fresh_repetitions: list[Count] = Field([], max_length=1000)
    """Repetitions of the distillation that were drawn and distilled for this, (F,)."""
    fresh: list[float] = Field([], max_length=1000)
    """The mean overall accuracy of the students of each, (F,), in [0, 1]."""
    p_chosen: float | None = Field(None, ge=0, le=1)
    """One-sided p of the published mean being one more of these draws; None without them."""
    copies: list[Text] = Field([], max_length=1000)
    """The synthetic clouds whose points stand in test clouds, a line each."""
    likenesses: list[Text] = Field([], max_length=1000)
    """Those that have the surface of a test cloud, and of no training cloud."""
    compared: bool | None = None
    """Whether the clouds were compared with the test clouds; None in older records."""
    verdict: Verdict
    """What follows from all this, as `concluded` says; `inconclusive` is shown as "cannot tell"."""
    by: Name = ""
    """Who verified; empty where that was not said."""
    engine: int = Field(1, ge=1, le=LARGEST)
    """The number of pcbench's arithmetic that trained."""
    provenance: Provenance
    """When, where and with what they were trained."""

    @property
    def how(self) -> Literal["re-evaluated", "re-distilled"]:
        """What was done again."""
        return "re-distilled" if self.redistilled else "re-evaluated"

    @property
    def oa(self) -> list[float]:
        """The overall accuracies that were found now, in [0, 1]."""
        return [accuracies(counts, self.totals)[0] for counts in self.correct]

    @property
    def all_oa(self) -> list[float]:
        """Those of the further students too."""
        return [accuracies(counts, self.totals)[0] for counts in (*self.correct, *self.more)]

    @property
    def difference(self) -> float:
        """The mean of now less published, in points of accuracy; of pairs where there are as many of both."""
        if self.more:
            return 100 * (statistics.fmean(self.all_oa) - statistics.fmean(self.published))
        return 100 * statistics.fmean(a - b for a, b in zip(self.oa, self.published, strict=True))

    @property
    def badge(self) -> Verdict:
        """What may be shown of it: a wider margin than the standard one verifies nothing."""
        wide = self.verdict == "verified" and self.margin > STANDARD_MARGIN and self.judgement == "margin"
        return "inconclusive" if wide else self.verdict

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
        if self.judgement == "equal counts" and (self.oa != self.published or self.more):
            raise ValueError("the counts are not equal")
        if self.alike and (
            len(self.alike) != len(self.correct) or not all(0 <= share <= 1 for share in self.alike)
        ):
            raise ValueError("one share of equal answers per student is needed")
        if len(self.fresh) != len(self.fresh_repetitions) or bool(self.fresh) != (self.p_chosen is not None):
            raise ValueError("one score for each fresh repetition, and their p, are needed")
        if self.verdict != concluded(self):
            raise ValueError("the verdict does not follow from what was found")
        return self


def concluded(record: VerificationRecord) -> Verdict:
    """What follows from what a verification found, its own verdict left aside.

    Points of test clouds, and other counts where they had to be equal, refute. Elsewhere scores are equal
    where the 90 % interval lies inside ± margin, the standard one at most, and the published ones are not
    seen to be higher; they are refuted only where all of the interval lies beyond the margin, below the
    published ones, and as few honest records would come so low as REFUTED says. What looks chosen, or like a
    test cloud, is not verified.
    """
    if record.judgement == "margin":
        return verdict(record.difference, record.low, record.high, record.margin)
    if record.copies or record.judgement == "same hardware":
        return "refuted"
    chosen = record.p_chosen if record.p_chosen is not None else 1.0
    if chosen <= REFUTED:
        return "refuted"
    if record.judgement == "equivalence":
        margin = min(record.margin, STANDARD_MARGIN)
        lower = record.p_lower if record.p_lower is not None else 1.0
        if record.high < -record.margin and lower <= REFUTED:
            return "refuted"
        if not (-margin < record.low and record.high < margin) or lower <= DOUBTFUL:
            return "inconclusive"
    return "inconclusive" if chosen <= DOUBTFUL or record.likenesses else "verified"


def verdict(mean: float, low: float, high: float, margin: float) -> Verdict:
    """The rule of older records: what a mean difference with its 90 % interval says, all in points."""
    if -margin < low and high < margin:
        return "verified"
    return "refuted" if abs(mean) >= margin else "inconclusive"


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
