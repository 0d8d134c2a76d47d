"""What a maintainer's CI does with a submission, or with a folder of published records: finds what is wrong.

Nothing of it is run and no plugin is imported from it. Every problem has a code, a file and a remedy.
"""

from __future__ import annotations

import subprocess
import tarfile
import tempfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pcbench.catalogue import Catalogue
from pcbench.catalogue.kinds import NAMES, Kind
from pcbench.catalogue.registry import redistributable
from pcbench.catalogue.tree_hash import UnreadableSource, source_digest
from pcbench.common.files import file_digest
from pcbench.common.installed import has_torch
from pcbench.common.text import one_line
from pcbench.errors import DataError, UsageError
from pcbench.records import layout
from pcbench.records.layout import short
from pcbench.records.models import DistillationRecord, EvaluationRecord, Run
from pcbench.records.store import MAX_RECORD_BYTES, RecordError, checked_run, read_record
from pcbench.submission.manifest import (
    MANIFEST,
    MAX_SOURCE_BYTES,
    Manifest,
    Problem,
    inventory,
    problem,
    run_folders,
    used,
)

MAX_RUNS = 1000


def validate(
    catalogue: Catalogue,
    folder: Path,
    published: Path | None = None,
    corrected: Collection[str] = (),
) -> list[Problem]:
    """All problems of a submission, or of a folder of runs where there is no manifest; none: it is valid.

    published: a folder with the records that are public already; one in it of the same name is an earlier
    state of this submission, whose records and verifications may stand here again, unchanged. corrected: keys
    of records, or their first ten digits, that may differ from the published ones. UsageError where there
    is nothing to check.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder: give a submission or a folder of runs")
    sizes, problems = inventory(folder)
    if problems:
        return problems
    submission = MANIFEST in sizes
    before = published / folder.resolve().name if published is not None and submission else None
    checked = _Checked(folder, sizes, before if before and (before / MANIFEST).is_file() else None)
    if submission:
        checked.manifest()
        if checked.listed is None:
            return checked.problems
    runs = checked.runs(catalogue)
    if not runs and not checked.problems:
        raise UsageError(f"{folder} has no run in it: give a submission or a folder of runs")
    problems = checked.problems + _repeated(folder, runs)
    known = _published(published) if published is not None else {}
    problems += _repetitions(folder, runs, known)
    return problems + _against(checked, runs, known, corrected, submission)


@dataclass
class _Checked:
    """A folder under examination: the sizes of its files, its manifest once read, and what was found.

    before: an earlier, published state of the same submission.
    """

    folder: Path
    sizes: dict[str, int]
    before: Path | None = None
    problems: list[Problem] = field(default_factory=list)
    listed: Manifest | None = None

    def found(self, code: str, file: str | Path, told: str) -> None:
        path = file if isinstance(file, str) else str(file.relative_to(self.folder))
        self.problems.append(problem(code, path, told))

    def refused_record(self, error: RecordError) -> None:
        """A record that breaks a rule."""
        self.found(error.code, error.path, error.problem)

    def manifest(self) -> None:
        """Read it and compare it with the files that are there."""
        try:
            self.listed = read_record(self.folder / MANIFEST, Manifest)
        except RecordError as error:
            told = str(error).removeprefix(f"{self.folder / MANIFEST}: ")
            self.found("invalid-manifest", MANIFEST, told)
            return
        entries = {entry.path: entry for entry in self.listed.files}
        if len(entries) != len(self.listed.files):
            self.found("invalid-manifest", MANIFEST, "names a file twice")
        for path in sorted(entries.keys() - self.sizes.keys()):
            self.found("missing-file", path, "the manifest names it, but it is not there")
        for path in sorted(self.sizes.keys() - entries.keys() - {MANIFEST}):
            if not self._verified_before(path):
                self.found("unexpected-file", path, "the manifest does not name it")
        for path in sorted(filter(layout.is_verification, entries)):
            self.found("unexpected-file", path, "who submits does not verify")
        for path in sorted(entries.keys() & self.sizes.keys()):
            entry = entries[path]
            if self.sizes[path] != entry.bytes or file_digest(self.folder / path) != entry.sha256:
                self.found("altered-file", path, "is another file than the manifest says")

    def _verified_before(self, path: str) -> bool:
        """Whether a file is a verification that is published as it stands here."""
        if self.before is None or not layout.is_verification(path):
            return False
        old = self.before / path
        return old.is_file() and file_digest(old) == file_digest(self.folder / path)

    def runs(self, catalogue: Catalogue) -> list[Run]:
        """Check every run; those whose distillation can be read."""
        runs: list[Run] = []
        sources = _Sources(self, catalogue)
        for folder in run_folders(self.folder):
            if len(runs) == MAX_RUNS:
                self.found("too-many", folder, f"more than {MAX_RUNS} runs")
                break
            try:
                read = checked_run(folder)
            except RecordError as error:
                self.refused_record(error)
                continue
            for each in read.problems:
                self.refused_record(each)
            runs.append(read.run)
            self._run(read.run, sources, bool(read.problems))
        self._strays()
        return runs

    def _run(self, run: Run, sources: _Sources, partial: bool) -> None:
        record = layout.distillation(run.folder)
        made = run.distillation
        if made.status != "ok":
            self.found("failed-run", record, f"{made.status}: {made.reason}")
        elif not run.evaluations and not partial:
            self.found("no-evaluation", record, "nobody was trained on its clouds")
        if run.folder.name != layout.run_folder(Path(), made.inputs).name:
            self.found("misplaced-record", record, "stands in a folder with another name than its own")
        names = {made.inputs.method, made.inputs.network.name, made.inputs.network.preset}
        datasets = {made.inputs.data.name}
        for scored in run.evaluations:
            network = scored.inputs.network
            names |= {network.name, network.preset}
            datasets.add(scored.inputs.data.name)
            if not layout.evaluation(run.folder, scored.key).is_file():
                self.found(
                    "misplaced-record", record, f"evaluation {short(scored.key)} stands under another name"
                )
        odd = {name for name in names if not NAMES["method"].fullmatch(name)}
        odd |= {name for name in datasets if not NAMES["dataset"].fullmatch(name)}
        for name in sorted(odd):
            self.found("odd-name", record, f"the name {name!r}")
        if self.listed is not None:
            sources.check(run)
        if made.status == "ok" and not made.inputs.is_whole:
            self._artifact(run, sources)

    def _artifact(self, run: Run, sources: _Sources) -> None:
        path = layout.clouds(run.folder)
        named = {each.run: each for each in self.listed.artifacts} if self.listed else {}
        if self.listed and run.folder.name not in named:
            self.found("missing-file", path, "the manifest does not name the clouds of this run")
        if not path.is_file():
            if self.listed is None:
                return  # published by hash
            return
        if self.listed and not redistributable(run.distillation.inputs.data.name, sources.catalogue.datasets):
            told = f"clouds made from {run.distillation.inputs.data.name} may not be passed on"
            self.found("forbidden-artifact", path, told)
        artifact = named.get(run.folder.name)
        if artifact and (artifact.bytes, artifact.sha256) != (path.stat().st_size, file_digest(path)):
            self.found("altered-artifact", path, "are other clouds than the manifest says")
        try:
            check_clouds(run)
        except DataError as error:
            told = str(error).replace(f"{self.folder}/", "")
            self.found("altered-artifact", path, told.removeprefix(f"{path.relative_to(self.folder)}: "))

    def _strays(self) -> None:
        """Records without a run, which no other check would see."""
        runs = set(run_folders(self.folder))
        for path in self.sizes:
            file = self.folder / path
            if path.endswith(".json") and file.name != MANIFEST and file.parent not in runs:
                self.found("misplaced-record", file, f"has no {layout.DISTILLATION} beside it")


def check_clouds(run: Run) -> None:
    """DataError unless the clouds beside a record are its own, of its shape, nothing left out.

    UsageError where torch is not installed: clouds are never taken for checked that were not.
    """
    if not has_torch():
        raise UsageError(f"{layout.clouds(run.folder)} cannot be checked without torch: install it")
    from pcbench.engine.artifacts import load_snapshots

    path, inputs = layout.clouds(run.folder), run.distillation.inputs
    for snapshot in load_snapshots(path, run.distillation.snapshots):
        clouds = snapshot.clouds
        names, counts = list(clouds.class_names), set(clouds.counts().tolist())
        if (names, counts) != (inputs.data.class_names, {inputs.ppc}):
            raise DataError(
                f"{path}: iteration {snapshot.iteration} has not {inputs.ppc} clouds of every class"
            )


class _Sources:
    """The sources of methods and backbones that records may name; none of a submission is imported."""

    def __init__(self, checked: _Checked, catalogue: Catalogue) -> None:
        self.checked = checked
        self.catalogue = catalogue
        self.known: set[tuple[str, str, str]] = set()
        self.built_in: dict[tuple[Kind, str], str | None] = {}
        if checked.listed is not None:
            self._given(checked.listed)

    def _given(self, manifest: Manifest) -> None:
        """The sources in the submission that are what the manifest says."""
        digests = self._digests(manifest)
        for given in manifest.plugins:
            if given.computed(digests) != given.source:
                told = f"the source of {given.kind} {given.name!r} is not the one that the manifest names"
                self.checked.found("altered-plugin", given.entry, told)
            else:
                self.known.add((given.kind, given.name, given.source))

    def _digests(self, manifest: Manifest) -> dict[str, str]:
        """By path, the hash of what each submitted source computes; it is parsed, and never run."""
        listed = {path for given in manifest.plugins for path in given.files} & self.checked.sizes.keys()
        total = sum(self.checked.sizes[path] for path in listed)
        if total > MAX_SOURCE_BYTES:
            told = f"the sources of plugins have {total} bytes, more than {MAX_SOURCE_BYTES}"
            self.checked.found("too-large", MANIFEST, told)
            return {}
        digests = {}
        for path in sorted(listed):
            try:
                digests[path] = source_digest((self.checked.folder / path).read_bytes())
            except UnreadableSource as error:
                self.checked.found("unreadable-plugin", path, str(error))
        return digests

    def check(self, run: Run) -> None:
        """Every source that the records of a run name is here or built in."""
        for kind, name, source in used(run):
            if (kind, name, source) not in self.known and self._built_in(kind, name) != source:
                of = f"the source of {kind} {name!r} ({short(source)})"
                told = f"{of} is neither in the submission nor built in"
                self.checked.found("missing-plugin", layout.distillation(run.folder), told)

    def _built_in(self, kind: Kind, name: str) -> str | None:
        """The hash of a built-in plugin's source; None where there is none of that name."""
        if (kind, name) not in self.built_in:
            registry = self.catalogue.registries()[kind]
            plugin = registry.get(name) if name in registry.names() else None
            self.built_in[kind, name] = plugin.source_hash() if plugin and plugin.built_in else None
        return self.built_in[kind, name]


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


