"""What a maintainer's CI does with a submission, or with a folder of published records: finds what is wrong.

Nothing of it is run and no plugin is imported from it. Every problem has a code, a file and a remedy. The
rules themselves stand in `pcbench.submission.rules`; what each field is held to, in `fields`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pcbench.catalogue import Catalogue
from pcbench.catalogue.kinds import NAMES
from pcbench.catalogue.registry import redistributable
from pcbench.common.files import file_digest
from pcbench.errors import DataError, UsageError
from pcbench.records import layout
from pcbench.records.layout import short
from pcbench.records.models import DistillationRecord, Run
from pcbench.records.store import RecordError, checked_run, read_record
from pcbench.submission.commits import published_at
from pcbench.submission.manifest import (
    MANIFEST,
    PLUGINS,
    Manifest,
    Problem,
    inventory,
    is_submission,
    problem,
    run_folders,
)
from pcbench.submission.published import Corrections, Published, changes, public_runs
from pcbench.submission.rules import Finding, answers, copies, data, plugins, protocols, scores, times
from pcbench.submission.rules.clouds import UnfitClouds, check_clouds
from pcbench.submission.rules.data import AtHand
from pcbench.submission.sources import NOTHING_BROUGHT, Given, given

__all__ = ["check_clouds", "published_at", "validate"]

MAX_RUNS = 1000


@dataclass(frozen=True)
class Strictness:
    """What a validation looks at beside the folder itself."""

    data: bool = False
    """Whether data sets that were imported here are loaded, records held against them, and clouds against the
    test clouds."""
    maintained: bool = True
    """Whether a maintainer may have added something: who submits does not verify, and adds no run of ours."""


USUAL = Strictness()
"""No data but those that everybody may make; a maintainer may have added to it."""


def validate(
    catalogue: Catalogue,
    folder: Path,
    published: Path | None = None,
    corrected: Collection[str] = (),
    lifted: Collection[str] = (),
    strictness: Strictness = USUAL,
) -> list[Problem]:
    """All problems of a submission, or of a folder of runs where there is no manifest; none: it is valid.

    published: a folder with the records that are public already; one in it of the same name is an earlier
    state of this submission, whose records and verifications may stand here again, unchanged. corrected,
    lifted: see `Corrections`. UsageError where there is nothing to check.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder: give a submission or a folder of runs")
    known = Published()
    if published is not None:
        before = published / folder.resolve().name if is_submission(folder) else published
        known = Published(public_runs([published]), before if before.is_dir() else None)
    checked = Checked(folder, known, AtHand(catalogue, strictness.data), strictness)
    runs = checked.runs(catalogue)
    if not runs and not checked.problems:
        raise UsageError(f"{folder} has no run in it: give a submission or a folder of runs")
    beside = {**known.runs, **{run.distillation.key: run for run in runs}}
    checked.among(catalogue, runs, beside.values(), Corrections(corrected, lifted))
    return checked.problems


