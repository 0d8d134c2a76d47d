"""Verifies published scores: trains the students of an evaluation again and tests whether the scores agree.

Two scores agree if the 90 % interval of their mean difference lies inside ± margin: two one-sided t-tests at
5 % (Schuirmann 1987). The seeds are those of the record, so that differences are taken student by student. On
the same code and machine they are zero; elsewhere rounding differs, training amplifies it, and a student is a
new draw from the same distribution. A difference larger than the margin refutes, what lies between is
inconclusive.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from pcbench import stats
from pcbench.api import PointClouds
from pcbench.catalogue import Catalogue
from pcbench.engine import machine, plan
from pcbench.engine.distil import distil
from pcbench.engine.evaluate import (
    Report,
    answers_of,
    recipe_for,
    stored_snapshots,
    train_students,
)
from pcbench.engine.plan import Evaluation, Request
from pcbench.errors import DataError, UsageError
from pcbench.ops import draws
from pcbench.protocols import protocol
from pcbench.records import identity, layout
from pcbench.records.identity import differences, same_work
from pcbench.records.labels import title
from pcbench.records.models import EvaluationRecord, Run, VerificationRecord, accuracies, verdict
from pcbench.records.store import read_record, read_run, write_verification
from pcbench.seeds import Streams
from pcbench.submission.manifest import MANIFEST, Manifest, run_folders
from pcbench.submission.validate import check_clouds, validate

MARGIN = 3.0
"""Points of accuracy: a choice, below a forged five; what another machine changes is not measured yet."""


@dataclass(frozen=True)
class Claim:
    """An evaluation of a run whose scores are to be verified."""

    run: Run
    """The run."""
    scored: EvaluationRecord
    """The evaluation, one of the run's."""
    clouds: Path
    """The folder where the run's clouds are."""

    @property
    def title(self) -> str:
        """One line for people."""
        scored = self.scored.inputs
        return title(self.run.distillation.inputs, scored.network.label, scored.variant.label)


def claims(catalogue: Catalogue, folder: Path, artifacts: Path | None = None) -> list[Claim]:
    """All evaluations of a run, a folder of runs or a submission, in the order of their keys.

    artifacts: a folder with RUN/clouds.h5 for runs whose clouds are elsewhere. DataError for a submission
    that is not valid, and where a record cannot be used.
    """
    if (folder / MANIFEST).exists():
        problems = validate(catalogue, folder)
        problems = [each for each in problems if not layout.is_verification(each.file)]
        if problems:
            raise DataError(f"{folder} is no valid submission:\n" + "\n".join(map(str, problems)))
    folders = [folder] if layout.is_run_folder(folder) else run_folders(folder)
    found = []
    for each in folders:
        run, errors = read_run(each)
        if errors:
            raise DataError(errors[0])
        clouds = artifacts / each.name if artifacts and (artifacts / each.name).is_dir() else each
        found += [Claim(run, scored, clouds) for scored in run.evaluations]
    if not found:
        raise DataError(f"{folder} has no evaluation to verify")
    return sorted(found, key=lambda claim: (claim.run.distillation.key, claim.scored.key))


def submitted_methods(folder: Path) -> tuple[Path, ...]:
    """The folders of a submission with sources of methods: a stranger's code, to be read before it runs."""
    if not (folder / MANIFEST).exists():
        return ()
    listed = read_record(folder / MANIFEST, Manifest)
    entries = [given.entry for given in listed.plugins if given.kind == "method"]
    return tuple(sorted({(folder / entry).parent for entry in entries}))


def sample(found: Sequence[Claim], size: int, seed: int) -> list[Claim]:
    """Some of the claims, drawn without repetition by the seed, in their order; all if there are no more."""
    generator = Streams({"level": "verification", "seed": seed}).stream("sample")
    drawn = torch.randperm(len(found), generator=generator)[:size]
    return [found[place] for place in sorted(drawn.tolist())]


