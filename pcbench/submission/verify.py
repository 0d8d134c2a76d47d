"""Verifies published scores: trains the students of an evaluation again and judges what comes out.

In two steps. First the record's students are trained on the record's clouds, with its seeds. Every count of
right answers is as the record says: verified, wherever it was made. On the same hardware and packages nothing
else is possible (measured: docs/statistics.md), and any other count refutes. Elsewhere rounding differs,
training amplifies it, a student is at worst another draw of one distribution, and scores are compared as
`submission.judgement` says and judged as `records.models.concluded` does, with more students where they are
asked for. Where the record has answers to the test clouds beside it, they are compared too, for whoever wants
to know how far two trainings part; no verdict depends on that. Synthetic clouds are compared with test
clouds. The method is never run, but by `redistil`.
"""

from __future__ import annotations

import secrets
import statistics
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from pcbench.api import PointClouds, Snapshot, Splits
from pcbench.catalogue import Catalogue
from pcbench.clouds import unit_sphere
from pcbench.engine import machine, plan
from pcbench.engine.cell import Cell, Evaluation
from pcbench.engine.distil import distil
from pcbench.engine.evaluate import (
    Report,
    answers_of,
    check_independent,
    recipe_for,
    stored_snapshots,
    train_students,
)
from pcbench.engine.likeness import Copy, copies_of_test
from pcbench.engine.plan import Request
from pcbench.errors import DataError, PcbenchError, UsageError
from pcbench.ops import draws
from pcbench.protocols import protocol
from pcbench.records import identity, layout, predictions
from pcbench.records.circumstances import Hardware, Provenance
from pcbench.records.identity import differences, same_work
from pcbench.records.inputs import DistillationInputs
from pcbench.records.models import DistillationRecord, Run
from pcbench.records.predictions import Predictions
from pcbench.records.store import write_verification
from pcbench.records.values import accuracies
from pcbench.records.verifications import STANDARD_MARGIN, Judgement, VerificationRecord, concluded
from pcbench.submission.claims import Claim
from pcbench.submission.judgement import Comparison, compared, p_chosen
from pcbench.submission.rules.copies import FINER
from pcbench.submission.validate import check_clouds

MOST_THREADS = 256
"""Threads that a record may have verification use, whatever this machine has."""


@dataclass(frozen=True)
class Wish:
    """How claims are to be verified."""

    margin: float = STANDARD_MARGIN
    """What counts as equal elsewhere, in points of accuracy."""
    redistil: bool = False
    """Whether the method distils anew, which runs its plugin; else the clouds are those of the record."""
    fresh: int = 0
    """Repetitions that are drawn and distilled beside it; with `redistil` only."""
    students: int | None = None
    """Students that are trained where the record's own do not tell; None: no more than the record's."""
    by: str = ""
    """Who verifies."""

    def check(self) -> None:
        """UsageError for what makes no sense."""
        if not 0 < self.margin <= 100:
            raise UsageError(
                f"margin {self.margin}: points of accuracy are needed, above 0, as {STANDARD_MARGIN:g} are",
                "margin",
            )
        if self.students is not None and self.students < 2:
            raise UsageError(f"{self.students} students: at least two are needed")
        if self.fresh and (self.fresh < 2 or not self.redistil):
            raise UsageError(
                f"{self.fresh} fresh repetitions: two or more are needed, distilled anew", "repetition"
            )


@dataclass(frozen=True)
class Judged:
    """The one verdict on a claim."""

    claim: Claim
    """What was claimed."""
    record: VerificationRecord | None
    """What was found; None where the claim could not be tried."""
    reason: str = ""
    """Why it could not be tried."""
    trace: str = ""
    """The traceback of an error that nobody has foreseen."""


