"""What is published already, held against what would take its place."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pcbench.errors import DataError, UsageError
from pcbench.records import layout
from pcbench.records.layout import short
from pcbench.records.models import DistillationRecord, EvaluationRecord, Run
from pcbench.records.store import checked_run, read_record
from pcbench.submission.manifest import (
    MANIFEST,
    RUNS,
    Artifact,
    Manifest,
    Problem,
    is_submission,
    problem,
)

LICENCE_KEY = "license"
"""What a correction of a submission's licence is named by."""


@dataclass(frozen=True)
class Corrections:
    """What a maintainer lets change of what is published; it stands in the pull request for all to see."""

    corrected: Collection[str] = ()
    """Keys of records, or their first ten digits, that may differ or go; `license` for a licence."""
    lifted: Collection[str] = ()
    """Keys of evaluations, the same, whose published verifications may differ or go."""

    @classmethod
    def in_text(cls, text: str) -> Corrections:
        """Those that a pull request's description names, a line each: `corrected: KEY`, `lifted: KEY`."""
        found: dict[str, list[str]] = {"corrected": [], "lifted": []}
        for word, key in re.findall(r"^\s*(corrected|lifted):\s*([0-9a-z]{7,64})\s*$", text, re.M | re.I):
            found[word.lower()].append(key.lower())
        return cls(found["corrected"], found["lifted"])

    def __or__(self, other: Corrections) -> Corrections:
        """Both together."""
        return Corrections({*self.corrected, *other.corrected}, {*self.lifted, *other.lifted})

    def may_change(self, key: str) -> bool:
        """Whether a record may change."""
        return short(key) in {short(each) for each in self.corrected}

    def may_lose_verification(self, key: str) -> bool:
        """Whether the verifications of an evaluation may change."""
        return short(key) in {short(each) for each in self.lifted}


NONE = Corrections()
"""Nothing that is published may change."""


@dataclass(frozen=True)
class Published:
    """The runs that are public, and the earlier state of what is examined."""

    runs: Mapping[str, Run] = field(default_factory=dict)
    """By the key of the distillation."""
    before: Path | None = None
    """The earlier state of the same submission, or of the same plain folder of runs."""

    def is_own(self, key: str) -> bool:
        """Whether a distillation was published in the earlier state."""
        return self.before is not None and self.runs[key].folder.is_relative_to(self.before)


def public_runs(folders: Iterable[Path]) -> dict[str, Run]:
    """The runs anywhere below some folders, by key. DataError for one that cannot be read: mend it first."""
    known: dict[str, Run] = {}
    for folder in folders:
        if not folder.is_dir():
            raise UsageError(f"{folder} is no folder: it holds no run that is published", "published")
        for path in layout.run_folders_anywhere(folder):
            read = checked_run(path)
            if read.problems:
                raise DataError(f"published record {read.problems[0]}")
            known.setdefault(read.run.distillation.key, read.run)
    return known


def changes(
    folder: Path, manifest: Manifest | None, runs: Iterable[Run], published: Published, allowed: Corrections
) -> list[Problem]:
    """What differs from what is published, is gone, or is submitted again. manifest: None of a plain folder.

    Everything that stands on the board stays: scores, clouds, times, hardware, memory, provenance, licence,
    sources and verifications. What is new beside it is welcome.
    """
    account = _Account(folder, published, allowed)
    seen: set[str] = set()
    for run in runs:
        seen.add(run.distillation.key)
        if run.distillation.key in published.runs:
            account.run(run, published.runs[run.distillation.key], manifest is not None)
    for key in sorted(published.runs.keys() - seen):
        if published.is_own(key):
            told = f"distillation {short(key)} was published and is not there"
            account.tell("removed-published", key, ".", told)
    if published.before is not None and is_submission(published.before) and manifest is not None:
        account.manifest(manifest, read_record(published.before / MANIFEST, Manifest))
    return account.problems