@dataclass
class Checked:
    """A folder under examination and what was found against it."""

    folder: Path
    """A submission, or a plain folder of runs."""
    published: Published
    """What is public."""
    at_hand: AtHand
    """The data sets that records are held against."""
    strictness: Strictness = USUAL
    """What is looked at."""
    problems: list[Problem] = field(default_factory=list)
    """What was found."""
    sizes: dict[str, int] = field(default_factory=dict)
    """Its files and their sizes, by path."""
    listed: Manifest | None = None
    """The manifest of a submission, once it is read."""
    brought: Given = NOTHING_BROUGHT
    """The plugins that the submission brings."""

    def runs(self, catalogue: Catalogue) -> list[Run]:
        """Check files, manifest and every run for itself; those whose distillation can be read."""
        self.sizes, problems = inventory(self.folder)
        self.problems += problems
        if problems:
            return []
        if MANIFEST in self.sizes:
            self._manifest()
            if self.listed is None:
                return []
            self.brought = given(self.folder, self.listed, self.sizes)
            self._note(self.brought.findings)
        runs: list[Run] = []
        for folder in run_folders(self.folder):
            if len(runs) == MAX_RUNS:
                self._tell("too-many", folder, f"more than {MAX_RUNS} runs")
                break
            try:
                read = checked_run(folder)
            except RecordError as error:
                self._refused_record(error)
                continue
            for each in read.problems:
                self._refused_record(each)
            runs.append(read.run)
            self._run(read.run, catalogue, bool(read.problems))
        self._strays()
        return runs

    def among(
        self, catalogue: Catalogue, runs: Sequence[Run], beside: Iterable[Run], allowed: Corrections
    ) -> None:
        """Check runs against each other, and against what is published.

        beside: all runs that are, or will be, published together, these among them.
        """
        everything = list(beside)
        trained = scores.trained_by(everything)
        for run in runs:
            if run.distillation.status == "ok":
                self._note(plugins.findings(run, catalogue, self.brought, self.listed is not None))
                self._note(scores.findings(run, trained))
        self.problems += _repeated(self.folder, runs)
        self.problems += _repetitions(self.folder, runs, everything)
        self.problems += changes(self.folder, self.listed, runs, self.published, allowed)

    def _tell(self, code: str, file: str | Path, told: str) -> None:
        path = file if isinstance(file, str) else str(file.relative_to(self.folder))
        self.problems.append(problem(code, path, told))

    def _note(self, findings: Iterable[Finding]) -> None:
        for each in findings:
            self._tell(each.code, each.file, each.told)

    def _refused_record(self, error: RecordError) -> None:
        """A record that breaks a rule."""
        self._tell(error.code, error.path, error.problem)

    def _manifest(self) -> None:
        """Read it and compare it with the files that are there."""
        try:
            self.listed = read_record(self.folder / MANIFEST, Manifest)
        except RecordError as error:
            told = str(error).removeprefix(f"{self.folder / MANIFEST}: ")
            self._tell("invalid-manifest", MANIFEST, told)
            return
        for told in times.newer(self.listed.pcbench):
            self._tell("odd-provenance", MANIFEST, told)
        if times.parsed(self.listed.pcbench) is None:
            self._tell("odd-provenance", MANIFEST, f"pcbench: {self.listed.pcbench!r} is no version")
        entries = {entry.path: entry for entry in self.listed.files}
        if len(entries) != len(self.listed.files):
            self._tell("invalid-manifest", MANIFEST, "names a file twice")
        for path in sorted(entries.keys() - self.sizes.keys()):
            self._tell("missing-file", path, "the manifest names it, but it is not there")
        for path in sorted(self.sizes.keys() - entries.keys() - {MANIFEST}):
            if not layout.is_verification(path):  # `pcbench verify` wrote it; it is read with its run
                self._tell("unexpected-file", path, "the manifest does not name it")
        for path in sorted(filter(layout.is_verification, entries)):
            self._tell("unexpected-file", path, "who submits does not verify")
        for path in sorted(entries.keys() & self.sizes.keys()):
            entry = entries[path]
            if self.sizes[path] != entry.bytes or file_digest(self.folder / path) != entry.sha256:
                self._tell("altered-file", path, "is another file than the manifest says")

    def _run(self, run: Run, catalogue: Catalogue, partial: bool) -> None:
        record = layout.distillation(run.folder)
        made = run.distillation
        if made.status != "ok":
            self._tell("failed-run", record, f"{made.status}: {made.reason}")
        elif not run.evaluations and not partial:
            self._tell("no-evaluation", record, "nobody was trained on its clouds")
        if run.folder.name != layout.run_folder(Path(), made.inputs).name:
            self._tell("misplaced-record", record, "stands in a folder with another name than its own")
        for scored in run.evaluations:
            if not layout.evaluation(run.folder, scored.key).is_file():
                told = f"evaluation {short(scored.key)} stands under another name"
                self._tell("misplaced-record", record, told)
        for name in _odd_names(run):
            self._tell("odd-name", record, f"the name {name!r}")
        self._verifications(run)
        if made.status == "ok":
            for finding in (protocols.findings(run), times.findings(run)):
                self._note(finding)
            self._note(data.findings(run, catalogue, self.at_hand))
            self._note(answers.findings(run, catalogue, self.at_hand))
            if not made.inputs.is_whole:
                self._artifact(run, catalogue)

    def _verifications(self, run: Run) -> None:
        """Those that are not published stand there only where a maintainer may have written them."""
        if self.strictness.maintained:
            return
        public = self.published.runs.get(run.distillation.key)
        for verification in run.verifications:
            if public is None or verification not in public.verifications:
                path = layout.verification(run.folder, verification.evaluation)
                self._tell("forged-verification", path, "is not published: who submits does not verify")

    def _artifact(self, run: Run, catalogue: Catalogue) -> None:
        path = layout.clouds(run.folder)
        named = {each.run: each for each in self.listed.artifacts} if self.listed else {}
        if self.listed and run.folder.name not in named:
            self._tell("missing-file", path, "the manifest does not name the clouds of this run")
        if not path.is_file():
            return  # published by hash
        if self.listed and not redistributable(run.distillation.inputs.data.name, catalogue.datasets):
            told = f"clouds made from {run.distillation.inputs.data.name} may not be passed on"
            self._tell("forbidden-artifact", path, told)
        artifact = named.get(run.folder.name)
        if artifact and (artifact.bytes, artifact.sha256) != (path.stat().st_size, file_digest(path)):
            self._tell("altered-artifact", path, "are other clouds than the manifest says")
        try:
            check_clouds(run)
        except DataError as error:
            told = str(error).replace(f"{self.folder}/", "")
            code = "unfit-clouds" if isinstance(error, UnfitClouds) else "altered-artifact"
            self._tell(code, path, told.removeprefix(f"{path.relative_to(self.folder)}: "))
            return
        if self.strictness.data:
            self._note(copies.findings(run, catalogue, self.at_hand))

    def _strays(self) -> None:
        """Records without a run, which no other check would see."""
        runs = set(run_folders(self.folder))
        for path in self.sizes:
            file = self.folder / path
            if path.startswith(f"{PLUGINS}/") and self.listed is not None:
                continue  # weighed with the sources
            if path.endswith(".json") and file.name != MANIFEST and file.parent not in runs:
                self._tell("misplaced-record", file, f"has no {layout.DISTILLATION} beside it")