def _repetitions(folder: Path, runs: Sequence[Run], known: dict[str, Run]) -> list[Problem]:
    """A chosen repetition: one without those before it, of the same inputs, here or published."""
    there: dict[str, set[int]] = {}
    for run in [*runs, *known.values()]:
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


# Against what is published


def _published(folder: Path) -> dict[str, Run]:
    """The runs anywhere below a folder, by key. DataError for one that cannot be read: mend it first."""
    known: dict[str, Run] = {}
    for path in layout.run_folders_anywhere(folder):
        read = checked_run(path)
        if read.problems:
            raise DataError(f"published record {read.problems[0]}")
        known.setdefault(read.run.distillation.key, read.run)
    if not known:
        raise UsageError(f"{folder} holds no run that is published", "published")
    return known


def _against(
    checked: _Checked,
    runs: Iterable[Run],
    known: dict[str, Run],
    corrected: Collection[str],
    submission: bool,
) -> list[Problem]:
    folder, before = checked.folder, checked.before
    own = {key for key, run in known.items() if before is not None and run.folder.is_relative_to(before)}
    allowed = {short(key) for key in corrected}
    found: list[Problem] = []
    seen: set[str] = set()

    def tell(code: str, key: str, where: str, told: str) -> None:
        if short(key) not in allowed:
            found.append(problem(code, where, told))

    for run in runs:
        made, public = run.distillation, known.get(run.distillation.key)
        seen.add(made.key)
        if public is None:
            continue
        where = _where(folder, run)
        if made.snapshots != public.distillation.snapshots or made.status != public.distillation.status:
            told = f"distillation {short(made.key)} has other clouds or times than the published one"
            tell("changed-published", made.key, where, told)
        scores = {scored.key: scored for scored in public.evaluations}
        new = {scored.key: scored for scored in run.evaluations}
        for key in sorted(scores.keys() & new.keys()):
            here = str(layout.evaluation(run.folder, key).relative_to(folder))
            if _numbers(new[key]) != _numbers(scores[key]):
                told = f"evaluation {short(key)} has other numbers than the published one"
                tell("changed-published", key, here, told)
            elif submission and made.key not in own:
                tell("duplicate", key, here, f"evaluation {short(key)} is published already")
        if not submission or made.key in own:
            for key in sorted(scores.keys() - new.keys()):
                told = f"evaluation {short(key)} was published and is not there"
                tell("removed-published", key, where, told)
    for key in sorted((own if submission else known.keys()) - seen):
        tell("removed-published", key, ".", f"distillation {short(key)} was published and is not there")
    return found