def verify(
    catalogue: Catalogue,
    claim: Claim,
    margin: float,
    redistil: bool,
    device: torch.device,
    report: Report,
) -> VerificationRecord:
    """Train and test the students of a claim again; the record is written beside the evaluation.

    redistil: on clouds that the method makes anew, which runs its plugin; else on those of the record.
    UsageError or DataError where this machine lacks what the record was made with, or has another.
    """
    check_margin(margin)
    if len(claim.scored.inputs.repetitions) < 2:
        raise UsageError(f"{claim.run.folder}: one student has no spread: nothing can be tested")
    evaluation = _evaluation(catalogue, claim)
    clouds = _made_again(catalogue, claim, device, report) if redistil else _kept(claim, evaluation)
    correct = _counts(claim, evaluation, clouds, device, report)
    record = judged(claim, correct, clouds.content_hash(), margin, redistil, device)
    write_verification(claim.run.folder, record)
    return record


def check_margin(margin: float) -> None:
    """UsageError for a margin that is no number of points."""
    if not 0 < margin <= 100:
        raise UsageError(
            f"margin {margin}: points of accuracy are needed, above 0, as {MARGIN:g} are", "margin"
        )


def judged(
    claim: Claim,
    correct: list[list[int]],
    clouds: str,
    margin: float,
    redistilled: bool,
    device: torch.device,
) -> VerificationRecord:
    """The verification that follows from counts (S, K) of the students of a claim, in its order."""
    scored = claim.scored
    published = scored.headline.oa
    now = [accuracies(counts, scored.totals)[0] for counts in correct]
    differences = [100 * (new - old) for new, old in zip(now, published, strict=True)]
    interval = stats.t_interval(differences, level=0.9)
    if interval.low is None or interval.high is None:
        raise UsageError(f"{claim.run.folder}: one student has no spread: nothing can be tested")
    return VerificationRecord(
        evaluation=scored.key,
        distillation=claim.run.distillation.key,
        iteration=scored.headline.iteration,
        clouds=clouds,
        redistilled=redistilled,
        repetitions=scored.inputs.repetitions,
        published=published,
        totals=scored.totals,
        correct=correct,
        low=max(interval.low, -100.0),
        high=min(interval.high, 100.0),
        margin=margin,
        verdict=verdict(interval.mean, max(interval.low, -100.0), min(interval.high, 100.0), margin),
        engine=identity.ENGINE,
        provenance=machine.provenance(device),
    )


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
    return evaluation


def _kept(claim: Claim, evaluation: Evaluation) -> PointClouds:
    run = Run(claim.clouds, claim.run.distillation, ())
    if not run.distillation.inputs.is_whole:
        check_clouds(run)
    return stored_snapshots(evaluation.splits, claim.clouds, run.distillation)[-1].clouds


def _made_again(catalogue: Catalogue, claim: Claim, device: torch.device, report: Report) -> PointClouds:
    """The clouds of the last snapshot, distilled anew by the record's inputs."""
    made = claim.run.distillation.inputs
    rules = claim.scored.inputs.protocol
    request = Request(
        methods=(made.method,),
        datasets=(made.data.name,),
        ppcs=(max(made.ppc, 1),),
        backbone=made.network.label,
        protocol=rules.base,
        repetition=made.repetition,
        draw=draws.named(made.draw),
        settings={**rules.changes, **made.variation},
        evaluate=(claim.scored.inputs.network.label,),
    )
    (cell,) = plan.cells(catalogue, request)
    if not same_work(made, cell.inputs):
        raise DataError(
            f"{claim.run.folder}: its distillation is not what this pcbench would do "
            f"({'; '.join(differences(made, cell.inputs))}): name the folder of the submitted source, and "
            "use the version of pcbench that made it",
            "plugins",
        )
    with tempfile.TemporaryDirectory() as temporary:
        record = distil(cell, Path(temporary), device, report)
        if record.status != "ok":
            raise DataError(f"{claim.run.folder}: distilled anew: {record.status}: {record.reason}")
        return stored_snapshots(cell.evaluation.splits, Path(temporary), record)[-1].clouds


def _counts(
    claim: Claim, evaluation: Evaluation, clouds: PointClouds, device: torch.device, report: Report
) -> list[list[int]]:
    """Right answers (S, K) of the record's students, trained on the clouds."""
    inputs = claim.scored.inputs
    network = train_students(
        evaluation,
        [clouds],
        recipe_for(evaluation, claim.run.distillation),
        inputs.repetitions,
        device,
        partial(report, "train students"),
    )
    answers = answers_of(evaluation, network, len(inputs.repetitions), inputs.variant, device)
    counts: list[list[int]] = answers.confusions.diagonal(dim1=1, dim2=2).tolist()
    return counts