@dataclass
class _Account:
    """What is found against one folder."""

    folder: Path
    published: Published
    allowed: Corrections
    problems: list[Problem] = field(default_factory=list)

    def tell(self, code: str, key: str, where: str, told: str) -> None:
        """Note a problem, unless the record of that key may change."""
        if not self.allowed.may_change(key):
            self.problems.append(problem(code, where, told))

    def run(self, run: Run, public: Run, submitted: bool) -> None:
        """Compare a run with the published one of the same key."""
        key = run.distillation.key
        own, where = self.published.is_own(key), self._place(layout.distillation(run.folder))
        other = _other_fields(run.distillation, public.distillation)
        if other:
            told = f"distillation {short(key)} has another {', another '.join(other)} than the published one"
            self.tell("changed-published", key, where, told)
        old = {record.key: record for record in public.evaluations}
        new = {record.key: record for record in run.evaluations}
        for shared in sorted(old.keys() & new.keys()):
            here = self._place(layout.evaluation(run.folder, shared))
            other = _other_scores(new[shared], old[shared])
            if other:
                told = f"evaluation {short(shared)} has other {', '.join(other)} than the published one"
                self.tell("changed-published", shared, here, told)
            elif submitted and not own:
                self.tell("duplicate", shared, here, f"evaluation {short(shared)} is published already")
        if submitted and not own and not old.keys() & new.keys():
            told = f"distillation {short(key)} is published already: add evaluations to that one"
            self.tell("duplicate", key, where, told)
        if own:
            for gone in sorted(old.keys() - new.keys()):
                told = f"evaluation {short(gone)} was published and is not there"
                self.tell("removed-published", gone, where, told)
            self._verifications(run, public)

    def _verifications(self, run: Run, public: Run) -> None:
        """A published verification stays as it is, whatever it says, until a maintainer lifts it."""
        for verification in public.verifications:
            key, said = verification.evaluation, verification.verdict
            if verification not in run.verifications and not self.allowed.may_lose_verification(key):
                told = f"the published verification of evaluation {short(key)} ({said}) is gone"
                where = self._place(layout.verification(run.folder, key))
                self.problems.append(problem("removed-published", where, told))

    def manifest(self, new: Manifest, old: Manifest) -> None:
        """Licence, clouds and sources of the submission as it was published are those that it has now."""
        if new.license != old.license:
            told = f"the licence was published as {old.license}, and is {new.license}"
            self.tell("changed-published", LICENCE_KEY, MANIFEST, told)
        own = {key: run for key, run in self.published.runs.items() if self.published.is_own(key)}
        keys = {run.folder.name: key for key, run in own.items()}
        there = {artifact.run: artifact for artifact in new.artifacts}
        for artifact in old.artifacts:
            told = _lost_clouds(artifact, old, there.get(artifact.run), new)
            if told:
                where = f"{RUNS}/{artifact.run}/{layout.CLOUDS}"
                self.tell("removed-published", keys.get(artifact.run, artifact.run), where, told)
        sources = {(each.kind, each.name, each.source) for each in new.plugins}
        for source in old.plugins:
            if (source.kind, source.name, source.source) not in sources:
                told = f"the source of {source.kind} {source.name!r} was published and is not there"
                self.tell("removed-published", source.source, source.entry, told)

    def _place(self, path: Path) -> str:
        return str(path.relative_to(self.folder)) if path.is_relative_to(self.folder) else str(path)


def _other_fields(new: DistillationRecord, old: DistillationRecord) -> list[str]:
    """The fields in which a distillation differs from the published one."""
    return [name for name in type(new).model_fields if getattr(new, name) != getattr(old, name)]


def _other_scores(new: EvaluationRecord, old: EvaluationRecord) -> list[str]:
    """In what an evaluation differs from the published one; more snapshots, and the work for them, do not."""
    scores = {each.iteration: each for each in new.snapshots}
    same_last = new.headline.iteration == old.headline.iteration
    differing = {
        "scores": any(scores.get(each.iteration) != each for each in old.snapshots),
        "totals": new.totals != old.totals,
        "inputs": new.inputs != old.inputs,
        "answers": same_last
        and any(
            there is not None and there != here
            for there, here in ((old.confusion, new.confusion), (old.predictions, new.predictions))
        ),
        "times, memory or provenance": new.work[: len(old.work)] != old.work,
    }
    return [name for name, differs in differing.items() if differs]


def _lost_clouds(old: Artifact, before: Manifest, new: Artifact | None, now: Manifest) -> str:
    """What is no longer public of a run's clouds; empty where nothing is."""
    if new is None or new.sha256 != old.sha256:
        return "other clouds than the published ones"
    path = f"{RUNS}/{old.run}/{layout.CLOUDS}"
    held_before, held_now = (any(entry.path == path for entry in each.files) for each in (before, now))
    if held_before and not held_now:
        return "the clouds were in the submission, and are not"
    if old.url is not None and new.url != old.url and not held_now:
        return f"the clouds were at {old.url}, and nobody says that they are elsewhere"
    return ""