def _numbers(scored: EvaluationRecord) -> dict[str, Any]:
    """All that an evaluation says beside when and by whom it was made."""
    return scored.model_dump(mode="json", exclude={"work"})


@contextmanager
def published_at(text: str, folder: Path) -> Iterator[Path]:
    """The published records that --against names: a folder; or REF or REF:PATH of the git repository.

    REF alone means the folder itself, as it was then. The records are put into a folder that lasts as long
    as the block. UsageError where there is none.
    """
    if Path(text).is_dir():
        yield Path(text)
        return
    with tempfile.TemporaryDirectory() as temporary:
        _checkout(text, folder, Path(temporary))
        yield Path(temporary)


def _checkout(text: str, folder: Path, target: Path) -> None:
    """The records of a folder at a commit."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=False)
        if done.returncode:
            raise UsageError(
                f"{one_line(text, 200)} is no folder, and git knows no such commit and folder: "
                "name one as origin/main:submissions",
                "published",
            )
        return done.stdout.strip()

    reference, colon, path = text.partition(":")
    if reference.startswith("-"):
        raise UsageError(f"{one_line(text, 200)} is no folder and no commit", "published")
    place = path if colon else git("rev-parse", "--show-prefix")
    top = git("rev-parse", "--show-toplevel")
    tree = git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{reference}:{place.rstrip('/')}")
    command = ["git", "-C", top, "archive", "--format=tar", tree]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE) as process,
        tarfile.open(fileobj=process.stdout, mode="r|") as archive,
    ):
        for member in archive:
            record = member.isfile() and member.name.endswith(".json") and member.size <= MAX_RECORD_BYTES
            if record:
                archive.extract(member, target, filter="data")