@dataclass
class Judge:
    """Verifies claims, one after the other, on one device."""

    catalogue: Catalogue
    """The plugins that there are."""
    wish: Wish
    """How claims are verified."""
    device: torch.device
    """What students are trained on."""
    _finer: dict[str, Splits | None] = field(default_factory=dict)
    """Data sets with FINER points a cloud, by name; None for one that has no more points than are used."""
    _compared: dict[str, list[Copy]] = field(default_factory=dict)
    """The copies among clouds, by their hash: several evaluations are of the same ones."""

    def judge(self, claim: Claim, report: Report) -> Judged:
        """The verdict on a claim, whatever is wrong with it; a record is written beside the evaluation."""
        try:
            record = self.verify(claim, report)
            write_verification(claim.run.folder, record)
        except PcbenchError as error:
            return Judged(claim, None, str(error))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - one claim must not hide the others
            return Judged(claim, None, f"{type(error).__name__}: {error}", traceback.format_exc())
        return Judged(claim, record)

    def verify(self, claim: Claim, report: Report) -> VerificationRecord:
        """What is found when a claim is tried. UsageError or DataError where it cannot be tried here."""
        evaluation = _evaluation(self.catalogue, claim)
        made = self._distilled(claim, report) if self.wish.redistil else Made(_kept(claim, evaluation))
        check_independent(evaluation, made.clouds, self.device)
        with as_many_threads(claim.scored.provenance.hardware):
            now = self._answers(claim, evaluation, made.snapshot, report)
            there = predictions.read(claim.run.folder, claim.scored)
            alike = [] if there is None else now.alike(there)
            found = Found(claim, made, now.correct, machine.provenance(self.device), alike=alike)
        if found.judgement == "equivalence":
            found = replace(found, more=self._further(claim, evaluation, made.snapshot, report))
        if self.wish.fresh:
            found = replace(found, fresh=self._fresh(claim, evaluation, report))
        if not claim.run.distillation.inputs.is_whole:
            found = replace(found, copies=self._copies(claim, evaluation, made.clouds))
        return recorded(found, self.wish)

    def _copies(self, claim: Claim, evaluation: Evaluation, clouds: PointClouds) -> list[Copy]:
        """Copies of test clouds of the distilled data set, or of the one that students are tested on."""
        data, tested = claim.run.distillation.inputs.data, claim.scored.inputs.variant.on
        splits, fine = evaluation.splits, self._fine(data.name, data.points)
        if tested is not None:
            ((other, _),) = evaluation.others.values()
            splits, fine = replace(splits, test=other.test), None
        key = clouds.content_hash() + data.hash + (tested or "")
        if key not in self._compared:
            up_axis = self.catalogue.datasets.load(data.name).up_axis
            self._compared[key] = copies_of_test(clouds, splits, up_axis, fine)
        return self._compared[key]

    def _fine(self, name: str, points: int) -> Splits | None:
        """A data set with more points a cloud than are used, where it has more."""
        if points >= FINER:
            return None
        if name not in self._finer:
            try:
                self._finer[name] = self.catalogue.datasets.load(name)().load(FINER)
            except DataError:  # it has no more points
                self._finer[name] = None
        return self._finer[name]

    # Students

    def _answers(
        self, claim: Claim, evaluation: Evaluation, snapshot: Snapshot, report: Report, further: int = 0
    ) -> Predictions:
        """Answers of the record's students, or of so many further ones, trained on the set."""
        inputs = claim.scored.inputs
        repetitions = inputs.repetitions
        if further:
            first = max(repetitions) + 1
            repetitions = list(range(first, first + further))
            # Streams are made for as many students as the protocol has.
            rules = evaluation.protocol.model_copy(update={"students": first + further})
            evaluation = replace(evaluation, protocol=rules)
        network = train_students(
            evaluation,
            [snapshot],
            recipe_for(evaluation, claim.run.distillation, claim.scored.headline.iteration),
            repetitions,
            self.device,
            partial(report, "train students"),
            claim.scored.main_work.stacks,
        )
        return answers_of(evaluation, network, len(repetitions), inputs.variant, self.device).predictions

    def _further(
        self, claim: Claim, evaluation: Evaluation, snapshot: Snapshot, report: Report
    ) -> list[list[int]]:
        further = (self.wish.students or 0) - len(claim.scored.inputs.repetitions)
        return self._answers(claim, evaluation, snapshot, report, further).correct if further > 0 else []

    # Distilling anew

    def _distilled(self, claim: Claim, report: Report, repetition: int | None = None) -> Made:
        """The scored snapshot's clouds by the record's inputs, or by those of another repetition."""
        cell = _cell(self.catalogue, claim, repetition)
        with tempfile.TemporaryDirectory() as temporary:
            with as_many_threads(claim.run.distillation.provenance.hardware):
                record = distil(cell, Path(temporary), self.device, report)
            if record.status != "ok":
                raise DataError(f"{claim.run.folder}: distilled anew: {record.status}: {record.reason}")
            snapshot = _scored(claim, stored_snapshots(cell.evaluation.splits, Path(temporary), record))
        check_shape(snapshot, record.inputs)
        return Made(snapshot, record)

    def _fresh(self, claim: Claim, evaluation: Evaluation, report: Report) -> dict[int, float]:
        """Mean accuracies of the record's students on clouds of repetitions that nobody can have foreseen."""
        totals = evaluation.totals(claim.scored.inputs.variant)
        means: dict[int, float] = {}
        while len(means) < self.wish.fresh:
            repetition = 1000 + secrets.randbelow(1 << 31)
            snapshot = self._distilled(claim, report, repetition).snapshot
            counts = self._answers(claim, evaluation, snapshot, report).correct
            means[repetition] = statistics.fmean(accuracies(right, totals)[0] for right in counts)
        return means