def _odd_names(run: Run) -> list[str]:
    """The names in a run's records that hold other characters than names may."""
    inputs = run.distillation.inputs
    networks = [inputs.network, *(record.inputs.network for record in run.evaluations)]
    names = {inputs.method, *(word for each in networks for word in (each.name, each.preset))}
    datasets = {inputs.data.name, *(record.inputs.data.name for record in run.evaluations)}
    odd = {name for name in names if not NAMES["method"].fullmatch(name)}
    return sorted(odd | {name for name in datasets if not NAMES["dataset"].fullmatch(name)})


# Runs among each other


def _where(folder: Path, run: Run) -> str:
    path = layout.distillation(run.folder)
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)


def _repeated(folder: Path, runs: Sequence[Run]) -> list[Problem]:
    found: list[Problem] = []
    first: dict[str, Run] = {}
    for run in runs:
        other = first.setdefault(run.distillation.key, run)
        if other is not run:
            told = f"the same distillation as {_where(folder, other)}"
            found.append(problem("duplicate", _where(folder, run), told))
        keys = [scored.key for scored in run.evaluations]
        for key in sorted({key for key in keys if keys.count(key) > 1}):
            told = f"evaluation {short(key)} stands there more than once"
            found.append(problem("duplicate", _where(folder, run), told))
    return found


def _repetitions(folder: Path, runs: Sequence[Run], everything: Iterable[Run]) -> list[Problem]:
    """A chosen repetition: one without those before it, of the same inputs, here or published."""
    there: dict[str, set[int]] = {}
    for run in [*runs, *everything]:
        there.setdefault(_but_repetition(run.distillation), set()).add(run.distillation.inputs.repetition)
    found = []
    for run in runs:
        repetition = run.distillation.inputs.repetition
        lacking = repetition - len([r for r in there[_but_repetition(run.distillation)] if r < repetition])
        if lacking:
            told = f"repetition {repetition} is there, but {lacking} of those before it are not"
            found.append(problem("missing-repetition", _where(folder, run), told))
    return found


def _but_repetition(made: DistillationRecord) -> str:
    """The key of the first repetition of the same work."""
    return made.inputs.model_copy(update={"repetition": 0}).key
