"""Scores against each other: students that are one, and scores for which nobody was trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from pcbench.records import identity
from pcbench.records.models import EvaluationRecord, Run, SnapshotScores
from pcbench.submission.rules import Finding, scored_files

ALIKE = 3
"""So many students with equal counts in every class, and more than half of all, are no chance."""
TELLING = 5
"""With fewer right, or fewer wrong, answers than this, equal counts say nothing."""

Trained = Mapping[tuple[str, str], list[list[list[int]]]]
"""Right answers (S, K) of students that somebody trained, by their `students_of` and the clouds' hash."""


def findings(run: Run, trained: Trained) -> Iterator[Finding]:
    """What the scores of a run tell against themselves. trained: by all runs beside it, itself included.

    Somebody was trained for the scores that count, those of the last snapshot. Methods begin with the same
    clouds, which are scored once, perhaps for a run that is nobody else's business.
    """
    for file, record in scored_files(run):
        for scores in record.snapshots:
            alike = repeated(scores.correct, record.totals)
            if alike:
                told = (
                    f"snapshot {scores.iteration}: {alike} of {len(scores.correct)} students have the same "
                    "right answers in every class, with different seeds"
                )
                yield Finding("repeated-students", file, told)
        last = record.headline
        if last.iteration not in record.trained and last.correct not in trained.get(_place(record, last), []):
            told = f"nobody was trained on snapshot {last.iteration}, here or on equal clouds elsewhere"
            yield Finding("untrained-scores", file, told)


def repeated(correct: list[list[int]], totals: list[int]) -> int:
    """How many of S students gave one set of counts (S, K) where that cannot be chance; else 0.

    Where nearly all answers are right, or wrong, or where each class is all right or all wrong, as it is for
    students that always say the same, equal counts are no wonder.
    """
    (counts, times), *_ = Counter(map(tuple, correct)).most_common(1)
    if times < ALIKE or 2 * times <= len(correct):
        return 0
    part = [(right, total) for right, total in zip(counts, totals, strict=True) if 0 < right < total]
    right, wrong = sum(right for right, _ in part), sum(total - right for right, total in part)
    return times if len(part) > 1 and min(right, wrong) >= TELLING else 0


def trained_by(runs: Iterable[Run]) -> dict[tuple[str, str], list[list[list[int]]]]:
    """The right answers of all students that somebody trained, by whom they are and their clouds."""
    there: dict[tuple[str, str], list[list[list[int]]]] = {}
    for run in runs:
        for record in run.evaluations:
            for scores in record.snapshots:
                if scores.iteration in record.trained:
                    there.setdefault(_place(record, scores), []).append(scores.correct)
    return there


def _place(record: EvaluationRecord, scores: SnapshotScores) -> tuple[str, str]:
    """Which students these are, whatever distillation their clouds come from; and the clouds."""
    anywhere = record.inputs.model_copy(update={"distillation": "0" * 64})
    return identity.key(anywhere), scores.clouds