@dataclass(frozen=True)
class Made:
    """Clouds to train on, and how they were distilled anew."""

    snapshot: Snapshot
    """The snapshot that they are of."""
    distillation: DistillationRecord | None = None
    """Their distillation; None for the clouds of the record."""

    @property
    def clouds(self) -> PointClouds:
        """The clouds."""
        return self.snapshot.clouds


@dataclass(frozen=True)
class Found:
    """All that came out of trying a claim."""

    claim: Claim
    """The claim."""
    made: Made
    """What was trained on."""
    correct: list[list[int]]
    """Right answers of the record's students now, (S, K)."""
    provenance: Provenance
    """Where they were trained."""
    more: list[list[int]] = field(default_factory=list)
    """Those of further students, (E, K)."""
    fresh: dict[int, float] = field(default_factory=dict)
    """Mean accuracies of fresh repetitions."""
    copies: list[Copy] | None = None
    """Clouds that are copies of test clouds; None where they were not compared."""
    alike: list[float] = field(default_factory=list)
    """The share of test clouds that each student answers as the record's file of answers says, (S,)."""

    @property
    def same_hardware(self) -> bool | None:
        return same_hardware(self.claim.scored.provenance, self.provenance)

    @property
    def judgement(self) -> Judgement:
        """By which rule the counts are judged.

        Clouds that are distilled anew may be others elsewhere than on the machine that made the record's, and
        so may students that were trained with a GPU, whose sums have no order.
        """
        claimed = self.claim.run.distillation.provenance
        again = self.made.distillation is not None
        if self.correct == self.claim.scored.headline.correct:
            return "equal counts"
        repeatable = self.provenance.hardware.device == "cpu"
        if again and same_hardware(claimed, self.provenance) is not True:
            repeatable = False
        return "same hardware" if repeatable and self.same_hardware else "equivalence"


def same_hardware(claimed: Provenance, here: Provenance) -> bool | None:
    """Whether two pieces of work had the same packages and the same class of hardware; None if unknown."""
    one, other = claimed.hardware, here.hardware
    if (one.device, one.label, claimed.packages) != (other.device, other.label, here.packages):
        return False
    if one.device == "cpu" and not one.instructions:
        return None
    return one.instructions == other.instructions


@contextmanager
def as_many_threads(hardware: Hardware) -> Iterator[None]:
    """Use as many threads as a record says, if not too many: sums are then split as they were."""
    before = torch.get_num_threads()
    if hardware.device == "cpu" and hardware.threads <= MOST_THREADS:
        torch.set_num_threads(hardware.threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def recorded(found: Found, wish: Wish) -> VerificationRecord:
    """The verification that follows from what was found."""
    claim, made = found.claim, found.made
    scored, distillation = claim.scored, claim.run.distillation
    published = scored.headline.oa
    now = [accuracies(counts, scored.totals)[0] for counts in (*found.correct, *found.more)]
    comparison = Comparison(0.0, 0.0, 1.0) if found.judgement == "equal counts" else compared(now, published)
    fresh = list(found.fresh.values())
    copies = found.copies or []
    clouds = made.snapshot.identity
    values: dict[str, Any] = {
        "evaluation": scored.key,
        "distillation": distillation.key,
        "iteration": scored.headline.iteration,
        "clouds": clouds,
        "redistilled": made.distillation is not None,
        "same_clouds": clouds == scored.headline.clouds,
        "distil_seconds": made.distillation.seconds if made.distillation else None,
        "claimed_seconds": distillation.seconds,
        "repetitions": scored.inputs.repetitions,
        "published": published,
        "totals": scored.totals,
        "correct": found.correct,
        "alike": found.alike,
        "more": found.more,
        "same_hardware": found.same_hardware,
        "judgement": found.judgement,
        "low": comparison.low,
        "high": comparison.high,
        "p_lower": comparison.p_lower,
        "margin": wish.margin,
        "fresh_repetitions": list(found.fresh),
        "fresh": fresh,
        "p_chosen": p_chosen(statistics.fmean(published), fresh) if fresh else None,
        "copies": [str(copy) for copy in copies if copy.share],
        "likenesses": [str(copy) for copy in copies if not copy.share],
        "compared": found.copies is not None,
        "by": wish.by,
        "engine": identity.ENGINE,
        "provenance": found.provenance,
    }
    conclusion = concluded(VerificationRecord.model_construct(verdict="inconclusive", **values))
    return VerificationRecord(verdict=conclusion, **values)


def _evaluation(catalogue: Catalogue, claim: Claim) -> Evaluation:
    """What the record says it was evaluated with, from this machine; DataError where that is another."""
    inputs = claim.scored.inputs
    rules = inputs.protocol
    base = protocol.named(rules.base)
    ((_, evaluation),) = plan.evaluations(
        catalogue, [claim.run], [inputs.network.label], base, rules.changes, [inputs.variant.label]
    )
    here = evaluation.inputs(claim.run.distillation.key, evaluation.variants[0])
    if not same_work(inputs, here):
        raise DataError(
            f"{claim.run.folder}: evaluation {layout.short(claim.scored.key)} is not what this pcbench would "
            f"do ({'; '.join(differences(inputs, here))}): verify with the version that made it"
        )
    totals = evaluation.totals(inputs.variant)
    if claim.scored.totals != totals:
        raise DataError(
            f"{claim.run.folder}: evaluation {layout.short(claim.scored.key)} has other totals than the test "
            f"split ({sum(claim.scored.totals)} clouds, here {sum(totals)}): its scores are none of this test"
        )
    return evaluation


def _kept(claim: Claim, evaluation: Evaluation) -> Snapshot:
    """The snapshot of the record; DataError where they are missing, others, or not of its shape."""
    run = Run(claim.clouds, claim.run.distillation, ())
    if not run.distillation.inputs.is_whole:
        check_clouds(run)
    snapshot = _scored(claim, stored_snapshots(evaluation.splits, claim.clouds, run.distillation))
    check_shape(snapshot, run.distillation.inputs)
    return snapshot


def _scored(claim: Claim, snapshots: Sequence[Snapshot]) -> Snapshot:
    """The snapshot whose score is claimed; the record's is among those of its distillation."""
    iteration = claim.scored.headline.iteration
    return next(snapshot for snapshot in snapshots if snapshot.iteration == iteration)


def check_shape(snapshot: Snapshot, inputs: DistillationInputs) -> None:
    """DataError unless clouds have the record's classes, clouds of each, and points, of usable size.

    Those of a parameterised set are as many of every class as its slots make, of any number of points.
    """
    if inputs.is_whole:
        return
    clouds, plain = snapshot.clouds, snapshot.stored is None
    counts = clouds.counts().tolist()
    each = inputs.ppc if plain else counts[0]
    if list(clouds.class_names) != inputs.data.class_names or counts != [each] * len(counts):
        raise DataError(f"the clouds are not {each} of every class of {inputs.data.name}")
    if plain and clouds.points_per_cloud != inputs.data.points:
        raise DataError(
            f"the clouds have {clouds.points_per_cloud} points, where the protocol has {inputs.data.points}"
        )
    if not torch.isfinite(unit_sphere(clouds.points)).all():
        raise DataError("the clouds have coordinates so large that they cannot be normalised")


def _cell(catalogue: Catalogue, claim: Claim, repetition: int | None = None) -> Cell:
    """The record's distillation from this machine, or another repetition of it."""
    made = claim.run.distillation.inputs
    rules = claim.scored.inputs.protocol
    request = Request(
        methods=(made.method,),
        datasets=(made.data.name,),
        ppcs=(max(made.ppc, 1),),
        backbone=made.network.label,
        protocol=rules.base,
        repetition=made.repetition if repetition is None else repetition,
        draw=draws.named(made.draw),
        sampling=made.data.sampling,
        settings={**rules.changes, **made.variation},
        evaluate=(claim.scored.inputs.network.label,),
    )
    (cell,) = plan.cells(catalogue, request)
    asked = made if repetition is None else made.model_copy(update={"repetition": repetition})
    if not same_work(asked, cell.inputs):
        raise DataError(
            f"{claim.run.folder}: its distillation is not what this pcbench would do "
            f"({'; '.join(differences(asked, cell.inputs))}): name the folder of the submitted source, and "
            "use the version of pcbench that made it",
            "plugins",
        )
    return cell
